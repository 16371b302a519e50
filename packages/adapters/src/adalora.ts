import {
  ConfigError,
  eye,
  gt,
  matmul,
  normal,
  sqrt,
  type Tensor,
  where as select,
  zeros,
} from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber, expectUngrouped } from "./expect.js";
import { CONVOLUTIONS, mix } from "./features.js";
import { numberField, refuseField, refuseFields } from "./peft-json.js";

export interface AdaLoraConfig {
  /** Triplets that every layer starts with, from 1 to min(in, out). Default 12. */
  rank?: number;
  /** Mean number of triplets per layer that are left in the end. Default 8, or the rank if that is less. */
  targetRank?: number;
  /** The update is scaled by alpha / (rank + 1e-5), as in PEFT. Default: rank. */
  alpha?: number;
  /** Probability that an input of the update is left out while training. Default 0. */
  dropout?: number;
  /** Updates of the whole training: what the budget is scheduled over. */
  steps: number;
  /** First updates, during which nothing is masked. Default 0. */
  tinit?: number;
  /** Last updates, during which the masks stand. Default 0. */
  tfinal?: number;
  /** Updates from one masking to the next. Default 1. */
  deltaT?: number;
  /** Memory of the sensitivity, above 0 and below 1. Default 0.85. */
  beta1?: number;
  /** Memory of the uncertainty, above 0 and below 1. Default 0.85. */
  beta2?: number;
  /** γ of the term for the loss that holds P and Q near orthogonal. Default 0.5; 0 for none. */
  penalty?: number;
  /** Which of the `rank` triplets a layer still has, by its path. Default: all. */
  kept?: Readonly<Record<string, readonly boolean[]>>;
}

export interface AdaLoraParams {
  /** Right vectors Q, [r, in] with r the triplets that the layer has, and in = channels · kernel for a convolution. */
  A: Tensor;
  /** Left vectors P, [out, r]. */
  B: Tensor;
  /** Singular values Λ, [r, 1]. */
  E: Tensor;
}

const keptOn = ({ kept }: AdaLoraConfig, path: string): readonly boolean[] | undefined =>
  kept !== undefined && Object.hasOwn(kept, path) ? kept[path] : undefined;

const RANK = 12;
const TARGET = 8;
const MEMORY = 0.85;
const PENALTY = 0.5;

/** The configuration with its defaults, which are PEFT's. */
export function withDefaults({
  rank = RANK,
  targetRank = Math.min(TARGET, rank),
  alpha = rank,
  dropout = 0,
  tinit = 0,
  tfinal = 0,
  deltaT = 1,
  beta1 = MEMORY,
  beta2 = MEMORY,
  penalty = PENALTY,
  ...given
}: AdaLoraConfig) {
  return { ...given, rank, targetRank, alpha, dropout, tinit, tfinal, deltaT, beta1, beta2, penalty };
}

/** Triplets that a layer has. */
const tripletsOn = (config: AdaLoraConfig, path: string): number =>
  keptOn(config, path)?.filter(Boolean).length ?? config.rank ?? RANK;

/** The file names a layer's mask after its singular values. */
const MASKED = ".lora_E";

function keptIn(json: Readonly<Record<string, unknown>>, rank: number): AdaLoraConfig["kept"] {
  const pattern = json["rank_pattern"] ?? {};
  const refuse = (): never =>
    refuseField(json, "rank_pattern", `rank_pattern to be masks of ${rank} triplets by "layer${MASKED}"`);
  if (typeof pattern !== "object" || Array.isArray(pattern)) return refuse();
  const masks = Object.entries(pattern).map(([name, mask]): [string, boolean[]] => {
    const fits = Array.isArray(mask) && mask.length === rank && mask.every((m) => typeof m === "boolean");
    return fits && name.endsWith(MASKED) ? [name.slice(0, -MASKED.length), mask] : refuse();
  });
  return masks.length === 0 ? undefined : Object.fromEntries(masks);
}

const NAMES = { A: "lora_A", B: "lora_B", E: "lora_E" };

const format: AdapterFormat<AdaLoraConfig> = {
  peftType: "ADALORA",
  tensors: { linear: NAMES, conv1d: NAMES, conv2d: NAMES },
  ownRankPattern: true,
  toJson(config) {
    const { rank, targetRank, alpha, dropout, steps, penalty, kept, ...schedule } = withDefaults(config);
    const { tinit, tfinal, deltaT, beta1, beta2 } = schedule;
    const masks = kept && Object.entries(kept).map(([path, mask]) => [`${path}${MASKED}`, mask]);
    return {
      init_r: rank,
      target_r: targetRank,
      lora_alpha: alpha,
      lora_dropout: dropout,
      total_step: steps,
      tinit,
      tfinal,
      deltaT,
      beta1,
      beta2,
      orth_reg_weight: penalty,
      bias: "none",
      fan_in_fan_out: false,
      init_lora_weights: true,
      ...(masks && { rank_pattern: Object.fromEntries(masks) }),
    };
  },
  fromJson(json) {
    refuseFields(json, ["use_dora", "layer_replication"]);
    const rank = numberField(json, "init_r", RANK);
    const kept = keptIn(json, rank);
    return {
      rank,
      targetRank: numberField(json, "target_r", TARGET),
      alpha: numberField(json, "lora_alpha", 8),
      dropout: numberField(json, "lora_dropout", 0),
      steps: numberField(json, "total_step", 1),
      tinit: numberField(json, "tinit", 0),
      tfinal: numberField(json, "tfinal", 0),
      deltaT: numberField(json, "deltaT", 1),
      beta1: numberField(json, "beta1", MEMORY),
      beta2: numberField(json, "beta2", MEMORY),
      penalty: numberField(json, "orth_reg_weight", PENALTY),
      ...(kept && { kept }),
    };
  },
};

/** PEFT's divisor is what the layer started with, so that masks do not change the scale. */
const scaleOf = ({ rank = RANK, alpha = rank }: AdaLoraConfig): number => alpha / (rank + 1e-5);

/** ‖G − I‖_F for a Gram matrix, with slope 0 where it is 0. */
function fromIdentity(gram: Tensor): Tensor {
  const squared = gram
    .sub(eye(gram.shape[0]!, undefined, { dtype: gram.dtype }))
    .square()
    .sum();
  const some = gt(squared, 0);
  return select(some, sqrt(select(some, squared, 1)), 0);
}

function checkSchedule(config: AdaLoraConfig): void {
  const { steps, tinit, tfinal, deltaT } = withDefaults(config);
  expectInteger("adaLora", "steps", steps, { min: 1 });
  expectInteger("adaLora", "tinit", tinit, { min: 0 });
  expectInteger("adaLora", "tfinal", tfinal, { min: 0 });
  expectInteger("adaLora", "deltaT", deltaT, { min: 1 });
  if (tinit < steps - tfinal) return;
  throw new ConfigError({
    where: "adaLora",
    expected: "updates between tinit and the last tfinal",
    got: `${steps} steps with tinit ${tinit} and tfinal ${tfinal}`,
  });
}

function checkKept(config: AdaLoraConfig, rank: number, { path }: Target): void {
  const kept = keptOn(config, path);
  if (kept === undefined || kept.length === rank) return;
  throw new ConfigError({
    where: "adaLora",
    expected: `kept to have ${rank} marks for "${path}", its rank`,
    got: String(kept.length),
  });
}

/**
 * AdaLoRA: a low-rank update in the form of a singular value decomposition, whose least important triplets are taken out
 * while training, over all layers together.
 *
 *     W' = W + s · P diag(Λ) Q,   s = alpha / (rank + 1e-5)
 *
 * W is [out, in]; Q = A [r, in], P = B [out, r] and Λ = E [r, 1] are trained, rank · (in + out + 1) numbers. Λ starts at zero,
 * P and Q as N(0, 0.02²), so W' = W before the first step. The term for the loss holds P and Q near orthogonal:
 *
 *     γ / (2 n) · Σ (‖Q Qᵀ − I‖_F + ‖Pᵀ P − I‖_F)   over the n layers
 *
 * On a convolution the weight is the matrix of its filters. Which triplets are masked is decided by {@link adaLoraBudget};
 * without it this is such an update of fixed rank.
 *
 * Source: Zhang et al. 2023, arXiv:2303.10512, eq. (3) and (4). Scale, starts and the mean over norms that are not squared
 * are those of PEFT, whose files are read and written.
 *
 * @example
 * ```ts
 * const adapted = attach(model, adaLora, { rank: 12, targetRank: 8, steps: 1000 }, { targets: ["q_proj", "v_proj"] });
 * const optimizer = adaLoraBudget(adapted, new AdamW(model.trainableParameters(), { lr: 1e-3 }));
 * ```
 * @category Additive adapters
 */
export const adaLora = /* @__PURE__ */ defineAdapter<AdaLoraConfig, AdaLoraParams>({
  name: "adaLora",
  kinds: ["linear", ...CONVOLUTIONS],
  format,

  check(config, target) {
    const { rank, targetRank, beta1, beta2, penalty } = withDefaults(config);
    const { inFeatures, outFeatures, path } = target;
    const layer = `"${path}", ${inFeatures} in, ${outFeatures} out`;
    expectInteger("adaLora", "rank", rank, { min: 1, max: Math.min(inFeatures, outFeatures), layer });
    expectInteger("adaLora", "targetRank", targetRank, { min: 0 });
    if (config.alpha !== undefined) expectNumber("adaLora", "alpha", config.alpha);
    expectNumber("adaLora", "dropout", config.dropout ?? 0, { min: 0, below: 1 });
    expectNumber("adaLora", "beta1", beta1, { min: Number.MIN_VALUE, below: 1 });
    expectNumber("adaLora", "beta2", beta2, { min: Number.MIN_VALUE, below: 1 });
    expectNumber("adaLora", "penalty", penalty, { min: 0 });
    expectUngrouped("adaLora", target);
    checkSchedule(config);
    checkKept(config, rank, target);
  },

  init({ path, inFeatures, outFeatures, dtype }, config, key) {
    const r = tripletsOn(config, path);
    const drawn = (dims: number[], name: string): Tensor =>
      normal(dims, { key: key.foldName(name), std: 0.02, dtype });
    return {
      A: drawn([r, inFeatures], "A"),
      B: drawn([outFeatures, r], "B"),
      E: zeros([r, 1], { dtype }),
    };
  },

  // y = W x + s P (Λ ∘ Q x)
  forward(x, base, { A, B, E }, config, { target, dropout, project }) {
    if (E.size === 0) return base(x);
    const low = project(dropout(x, config.dropout ?? 0), A.mul(E)); // [..., r], or r channels
    return base(x).add(mix(low.mul(scaleOf(config)), B, target));
  },

  // W' = W + s P diag(Λ) Q
  merge: (W, { A, B, E }, config) => (E.size === 0 ? W : W.add(matmul(B, A.mul(E)).mul(scaleOf(config)))),

  factors: ({ A, B, E }, config) => ({ A: A.mul(E), B, scale: scaleOf(config) }),

  penalty({ A, B }, { penalty = PENALTY }, _target, layers = 1) {
    if (penalty === 0 || A.shape[0] === 0) return undefined;
    const both = fromIdentity(matmul(A, A.T)).add(fromIdentity(matmul(B.T, B)));
    return both.mul(penalty / (2 * layers));
  },
});
