import { kaimingUniform } from "@lowrank/nn";
import { matmul, normal, tanh, type Tensor, zeros } from "@lowrank/tensor";
import { defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { CONVOLUTIONS, fromCore, hasKernel } from "./features.js";

export interface FedParaConfig {
  /** Rank of each product. Default: by `gamma`. */
  rank?: number;
  /** Where the rank stands between the least that reaches full rank (0) and the size of the dense weight (1). Default 0. */
  gamma?: number;
  /** pFedPara: the first product is everybody's, the second each client's own. Default false. */
  personal?: boolean;
  /** Puts each product through a tanh. Default false. */
  tanh?: boolean;
  /**
   * On a convolution whose kernel is above 1: each product has a core between the channels, proposition 3. Without, the kernel is
   * part of `in`. Default true.
   */
  core?: boolean;
  /** "identity", or "he" for a weight that is trained from scratch over a frozen one of zeros. Default "identity". */
  init?: "identity" | "he";
}

export interface FedParaParams {
  /** [out, rank]; everybody's in pFedPara, as Y1 and T1. */
  X1: Tensor;
  /** [in, rank]; beside a core [channels, rank]. */
  Y1: Tensor;
  /** [out, rank]; a client's own in pFedPara, as Y2 and T2. */
  X2: Tensor;
  /** As Y1. */
  Y2: Tensor;
  /** Cores [rank, rank, ...kernel], from channels of the result to those of the input. */
  T1?: Tensor;
  T2?: Tensor;
}

/**
 * The inner rank ⌈(1 − γ) R_min + γ R_max⌉ of a weight [out, in]: R_min = ⌈√min(in, out)⌉, from which on every rank can be
 * reached, and R_max the largest with no more numbers than the weight. With `places` k above 1 of a kernel and a core, in is the
 * number of channels, and R_max the largest R with 2 R (in + out + R k) ≤ in out k.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, corollary 1 and section 3; R_max with a core by solving for it.
 */
export function fedParaRank(inFeatures: number, outFeatures: number, gamma: number, places = 1): number {
  const [sum, product] = [inFeatures + outFeatures, inFeatures * outFeatures];
  const least = Math.ceil(Math.sqrt(Math.min(inFeatures, outFeatures)));
  const most =
    places === 1
      ? Math.floor(product / (2 * sum))
      : Math.floor((Math.sqrt(sum ** 2 + 2 * product * places ** 2) - sum) / (2 * places));
  return Math.max(1, Math.ceil((1 - gamma) * least + gamma * most));
}

/** Widths of a layer's factors; `kernel` only where there is a core. */
export function fedParaShape({ core = true, rank, gamma = 0 }: FedParaConfig, target: Target) {
  const kernel = core && hasKernel(target) ? target.filter!.kernel : undefined;
  const width = kernel === undefined ? target.inFeatures : target.filter!.channels;
  const places = kernel?.reduce((a, b) => a * b, 1) ?? 1;
  return { R: rank ?? fedParaRank(width, target.outFeatures, gamma, places), width, kernel };
}

/** X Yᵀ, or a kernel with a core between X and Y, [out, in]. */
const product = (X: Tensor, Y: Tensor, T: Tensor | undefined): Tensor =>
  T === undefined ? matmul(X, Y.T) : fromCore(T, X, Y);

/**
 * FedPara: a weight of full rank from few numbers, for training that sends weights around; here laid over a frozen weight.
 *
 *     W' = W + (X₁ Y₁ᵀ) ∘ (X₂ Y₂ᵀ);   pFedPara: W' = W + (X₁ Y₁ᵀ) ∘ (X₂ Y₂ᵀ + 1)
 *
 * W is [out, in], Xᵢ [out, R], Yᵢ [in, R]: 2 R (in + out) numbers are trained. The update has rank at most R², with pFedPara
 * R (R + 1). Over a W of zeros it is the paper's layer. In pFedPara a client sends X₁ and Y₁ and keeps X₂ and Y₂.
 *
 * On a convolution Xᵢ Yᵢᵀ is the kernel Σ_ab Tᵢ[a, b] Xᵢ[out, a] Yᵢ[channels, b], with 2 R (channels + out + R k) numbers for a kernel
 * of k places; the ranks hold for both ways to flatten it.
 *
 * The identity start has Y₂ = 0, for pFedPara Y₁ = Y₂ = 0. The "he" start has factors of equal variance whose product has
 * He's, 2 / in; for pFedPara X₁ Y₁ᵀ has it and Y₂ = 0. The paper only asks for He's start: this reading of it is ours.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, propositions 1 and 3, corollary 1 and section 2.3.
 *
 * @example
 * ```ts
 * const adapted = attach(model, fedPara, { gamma: 0.1, personal: true }, { targets: ["fc1", "fc2"] });
 * ```
 * @category Additive adapters
 */
export const fedPara = /* @__PURE__ */ defineAdapter<FedParaConfig, FedParaParams>({
  name: "fedPara",
  kinds: ["linear", ...CONVOLUTIONS],
  startsElsewhere: ({ init }) => (init === "he" ? "the products are drawn" : undefined),

  check({ rank, gamma, core, init }) {
    if (rank !== undefined) expectInteger("fedPara", "rank", rank, { min: 1 });
    if (gamma !== undefined) expectNumber("fedPara", "gamma", gamma, { min: 0, below: 1 + 1e-12 });
    if (core !== undefined) expectOneOf("fedPara", "core", core, [true, false]);
    if (init !== undefined) expectOneOf("fedPara", "init", init, ["identity", "he"]);
  },

  init(target, config, key) {
    const { inFeatures, outFeatures, dtype } = target;
    const { personal = false, init = "identity" } = config;
    const { R, width, kernel } = fedParaShape(config, target);
    const goal = Math.sqrt(2 / inFeatures); // of the standard deviation of the composed weight
    const wanted = personal ? goal ** 2 : goal; // of the variance of one of the products
    // R std⁴ is the variance of one product of factors, with a core between them R² std⁶.
    const std = kernel === undefined ? (wanted / R) ** (1 / 4) : (wanted / R ** 2) ** (1 / 6);
    const drawn = (dims: readonly number[], name: string): Tensor =>
      init === "he"
        ? normal(dims, { key: key.foldName(name), std, dtype })
        : kaimingUniform(dims, { a: Math.sqrt(5), key: key.foldName(name), dtype });
    const none = zeros([width, R], { dtype });
    const core = kernel && [R, R, ...kernel];
    return {
      X1: drawn([outFeatures, R], "X1"),
      Y1: personal && init === "identity" ? none : drawn([width, R], "Y1"),
      X2: drawn([outFeatures, R], "X2"),
      Y2: personal || init === "identity" ? none : drawn([width, R], "Y2"),
      ...(core ? { T1: drawn(core, "T1"), T2: drawn(core, "T2") } : {}),
    };
  },

  merge(W, { X1, Y1, X2, Y2, T1, T2 }, { personal = false, tanh: bounded = false }) {
    const [first, second] = [product(X1, Y1, T1), product(X2, Y2, T2)].map((w) => (bounded ? tanh(w) : w));
    return W.add(first!.mul(personal ? second!.add(1) : second!));
  },
});
