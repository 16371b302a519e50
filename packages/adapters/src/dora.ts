import { matmul, maximum, sqrt, stopGradient, type Tensor } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter, type Target } from "./adapter.js";
import { expectOneOf } from "./expect.js";
import { asMatrix, beside, channelShape, CONVOLUTIONS } from "./features.js";
import { dropInputs, lora, type LoraConfig, loraScale, type LoraParams, loraUpdate } from "./lora.js";

export interface DoraConfig extends LoraConfig {
  /**
   * What the norm of the direction passes back: "detached" takes it for a constant, which costs less and is what PEFT
   * does, "exact" gives the true gradient. Default "detached".
   */
  normGradient?: "detached" | "exact";
}

export interface DoraParams extends LoraParams {
  /** Length of each neuron's weight, [out]; for a convolution that of each filter, [1, out, 1] or [1, out, 1, 1]. */
  m: Tensor;
}

const format: AdapterFormat<DoraConfig> = {
  peftType: "LORA",
  tensors: {
    linear: { ...lora.format!.tensors.linear, m: "lora_magnitude_vector" },
    embedding: { ...lora.format!.tensors.embedding, m: "lora_magnitude_vector" },
  },
  matches: (json) => json["use_dora"] === true,
  toJson: (config) => ({
    ...lora.format!.toJson(config),
    use_dora: true,
    ...(config.normGradient === "exact" ? { dora_norm_gradient: "exact" } : {}),
  }),
  fromJson: ({ use_dora: _, ...json }) => ({
    ...lora.format!.fromJson(json),
    ...(json["dora_norm_gradient"] === "exact" ? { normGradient: "exact" } : {}),
  }),
};

/** W as [out, in]. */
const neurons = (W: Tensor, { kind }: Target): Tensor => (kind === "embedding" ? W.T : W);

// A row of zeros in W keeps its m / ‖V‖ finite.
const SMALLEST = 1e-30;

/**
 * ‖W + s B A‖ by row without that matrix:
 *
 *     ‖Vᵢ‖² = ‖Wᵢ‖² + 2 s Bᵢ · (W Aᵀ)ᵢ + s² Bᵢ (A Aᵀ) Bᵢᵀ
 *
 * for W [out, in], A [r, in], B [out, r]. Source: ours, by expanding the square.
 */
export function directionNorm(W: Tensor, params: LoraParams, scale: number): Tensor {
  const [A, B] = [asMatrix(params.A), asMatrix(params.B)];
  const across = matmul(W, A.T).mul(B).sum(-1); // [out]
  const own = matmul(B, matmul(A, A.T)).mul(B).sum(-1); // [out]
  const squared = W.square()
    .sum(-1)
    .add(across.mul(2 * scale))
    .add(own.mul(scale * scale));
  return sqrt(maximum(squared, SMALLEST));
}

// g = m / ‖V‖, the length that each row of V = W + s B A is given
function gain(W: Tensor, params: DoraParams, config: DoraConfig, target: Target): Tensor {
  const norm = directionNorm(neurons(W, target), params, loraScale(config));
  return params.m.reshape([-1]).div(config.normGradient === "exact" ? norm : stopGradient(norm));
}

/**
 * DoRA: trains the length of each neuron's weight apart from its direction, which a LoRA turns.
 *
 *     W' = diag(m / ‖V‖) V,   V = W + s B A,   ‖V‖ by row
 *
 * W is [out, in], m [out], A and B with s as in `lora`: r (in + out) + out numbers are trained. m starts as ‖W‖ and B at
 * zero, so W' = W before the first step. The paper writes W as [in, out] and so has the norms of columns; for an embedding W
 * is [in, out] here too, and the norms are those of its columns; for a convolution they are those of whole filters. ‖V‖ is found
 * without storing V.
 *
 * Several on one layer stand on top of each other, apart as merged: the second gives lengths to what the first has made.
 *
 * Source: Liu et al. 2024, arXiv:2402.09353, eq. (5), and section 4.3 for the detached norm. The file is PEFT's, LORA
 * with `use_dora`.
 *
 * @example
 * ```ts
 * const adapted = attach(model, dora, { rank: 8, alpha: 16 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Weight-decomposed adapters
 */
export const dora = /* @__PURE__ */ defineAdapter<DoraConfig, DoraParams>({
  name: "dora",
  kinds: ["linear", "embedding", ...CONVOLUTIONS],
  format,

  check({ normGradient, ...config }, target) {
    lora.check!(config, target);
    if (normGradient !== undefined) expectOneOf("dora", "normGradient", normGradient, ["detached", "exact"]);
  },

  init(target, config, key, weight) {
    const { A, B } = lora.init(target, config, key, weight) as LoraParams;
    const m = directionNorm(neurons(weight(), target), { A, B }, loraScale(config));
    return { A, B, m: m.reshape(channelShape(target.outFeatures, target) ?? [-1]) };
  },

  // y = g ∘ (W x + s B A x) + b: two thin products; without dropout W x is what the base has computed.
  forward(x, base, params, config, pass) {
    const { target, bias, weight } = pass;
    const g = beside(gain(weight(), params, config, target), target);
    const dropped = dropInputs(x, config, pass);
    const b = bias();
    const y = base(x);
    const direct = dropped === x ? y : base(dropped);
    const low = loraUpdate(dropped, params, config, pass); // [..., out]
    return y.add((b === null ? direct : direct.sub(beside(b, target))).mul(g.sub(1))).add(low.mul(g));
  },

  // W' = diag(g) (W + s B A)
  merge(W, params, config, target) {
    const g = gain(W, params, config, target);
    const V = lora.merge(W, params, config, target);
    return V.mul(target.kind === "embedding" ? g : g.reshape([-1, 1]));
  },
});
