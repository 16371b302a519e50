import { kron } from "@lowrank/linalg";
import { kaimingUniform } from "@lowrank/nn";
import { ConfigError, matmul, swapaxes, type Tensor, zeros } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { asMatrix, CONVOLUTIONS, fromCore, hasKernel } from "./features.js";
import { refuseDropouts } from "./loha.js";
import { numberField } from "./peft-json.js";

export interface LokrConfig {
  /** Rank of a factor that is itself a product; one of half the factor's larger side on leaves the factor whole. */
  rank: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /** Size to split widths by: the factors are as near to it as divisors allow. Default: as near to a square as they allow. */
  factor?: number;
  /** Whether the first factor may be a product too. Default false. */
  both?: boolean;
  /**
   * On a convolution whose kernel is above 1: where the second factor is a product, it has a core between the channels, PEFT's
   * `use_effective_conv2d`. Default false.
   */
  core?: boolean;
  /** Which factor starts at zero: the first, or as in LyCORIS the second. Default "first". */
  zero?: "first" | "second";
}

/** Each factor is there as a whole or as a product. */
export interface LokrParams {
  /** [o₁, i₁] */
  w1?: Tensor;
  /** [o₁, rank] */
  w1A?: Tensor;
  /** [rank, i₁] */
  w1B?: Tensor;
  /** [o₂, i₂]; of a convolution [o₂, i₂, kh, kw]. */
  w2?: Tensor;
  /** [o₂, rank]; beside a core [rank, o₂]. */
  w2A?: Tensor;
  /** [rank, i₂], of a convolution [rank, i₂ · kernel]; beside a core [rank, i₂]. */
  w2B?: Tensor;
  /** Core [rank, rank, kh, kw], of a sequence [rank, rank, k, 1]. */
  t2?: Tensor;
}

/** n as a product m · k, m ≤ k: with m = factor if that divides n, else with the sum m + k least for m ≤ factor. */
export function factorPair(n: number, factor = -1): [number, number] {
  if (factor > 0 && n % factor === 0) return [factor, n / factor];
  const largest = factor === -1 ? n : factor;
  let best = 1;
  for (let m = 2; m * m <= n && m <= largest; m++) if (n % m === 0) best = m;
  return [best, n / best];
}

/** Shapes of the two factors, and which of them are products. */
export function lokrShapes(target: Target, { rank, factor, both = false, core = false }: LokrConfig) {
  const { inFeatures, outFeatures, filter } = target;
  const [i1, i2] = factorPair(filter?.channels ?? inFeatures, factor);
  const [o1, o2] = factorPair(outFeatures, factor);
  return {
    first: [o1, i1] as const,
    second: [o2, i2] as const,
    kernel: filter?.kernel ?? [],
    split1: both && rank < Math.max(o1, i1) / 2,
    split2: rank < Math.max(o2, i2) / 2,
    core: core && hasKernel(target),
  };
}

const format: AdapterFormat<LokrConfig> = {
  peftType: "LOKR",
  tensors: {
    linear: {
      w1: "lokr_w1",
      w1A: "lokr_w1_a",
      w1B: "lokr_w1_b",
      w2: "lokr_w2",
      w2A: "lokr_w2_a",
      w2B: "lokr_w2_b",
      t2: "lokr_t2",
    },
  },
  toJson: ({ rank, alpha = rank, factor = -1, both = false, zero = "first", core = false }) => ({
    r: rank,
    alpha,
    decompose_factor: factor,
    decompose_both: both,
    rank_dropout: 0,
    module_dropout: 0,
    use_effective_conv2d: core,
    init_weights: zero === "first" ? true : "lycoris",
  }),
  fromJson(json) {
    refuseDropouts(json);
    return {
      rank: numberField(json, "r", 8),
      alpha: numberField(json, "alpha", 8),
      factor: numberField(json, "decompose_factor", -1),
      both: json["decompose_both"] === true,
      core: json["use_effective_conv2d"] === true,
      zero: json["init_weights"] === "lycoris" ? "second" : "first",
    };
  },
};

const firstOf = ({ w1, w1A, w1B }: LokrParams): Tensor => w1 ?? matmul(w1A!, w1B!);

/** [o₂, i₂], of a convolution [o₂, i₂ · kernel]. */
function secondOf({ w2, w2A, w2B, t2 }: LokrParams): Tensor {
  if (w2 !== undefined) return asMatrix(w2);
  return t2 === undefined ? matmul(w2A!, w2B!) : fromCore(t2, w2A!.T, w2B!.T);
}

// W' = W + s W₁ ⊗ W₂
const add = (W: Tensor, params: LokrParams, { rank, alpha = rank }: LokrConfig): Tensor =>
  W.add(kron(firstOf(params), secondOf(params)).mul(alpha / rank));

/**
 * LoKr: adds a Kronecker product.
 *
 *     W' = W + s W₁ ⊗ W₂,   W₂ = A₂ B₂ where that is smaller,   s = alpha / rank
 *
 * W is [out, in], W₁ [o₁, i₁], W₂ [o₂, i₂] with o₁ o₂ = out and i₁ i₂ = in, split as evenly as divisors allow. The rank of
 * the update is that of W₁ times that of W₂. W₁ starts at zero, so W' = W before the first step. The product is never
 * formed in the forward pass of a linear layer.
 *
 * On a convolution the channels are split, o₁ o₂ = out and i₁ i₂ = channels, and W₂ has the kernel: [o₂, i₂ · kernel].
 *
 * Source: Yeh et al. 2023, arXiv:2309.14859, section 3; Edalati et al. 2022, arXiv:2212.10650. The files are PEFT's.
 *
 * @example
 * ```ts
 * const adapted = attach(model, lokr, { rank: 8, factor: 16 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Additive adapters
 */
export const lokr = /* @__PURE__ */ defineAdapter<LokrConfig, LokrParams>({
  name: "lokr",
  kinds: ["linear", ...CONVOLUTIONS],
  format,

  check(config, target) {
    const { rank, alpha, factor, zero, core } = config;
    expectInteger("lokr", "rank", rank, { min: 1 });
    if (alpha !== undefined) expectNumber("lokr", "alpha", alpha);
    if (factor !== undefined && factor !== -1) expectInteger("lokr", "factor", factor, { min: 1 });
    if (zero !== undefined) expectOneOf("lokr", "zero", zero, ["first", "second"]);
    if (core !== undefined) expectOneOf("lokr", "core", core, [true, false]);
    if (target.kind !== "conv1d" || lokrShapes(target, config).split2) return;
    throw new ConfigError({
      where: "lokr",
      expected: `a rank for ${target.path}, a convolution of sequences, with which its second factor is a product`,
      got: `rank ${rank}, with which it is whole`,
      hint: "PEFT orders the numbers of a whole one in another way than a Kronecker product; choose a smaller rank or factor",
    });
  },

  init(target, config, key) {
    const { rank, zero = "first" } = config;
    const { first, second, kernel, split1, split2, core } = lokrShapes(target, config);
    const { dtype } = target;
    const places = kernel.reduce((a, b) => a * b, 1);
    const none = (dims: readonly number[]): Tensor => zeros(dims, { dtype });
    const drawn = (dims: readonly number[], name: string): Tensor =>
      kaimingUniform(dims, { a: Math.sqrt(5), key: key.foldName(name), dtype });
    const start = (dims: readonly number[], name: string, atZero: boolean): Tensor =>
      atZero ? none(dims) : drawn(dims, name);
    const [o1, i1] = first;
    const [o2, i2] = second;
    // Of a product one factor is zero: of the first the left, of the second, as in LyCORIS, the right.
    return {
      ...(split1
        ? { w1A: start([o1, rank], "w1A", zero === "first"), w1B: drawn([rank, i1], "w1B") }
        : { w1: start(first, "w1", zero === "first") }),
      ...(split2
        ? {
            w2A: drawn(core ? [rank, o2] : [o2, rank], "w2A"),
            w2B: start([rank, core ? i2 : i2 * places], "w2B", zero === "second"),
          }
        : { w2: start([...second, ...kernel], "w2", zero === "second") }),
      ...(split2 && core ? { t2: drawn([rank, rank, ...kernel, 1].slice(0, 4), "t2") } : {}),
    };
  },

  // (W₁ ⊗ W₂) x for x as [i₁, i₂]: W₁ X W₂ᵀ
  forward(x, base, params, config, { target, weight, withWeight }) {
    if (target.filter !== undefined) return withWeight(x, add(weight(), params, config));
    const { w2, w2A, w2B } = params;
    const { rank, alpha = rank } = config;
    const { first, second } = lokrShapes(target, config);
    const X = x.reshape([-1, first[1], second[1]]);
    const right = w2 === undefined ? matmul(matmul(X, w2B!.T), w2A!.T) : matmul(X, w2.T); // [.., i₁, o₂]
    const left = matmul(swapaxes(right, 1, 2), firstOf(params).T); // [.., o₂, o₁]
    const update = swapaxes(left, 1, 2).reshape([...x.shape.slice(0, -1), target.outFeatures]);
    return base(x).add(update.mul(alpha / rank));
  },

  merge: add,
});
