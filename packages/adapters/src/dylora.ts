import { forwardContext, withContext } from "@lowrank/nn";
import {
  ConfigError,
  eq,
  iota,
  lt,
  matmul,
  randint,
  slice,
  stopGradient,
  type Tensor,
  uniform,
  where as select,
  zeros,
} from "@lowrank/tensor";
import { type AdapterPass, defineAdapter, type LowRankUpdate } from "./adapter.js";
import type { Attached } from "./attach.js";
import type { LoraUpdates } from "./compose/updates.js";
import { expectInteger, expectNumber } from "./expect.js";

export interface DyLoraConfig {
  /** Largest rank, from 1 to min(in, out). */
  rank: number;
  /** Smallest rank that is drawn while training. Default 1. */
  minRank?: number;
  /** At rank b the update is scaled by alpha / b. Default: rank. */
  alpha?: number;
  /** Whether a step changes only the last row of A and column of B that it used, b. Default false: all up to b. */
  frozen?: boolean;
  /** Rank of a pass that draws none and of the merged weight. Default: rank. */
  active?: number;
}

export interface DyLoraParams {
  /** Down projection, [rank, in]. */
  A: Tensor;
  /** Up projection, [out, rank]. */
  B: Tensor;
}

const EXTRA = "adapters/dylora";

/**
 * Runs `f` with DyLoRA adapters at a rank, in training too.
 *
 * @example
 * ```ts
 * const logits = withRank(2, () => model.forward(ids));
 * ```
 * @category Additive adapters
 */
export const withRank = <T>(rank: number, f: () => T): T =>
  withContext({ extras: new Map(forwardContext().extras).set(EXTRA, rank) }, f);

/** The update that the first b rows and columns make. */
function truncated({ A, B }: DyLoraParams, { rank, alpha = rank }: DyLoraConfig, b: number): LowRankUpdate {
  expectInteger("dyLora", "the rank of a pass", b, { min: 1, max: rank });
  return { A: slice(A, [[0, b]]), B: slice(B, [null, [0, b]]), scale: alpha / b };
}

/** A rank from minRank to rank, the same in all layers of a pass, as a number in the graph. */
function drawnRank({ rank, minRank = 1 }: DyLoraConfig, { target }: AdapterPass): Tensor {
  const { key } = forwardContext();
  if (key !== null) return randint([1], { key: key.foldName("dylora"), min: minRank, max: rank + 1 });
  throw new ConfigError({
    where: `dyLora on ${target.path}`,
    expected: "a key for the random rank of this pass",
    got: "none",
    hint: "run the pass in withContext({ key }, ...) or withRank(rank, ...), or call model.eval()",
  });
}

/** s B A x with a rank that is drawn: the others are closed, so that one plan serves all. */
function drawnUpdate(x: Tensor, params: DyLoraParams, config: DyLoraConfig, pass: AdapterPass): Tensor {
  const { rank, alpha = rank, frozen = false } = config;
  const b = drawnRank(config, pass);
  const places = iota([rank], { dtype: "i32" });
  const { dtype } = pass.target;
  const gate = select(lt(places, b), b.astype(dtype).pow(-1).mul(alpha), 0); // [rank]
  const last = eq(places, b.sub(1));
  const seen = (P: Tensor, shape: number[]): Tensor =>
    frozen ? select(last.reshape(shape), P, stopGradient(P)) : P;
  const low = matmul(x, seen(params.A, [rank, 1]).T).mul(gate); // [..., rank]
  return matmul(low, seen(params.B, [1, rank]).T);
}

/**
 * DyLoRA: LoRA whose rank is drawn anew in every step of the training, so that what it has learnt is ordered by importance, and
 * any smaller rank can be cut out of it afterwards.
 *
 *     W'_b = W + (alpha / b) · B[:, :b] A[:b, :],   b uniform from minRank to rank while training
 *
 * W is [out, in]. A and B are trained, rank · (in + out) numbers. B starts at zero and A uniform within ±1/√in, so W' = W before
 * the first step. A step draws one b for all layers, from the key of the pass. With `frozen` it changes row and column b
 * alone; rows that a step does not use get a gradient of zero, which the moments of AdamW do not hear as silence.
 *
 * Otherwise, and in a merged weight, the rank is that of {@link withRank} or `active`; {@link dyLoraUpdates} cuts out a LoRA.
 *
 * Source: Valipour et al. 2022, arXiv:2210.07558, section 4 and algorithm 1; its other distributions of b are not here.
 *
 * @example
 * ```ts
 * const adapted = attach(model, dyLora, { rank: 8 }, { targets: ["q_proj", "v_proj"] });
 * // ... train ...
 * const small = await attachUpdates(model, dyLoraUpdates(adapted, 2), { name: "small" });
 * ```
 * @category Additive adapters
 */
export const dyLora = /* @__PURE__ */ defineAdapter<DyLoraConfig, DyLoraParams>({
  name: "dyLora",

  check({ rank, minRank = 1, alpha, active }, { inFeatures, outFeatures, path }) {
    expectInteger("dyLora", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    expectInteger("dyLora", "minRank", minRank, { min: 1, max: rank });
    if (active !== undefined) expectInteger("dyLora", "active", active, { min: 1, max: rank });
    if (alpha !== undefined) expectNumber("dyLora", "alpha", alpha);
  },

  init({ inFeatures, outFeatures, dtype }, { rank }, key) {
    const bound = inFeatures ** -0.5;
    return {
      A: uniform([rank, inFeatures], { key, min: -bound, max: bound, dtype }),
      B: zeros([outFeatures, rank], { dtype }),
    };
  },

  factors: (params, config) => truncated(params, config, config.active ?? config.rank),

  // y = W x + (alpha / b) B[:, :b] (A[:b, :] x)
  forward(x, base, params, config, pass) {
    const chosen = pass.extras.get(EXTRA) as number | undefined;
    if (pass.training && chosen === undefined) return base(x).add(drawnUpdate(x, params, config, pass));
    const { A, B, scale } = truncated(params, config, chosen ?? config.active ?? config.rank);
    return base(x).add(matmul(matmul(x, A.T).mul(scale), B.T));
  },

  merge(W, params, config) {
    const { A, B, scale } = truncated(params, config, config.active ?? config.rank);
    return W.add(matmul(B, A).mul(scale));
  },
});

/**
 * What a DyLoRA adapter adds at a smaller rank, as updates: {@link attachUpdates} makes a LoRA of them, which PEFT reads.
 *
 * @throws ConfigError for another adapter, or a rank that it does not have.
 * @category Additive adapters
 */
export function dyLoraUpdates(adapted: Attached, rank: number): LoraUpdates {
  if (adapted.adapter !== (dyLora as unknown)) {
    throw new ConfigError({
      where: "dyLoraUpdates",
      expected: "an adapter of dyLora",
      got: adapted.adapter.name,
    });
  }
  return new Map(
    adapted.places.map(({ entry: { target, params, config } }) => [
      target.path,
      {
        kind: target.kind,
        ...truncated(params as unknown as DyLoraParams, config as DyLoraConfig, rank),
      },
    ]),
  );
}
