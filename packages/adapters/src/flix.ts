import { dropWith, forwardContext, withContext } from "@lowrank/nn";
import { ConfigError, matmul, ones, ShapeError, type Tensor, tensor, uniform, zeros } from "@lowrank/tensor";
import { type AdapterPass, defineAdapter } from "./adapter.js";
import { expectInteger, expectNumber } from "./expect.js";

export interface FlixConfig {
  /** Every feature that there is: languages, tasks, ... */
  features: readonly string[];
  /** Rank of each feature's update. Default 4. */
  rank?: number;
  /** Each update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /** Features of a pass that names none, and of the merged weight. Default: none. */
  active?: readonly string[];
  /** Probability that a feature of an example is left out while training, in all layers alike. Default 0.1. */
  featureDropout?: number;
}

export interface FlixParams {
  /** Down projections of all features one after the other, [features · rank, in]. */
  A: Tensor;
  /** Up projections, [out, features · rank]. */
  B: Tensor;
}

/** The features of a batch: for all of its rows, or for each. */
export type Features = readonly string[] | readonly (readonly string[])[];

const EXTRA = "adapters/flix";
const RANK = 4;
const DROPOUT = 0.1;

/**
 * Runs `f` so that FLix adapters take these features: names for the whole batch, or a list of names for each of its rows.
 *
 * @example
 * ```ts
 * const logits = withFeatures([["sw", "qa"], ["bn", "ner"]], () => model.forward(ids)); // ids [2, T]
 * ```
 * @category Additive adapters
 */
export function withFeatures<T>(features: Features, f: () => T): T {
  return withContext({ extras: new Map(forwardContext().extras).set(EXTRA, features) }, f);
}

/** 1 for features that are active, 0 for others; the same feature twice is one. */
function indicator({ features }: FlixConfig, names: readonly string[]): number[] {
  const unknown = names.find((name) => !features.includes(name));
  if (unknown !== undefined) {
    throw new ConfigError({
      where: "flix",
      expected: `features among ${features.map((n) => JSON.stringify(n)).join(", ")}`,
      got: JSON.stringify(unknown),
      hint: "leave out a feature that was never trained",
    });
  }
  return features.map((name) => (names.includes(name) ? 1 : 0));
}

/** Which features act on which row, [rows or 1, features], or null where none acts. */
function gates(x: Tensor, config: FlixConfig, { target, training, extras }: AdapterPass): Tensor | null {
  const given = (extras.get(EXTRA) ?? config.active ?? []) as Features;
  const byRow = given.length > 0 && typeof given[0] !== "string";
  const rows = (byRow ? given : [given]) as readonly (readonly string[])[];
  if (byRow && (x.ndim < 2 || x.shape[0] !== rows.length)) {
    throw new ShapeError({
      where: target.path,
      expected: `an input with an axis of ${rows.length} rows first, those of withFeatures`,
      got: `[${x.shape.join(", ")}]`,
    });
  }
  if (rows.every((names) => names.length === 0)) return null;
  const values = Float32Array.from(rows.flatMap((names) => indicator(config, names)));
  const gate = tensor(values, { shape: [rows.length, config.features.length] }).astype(target.dtype);
  const p = config.featureDropout ?? DROPOUT;
  if (!training || p === 0) return gate;
  // Not scaled up where kept, and from a key that all layers share.
  const kept = ones([x.ndim < 2 ? 1 : x.shape[0]!, config.features.length], { dtype: target.dtype });
  const key = forwardContext().key?.foldName("flix") ?? null;
  return gate.mul(dropWith(`flix on ${target.path}`, kept, p, key).mul(1 - p));
}

/** Each gate once per place of its feature's rank. */
const perPlace = (gate: Tensor, rank: number): Tensor =>
  gate
    .reshape([gate.shape[0]!, gate.shape[1]!, 1])
    .mul(ones([1, 1, rank], { dtype: gate.dtype }))
    .reshape([gate.shape[0]!, gate.shape[1]! * rank]);

/**
 * FLix: every feature of the data (a language, a task) has a low-rank update, and an example the sum of those of its
 * features, so that combinations that were never trained are composed of parts that were.
 *
 *     W(φ) = W + s Σ_{f ∈ φ} B_f A_f,   s = alpha / rank
 *
 * W is [out, in], A_f [rank, in], B_f [out, rank]: features · rank · (in + out) numbers are trained. Every B_f starts at
 * zero, so W(φ) = W before the first step. Features come with the pass, from `withFeatures`; a merged weight holds those
 * of `active`. The products are made for all features at once and those that are not active closed, so that one plan serves
 * all choices. A feature that no example has gets a gradient of zero, which AdamW's moments do not hear as silence.
 *
 * Source: Lin et al. 2024, arXiv:2402.17934, section 3. Left-out features are not made up for by scaling the others.
 *
 * @example
 * ```ts
 * const adapted = attach(model, flix, { features: ["sw", "bn", "qa", "ner"], rank: 4 }, { targets: ["q_proj", "v_proj"] });
 * const loss = withFeatures([["sw", "qa"], ["bn", "ner"]], () => model.loss(ids, labels));
 * ```
 * @category Additive adapters
 */
export const flix = /* @__PURE__ */ defineAdapter<FlixConfig, FlixParams>({
  name: "flix",

  check(config, { inFeatures, outFeatures, path }) {
    const { features, rank = RANK, alpha, active = [], featureDropout } = config;
    const named = Array.isArray(features) && features.every((name) => typeof name === "string");
    if (!named || features.length === 0 || new Set(features).size < features.length) {
      throw new ConfigError({
        where: "flix",
        expected: "features to be a list of different names",
        got: JSON.stringify(features)?.slice(0, 120) ?? "none",
      });
    }
    expectInteger("flix", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    if (alpha !== undefined) expectNumber("flix", "alpha", alpha);
    if (featureDropout !== undefined)
      expectNumber("flix", "featureDropout", featureDropout, { min: 0, below: 1 });
    indicator(config, active);
  },

  init({ inFeatures, outFeatures, dtype }, { features, rank = RANK }, key) {
    const bound = inFeatures ** -0.5;
    const places = features.length * rank;
    return {
      A: uniform([places, inFeatures], { key, min: -bound, max: bound, dtype }),
      B: zeros([outFeatures, places], { dtype }),
    };
  },

  // y = W x + s B (gate ∘ A x)
  forward(x, base, { A, B }, config, pass) {
    const gate = gates(x, config, pass);
    if (gate === null) return base(x);
    const { rank = RANK, alpha = rank } = config;
    const places = perPlace(gate, rank);
    const shape = x.ndim < 2 ? [places.size] : [places.shape[0]!, ...x.shape.slice(1, -1).map(() => 1), -1];
    const low = matmul(x, A.T).mul(places.reshape(shape).mul(alpha / rank)); // [..., features · rank]
    return base(x).add(matmul(low, B.T));
  },

  // W' = W + s Σ B_f A_f over the active features
  merge(W, { A, B }, config, { dtype }) {
    const { rank = RANK, alpha = rank, features, active = [] } = config;
    if (active.length === 0) return W;
    const gate = tensor(Float32Array.from(indicator(config, active)), { shape: [1, features.length] });
    return W.add(matmul(B.mul(perPlace(gate.astype(dtype), rank)), A).mul(alpha / rank));
  },
});
