import { kaimingUniform } from "@lowrank/nn";
import { matmul, normal, tanh, type Tensor, zeros } from "@lowrank/tensor";
import { defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";

export interface FedParaConfig {
  /** Rank of each product. Default: by `gamma`. */
  rank?: number;
  /** Where the rank stands between the least that reaches full rank (0) and the size of the dense weight (1). Default 0. */
  gamma?: number;
  /** pFedPara: the first product is everybody's, the second each client's own. Default false. */
  personal?: boolean;
  /** Puts each product through a tanh. Default false. */
  tanh?: boolean;
  /** "identity", or "he" for a weight that is trained from scratch over a frozen one of zeros. Default "identity". */
  init?: "identity" | "he";
}

export interface FedParaParams {
  /** [out, rank]; everybody's in pFedPara, as Y1. */
  X1: Tensor;
  /** [in, rank] */
  Y1: Tensor;
  /** [out, rank]; a client's own in pFedPara, as Y2. */
  X2: Tensor;
  /** [in, rank] */
  Y2: Tensor;
}

/**
 * The inner rank ⌈(1 − γ) R_min + γ R_max⌉ of a weight [out, in]: R_min = ⌈√min(in, out)⌉, from which on every rank can be
 * reached, and R_max the largest with no more numbers than the weight.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, corollary 1 and section 3.
 */
export function fedParaRank(inFeatures: number, outFeatures: number, gamma: number): number {
  const least = Math.ceil(Math.sqrt(Math.min(inFeatures, outFeatures)));
  const most = Math.floor((inFeatures * outFeatures) / (2 * (inFeatures + outFeatures)));
  return Math.max(1, Math.ceil((1 - gamma) * least + gamma * most));
}

const rankOf = ({ rank, gamma = 0 }: FedParaConfig, { inFeatures, outFeatures }: Target): number =>
  rank ?? fedParaRank(inFeatures, outFeatures, gamma);

/**
 * FedPara: a weight of full rank from few numbers, for training that sends weights around; here laid over a frozen weight.
 *
 *     W' = W + (X₁ Y₁ᵀ) ∘ (X₂ Y₂ᵀ);   pFedPara: W' = W + (X₁ Y₁ᵀ) ∘ (X₂ Y₂ᵀ + 1)
 *
 * W is [out, in], Xᵢ [out, R], Yᵢ [in, R]: 2 R (in + out) numbers are trained. The update has rank at most R², with pFedPara
 * R (R + 1). Over a W of zeros it is the paper's layer. In pFedPara a client sends X₁ and Y₁ and keeps X₂ and Y₂.
 *
 * The identity start has Y₂ = 0, for pFedPara Y₁ = Y₂ = 0. The "he" start has factors of equal variance whose product has
 * He's, 2 / in; for pFedPara X₁ Y₁ᵀ has it and Y₂ = 0. The paper only asks for He's start: this reading of it is ours.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, proposition 1, corollary 1 and section 2.3.
 *
 * @example
 * ```ts
 * const adapted = attach(model, fedPara, { gamma: 0.1, personal: true }, { targets: ["fc1", "fc2"] });
 * ```
 * @category Additive adapters
 */
export const fedPara = /* @__PURE__ */ defineAdapter<FedParaConfig, FedParaParams>({
  name: "fedPara",
  startsElsewhere: ({ init }) => (init === "he" ? "the products are drawn" : undefined),

  check({ rank, gamma, init }) {
    if (rank !== undefined) expectInteger("fedPara", "rank", rank, { min: 1 });
    if (gamma !== undefined) expectNumber("fedPara", "gamma", gamma, { min: 0, below: 1 + 1e-12 });
    if (init !== undefined) expectOneOf("fedPara", "init", init, ["identity", "he"]);
  },

  init(target, config, key) {
    const { inFeatures, outFeatures, dtype } = target;
    const { personal = false, init = "identity" } = config;
    const R = rankOf(config, target);
    const goal = Math.sqrt(2 / inFeatures); // of the standard deviation of the composed weight
    // R std⁴ is the variance of one product of factors, R² std⁸ that of two.
    const std = personal ? (goal ** 2 / R) ** 0.25 : (goal / R) ** 0.25;
    const drawn = (rows: number, name: string): Tensor =>
      init === "he"
        ? normal([rows, R], { key: key.foldName(name), std, dtype })
        : kaimingUniform([rows, R], { a: Math.sqrt(5), key: key.foldName(name), dtype });
    const none = zeros([inFeatures, R], { dtype });
    return {
      X1: drawn(outFeatures, "X1"),
      Y1: personal && init === "identity" ? none : drawn(inFeatures, "Y1"),
      X2: drawn(outFeatures, "X2"),
      Y2: personal || init === "identity" ? none : drawn(inFeatures, "Y2"),
    };
  },

  merge(W, { X1, Y1, X2, Y2 }, { personal = false, tanh: bounded = false }) {
    const [first, second] = [matmul(X1, Y1.T), matmul(X2, Y2.T)].map((w) => (bounded ? tanh(w) : w));
    return W.add(first!.mul(personal ? second!.add(1) : second!));
  },
});
