import { kaimingUniform } from "@lowrank/nn";
import { matmul, type Tensor, zeros } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { CONVOLUTIONS, fromCore, hasKernel } from "./features.js";
import { numberField, refuseField, refuseFields } from "./peft-json.js";

export interface LohaConfig {
  /** Rank of each of the two products; the update reaches its square. From 1 to min(in, out). */
  rank: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /**
   * On a convolution whose kernel is above 1: two products with a core between the channels, PEFT's `use_effective_conv2d`, in
   * place of those of matrices [out, channels · kernel]. Default false.
   */
  core?: boolean;
}

export interface LohaParams {
  /** [out, rank]; beside a core [rank, out]. */
  w1A: Tensor;
  /** [rank, in]; beside a core [rank, channels]. */
  w1B: Tensor;
  /** As w1A. */
  w2A: Tensor;
  /** As w1B. */
  w2B: Tensor;
  /** Cores [rank, rank, kh, kw], of a sequence [rank, rank, k, 1]. */
  t1?: Tensor;
  t2?: Tensor;
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
  tensors: {
    linear: {
      w1A: "hada_w1_a",
      w1B: "hada_w1_b",
      w2A: "hada_w2_a",
      w2B: "hada_w2_b",
      t1: "hada_t1",
      t2: "hada_t2",
    },
  },
  toJson: ({ rank, alpha = rank, core = false }) => ({
    r: rank,
    alpha,
    rank_dropout: 0,
    module_dropout: 0,
    use_effective_conv2d: core,
    init_weights: true,
  }),
  fromJson(json) {
    refuseDropouts(json);
    return {
      rank: numberField(json, "r", 8),
      alpha: numberField(json, "alpha", 8),
      core: json["use_effective_conv2d"] === true,
    };
  },
};

const hasCore = ({ core = false }: LohaConfig, target: Target): boolean => core && hasKernel(target);

/** One of the two products, [out, in]. */
const product = (a: Tensor, b: Tensor, t: Tensor | undefined): Tensor =>
  t === undefined ? matmul(a, b) : fromCore(t, a.T, b.T);

/**
 * LoHa: adds the elementwise product of two low-rank matrices, which reaches the square of their rank.
 *
 *     W' = W + s (A₁ B₁) ∘ (A₂ B₂),   s = alpha / rank
 *
 * W is [out, in], Aᵢ [out, rank], Bᵢ [rank, in]: 2 rank (in + out) numbers are trained. B₂ starts at zero, so W' = W before
 * the first step; the others start uniform as PyTorch's linear layers.
 *
 * With a core, `core: true` on a convolution, Aᵢ Bᵢ is the kernel Σ_ab Tᵢ[a, b] Aᵢ[a, out] Bᵢ[b, channels], of
 * 2 rank (channels + out + rank · kernel) numbers.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, propositions 1 and 3; as an adapter Yeh et al. 2023, arXiv:2309.14859. The
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
  kinds: ["linear", ...CONVOLUTIONS],
  format,

  check({ rank, alpha, core }, target) {
    const { inFeatures, outFeatures, path, filter } = target;
    const width = hasCore({ rank, core }, target) ? filter!.channels : inFeatures;
    expectInteger("loha", "rank", rank, {
      min: 1,
      max: Math.min(width, outFeatures),
      layer: `"${path}", ${width} in, ${outFeatures} out`,
    });
    if (alpha !== undefined) expectNumber("loha", "alpha", alpha);
    if (core !== undefined) expectOneOf("loha", "core", core, [true, false]);
  },

  init(target, config, key) {
    const { inFeatures, outFeatures, filter, dtype } = target;
    const { rank } = config;
    const drawn = (dims: number[], name: string): Tensor =>
      kaimingUniform(dims, { a: Math.sqrt(5), key: key.foldName(name), dtype });
    const core = hasCore(config, target);
    const up = core ? [rank, outFeatures] : [outFeatures, rank];
    const down = [rank, core ? filter!.channels : inFeatures];
    const between = core && [rank, rank, ...filter!.kernel, 1].slice(0, 4);
    return {
      w1A: drawn(up, "w1A"),
      w1B: drawn(down, "w1B"),
      w2A: drawn(up, "w2A"),
      w2B: zeros(down, { dtype }),
      ...(between ? { t1: drawn(between, "t1"), t2: drawn(between, "t2") } : {}),
    };
  },

  // W' = W + s (A₁ B₁) ∘ (A₂ B₂)
  merge(W, { w1A, w1B, w2A, w2B, t1, t2 }, { rank, alpha = rank }) {
    return W.add(
      product(w1A, w1B, t1)
        .mul(product(w2A, w2B, t2))
        .mul(alpha / rank),
    );
  },
});
