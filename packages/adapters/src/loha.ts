import { kaimingUniform } from "@lowrank/nn";
import { matmul, type Tensor, zeros } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter } from "./adapter.js";
import { expectInteger, expectNumber } from "./expect.js";
import { numberField, refuseField, refuseFields } from "./peft-json.js";

export interface LohaConfig {
  /** Rank of each of the two products; the update reaches its square. From 1 to min(in, out). */
  rank: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
}

export interface LohaParams {
  /** [out, rank] */
  w1A: Tensor;
  /** [rank, in] */
  w1B: Tensor;
  /** [out, rank] */
  w2A: Tensor;
  /** [rank, in] */
  w2B: Tensor;
}

/** Refuses the dropouts of PEFT's LoHa and LoKr, which act in training only. */
export function refuseDropouts(json: Readonly<Record<string, unknown>>): void {
  refuseFields(json, []);
  for (const field of ["rank_dropout", "module_dropout"]) {
    if (json[field])
      refuseField(json, field, `${field} to be 0; it acts in training only, so a file may have it set to 0`);
  }
}

const format: AdapterFormat<LohaConfig> = {
  peftType: "LOHA",
  tensors: { linear: { w1A: "hada_w1_a", w1B: "hada_w1_b", w2A: "hada_w2_a", w2B: "hada_w2_b" } },
  toJson: ({ rank, alpha = rank }) => ({
    r: rank,
    alpha,
    rank_dropout: 0,
    module_dropout: 0,
    use_effective_conv2d: false,
    init_weights: true,
  }),
  fromJson(json) {
    refuseDropouts(json);
    return { rank: numberField(json, "r", 8), alpha: numberField(json, "alpha", 8) };
  },
};

/**
 * LoHa: adds the elementwise product of two low-rank matrices, which reaches the square of their rank.
 *
 *     W' = W + s (A₁ B₁) ∘ (A₂ B₂),   s = alpha / rank
 *
 * W is [out, in], Aᵢ [out, rank], Bᵢ [rank, in]: 2 rank (in + out) numbers are trained. B₂ starts at zero, so W' = W before
 * the first step; the others start uniform as PyTorch's linear layers.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, proposition 1; as an adapter Yeh et al. 2023, arXiv:2309.14859. The
 * files are PEFT's.
 *
 * @example
 * ```ts
 * const adapted = attach(model, loha, { rank: 4 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Additive adapters
 */
export const loha = /* @__PURE__ */ defineAdapter<LohaConfig, LohaParams>({
  name: "loha",
  format,

  check({ rank, alpha }, { inFeatures, outFeatures, path }) {
    expectInteger("loha", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    if (alpha !== undefined) expectNumber("loha", "alpha", alpha);
  },

  init({ inFeatures, outFeatures, dtype }, { rank }, key) {
    const drawn = (dims: number[], name: string): Tensor =>
      kaimingUniform(dims, { a: Math.sqrt(5), key: key.foldName(name), dtype });
    return {
      w1A: drawn([outFeatures, rank], "w1A"),
      w1B: drawn([rank, inFeatures], "w1B"),
      w2A: drawn([outFeatures, rank], "w2A"),
      w2B: zeros([rank, inFeatures], { dtype }),
    };
  },

  // W' = W + s (A₁ B₁) ∘ (A₂ B₂)
  merge(W, { w1A, w1B, w2A, w2B }, { rank, alpha = rank }) {
    return W.add(
      matmul(w1A, w1B)
        .mul(matmul(w2A, w2B))
        .mul(alpha / rank),
    );
  },
});
