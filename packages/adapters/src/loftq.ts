import { svd } from "@lowrank/linalg";
import { type Module, QuantizedWeight, type QuantizeOptions, quantizeWeight } from "@lowrank/nn";
import { ConfigError, evaluate, matmul, slice, sqrt, type Tensor } from "@lowrank/tensor";
import type { Adapter } from "./adapter.js";
import type { Attached, AttachOptions } from "./attach.js";
import { attachUpdates } from "./compose/attach-updates.js";
import type { LoraUpdate } from "./compose/updates.js";
import { expectInteger, expectOneOf } from "./expect.js";
import { lora, type LoraConfig } from "./lora.js";
import { configFor, type SelectedLayer, selectLayers, targetOf, type TargetSelection } from "./targets.js";

export interface LoftqConfig
  extends Pick<LoraConfig, "rank" | "alpha" | "dropout">,
    Pick<QuantizeOptions, "groupSize" | "activations"> {
  /** Bits of a code. Default 4. */
  bits?: 4 | 8;
  /** Turns of quantizing and decomposing, at least 1. Default 5. */
  steps?: number;
}

/** How layers are chosen for LoftQ, and the adapter named. */
export type LoftqOptions = TargetSelection &
  Pick<AttachOptions, "name" | "dtype" | "rankPattern" | "alphaPattern">;

/** W ≈ Q + B A, and how near: ‖W − Q − B A‖_F after each turn. */
export interface LoftqFactors {
  /** The weight in codes. */
  Q: QuantizedWeight;
  /** [rank, in] */
  A: Tensor;
  /** [out, rank] */
  B: Tensor;
  errors: number[];
}

/**
 * A weight [out, in] as codes and two thin factors:
 *
 *     Q ← quantize(W − B A),   U S Vᵀ = W − Q,   B = Uᵣ √Sᵣ,   A = √Sᵣ Vᵣᵀ,   from B A = 0
 *
 * The error does not fall in every turn: the nearest of all is returned, with the errors of all.
 *
 * Source: Li et al. 2023, arXiv:2310.08659, algorithm 1, which returns the last.
 *
 * @category Starts from data
 */
export async function loftqFactors(
  W: Tensor,
  { rank, steps = 5, bits = 4, ...format }: Omit<LoftqConfig, "alpha" | "dropout">,
): Promise<LoftqFactors> {
  let best: Omit<LoftqFactors, "errors"> | null = null;
  let rest = W;
  const errors: number[] = [];
  for (let step = 0; step < steps; step++) {
    const Q = await quantizeWeight(rest, { bits, ...format });
    const { u, s, vt } = svd(W.sub(Q.dense()));
    const root = sqrt(slice(s, [[0, rank]]));
    const A = slice(vt, [[0, rank]]).mul(root.reshape([rank, 1]));
    const B = slice(u, [null, [0, rank]]).mul(root);
    const error = sqrt(
      slice(s, [[rank, s.shape[0]!]])
        .square()
        .sum(),
    );
    rest = W.sub(matmul(B, A));
    await evaluate(A, B, error, rest);
    errors.push(await error.item());
    if (errors.at(-1)! <= Math.min(...errors)) best = { Q, A, B };
  }
  return { ...best!, errors };
}

function expectInNumbers({ path, layer }: SelectedLayer): void {
  const inCodes = layer.weight instanceof QuantizedWeight;
  if (!inCodes && layer.asStored === undefined && layer._overlay === null) return;
  throw new ConfigError({
    where: `attachLoftq, ${path}`,
    expected: "a linear layer without adapters, with a weight [out, in] in numbers",
    got: inCodes ? "a weight in codes" : layer._overlay ? "one with adapters" : "a weight stored otherwise",
  });
}

/**
 * LoftQ: puts the weights of layers in codes, and a LoRA onto them that starts as what the codes miss, so that the model is nearer
 * to what it was than with the codes alone.
 *
 *     W' = Q + s B A ≈ W
 *
 * with the factors of {@link loftqFactors}, divided by √s each. The base is changed: its weights are codes from then on, also when
 * the adapter is taken off, and the file of the adapter, that of a LoRA, is for this base. A weight that two layers share is in
 * codes in both.
 *
 * Source: Li et al. 2023, arXiv:2310.08659, eq. (6) and algorithm 1. Codes are those of {@link quantizeWeight}, not NF4.
 *
 * @example
 * ```ts
 * const adapted = await attachLoftq(model, { rank: 16, bits: 4 }, { targets: "all-linear" });
 * ```
 * @throws ConfigError if no layer matches, a setting is out of range, or a weight is in codes already; nothing is changed then.
 * @category Starts from data
 */
export async function attachLoftq<M extends Module>(
  model: M,
  config: LoftqConfig,
  options: LoftqOptions,
): Promise<Attached<M>> {
  const { name, dtype = "f32", rankPattern = {}, alphaPattern = {} } = options;
  const { steps = 5, bits = 4, dropout, groupSize = 32, activations } = config;
  expectInteger("loftq", "steps", steps, { min: 1 });
  expectOneOf("loftq", "bits", bits, [4, 8]);
  const chosen = selectLayers(model, { name: "loftq" } as Adapter, options, { where: "attachLoftq" });
  const places = chosen.map((selected) => {
    const { rank, alpha = rank } = configFor(
      config,
      { rank: rankPattern, alpha: alphaPattern },
      selected.path,
    );
    const target = targetOf(selected, dtype);
    lora.check!({ rank, alpha, dropout }, target);
    if (alpha === 0) expectOneOf("loftq", "alpha", alpha, ["a number that is not 0"]);
    expectInteger("loftq", `in modulo groupSize, for "${selected.path}",`, target.inFeatures % groupSize, {
      min: 0,
      max: 0,
    });
    expectInNumbers(selected);
    return { ...selected, rank, scale: alpha / rank };
  });
  const paths = new Map([...model.state()].map(([path, p]) => [p, path])); // a shared weight goes by its first path
  const codes = new Map<string, QuantizedWeight>();
  const updates = new Map<string, LoraUpdate>();
  for (const { path, layer, rank, scale } of places) {
    const W = layer.denseWeight().astype("f32");
    const { Q, A, B } = await loftqFactors(W, { rank, steps, bits, groupSize, activations });
    const share = Math.sqrt(Math.abs(scale));
    codes.set(paths.get(layer.weight)!, Q);
    updates.set(path, { kind: "linear", A: A.div(share), B: B.div(share * Math.sign(scale)), scale });
  }
  const adapted = await attachUpdates(model, updates, { name, dtype, dropout });
  model.loadState(codes, { strict: false });
  return adapted;
}
