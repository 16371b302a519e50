import {
  ConfigError,
  type DType,
  type Key,
  matmul,
  normal,
  slice,
  type Tensor,
  uniform,
  zeros,
} from "@lowrank/tensor";
import { type AdapterFormat, type AdapterPass, defineAdapter } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf, expectUngrouped } from "./expect.js";
import { asMatrix, CONVOLUTIONS, mix, mixShape, rowsShape } from "./features.js";
import { orthonormal } from "./orthonormal.js";

export interface LoraConfig {
  /** Rank of the update, from 1 to min(in, out). */
  rank: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /** Probability that an input of the update is left out while training. Default 0. */
  dropout?: number;
  /** Scales by alpha / √rank, so that the size of the update does not shrink as the rank grows. Default false. */
  useRslora?: boolean;
  /**
   * How A starts: "kaiming" within ±1/√in, or "gaussian" with N(0, 1/rank²). "orthogonal" (an even rank, linear layers):
   * neither factor is zero, but their product is. Default "kaiming".
   */
  init?: "kaiming" | "gaussian" | "orthogonal";
}

export interface LoraParams {
  /** Down projection, [rank, in]; filters [rank, channels, ...kernel] for a convolution. */
  A: Tensor;
  /** Up projection, [out, rank]; for a convolution with a kernel of 1 besides, [out, rank, 1] or [out, rank, 1, 1]. */
  B: Tensor;
}

// s = alpha / r; Kalajdzievski 2023, arXiv:2312.03732: alpha / √r
export const loraScale = ({ rank, alpha = rank, useRslora = false }: LoraConfig): number =>
  alpha / (useRslora ? Math.sqrt(rank) : rank);

/**
 * Options of PEFT that change what is computed and that we do not have. `fan_in_fan_out` is none of them: it says how the base
 * stores its weight, which our layers know by themselves.
 */
const UNSUPPORTED = [
  "use_dora",
  "lora_bias",
  "layer_replication",
  "use_qalora",
  "use_bdlora",
  "alora_invocation_tokens",
  "arrow_config",
  "kasa_config",
  "monteclora_config",
];

const STARTS = ["kaiming", "gaussian", "orthogonal"] as const;

/** Starts that take the first update out of the frozen weight. */
const RESIDUAL = /^(pissa|olora|corda|loftq)/;

const format: AdapterFormat<LoraConfig> = {
  peftType: "LORA",
  tensors: {
    linear: { A: "lora_A.weight", B: "lora_B.weight" },
    embedding: { A: "lora_embedding_A", B: "lora_embedding_B" },
  },
  toJson: ({ rank, alpha = rank, dropout = 0, useRslora = false, init = "kaiming" }) => ({
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    use_rslora: useRslora,
    use_dora: false,
    fan_in_fan_out: false,
    bias: "none",
    init_lora_weights: init === "kaiming" ? true : init,
  }),
  fromJson(json) {
    const refuse = (field: string, expected: string): never => {
      throw new ConfigError({ where: "adapter_config.json", expected, got: JSON.stringify(json[field]) });
    };
    for (const field of UNSUPPORTED) if (json[field]) refuse(field, `no ${field}`);
    if (RESIDUAL.test(String(json["init_lora_weights"]))) {
      refuse(
        "init_lora_weights",
        "an adapter for the base as it is; this start also changes the base, which is not read yet",
      );
    }
    const bias = json["bias"] ?? "none";
    if (bias !== "none") refuse("bias", 'bias "none"');
    const rank = json["r"] ?? 8;
    return {
      rank: rank as number, // checked per layer, with the others
      alpha: (json["lora_alpha"] ?? 8) as number,
      dropout: (json["lora_dropout"] ?? 0) as number,
      useRslora: json["use_rslora"] === true,
      init: STARTS.find((name) => name === json["init_lora_weights"]) ?? "kaiming",
    };
  },
};

/** A and B from the odd and the even rows of one orthonormal matrix [rank, rank], so that B A = 0; times 1/10, as in PEFT. */
function orthogonalStart(
  inFeatures: number,
  outFeatures: number,
  rank: number,
  key: Key,
  dtype: DType,
): LoraParams {
  const drawn = (rows: number, columns: number, name: string): Tensor =>
    normal([rows, columns], { key: key.foldName(name), dtype });
  const Q = orthonormal(drawn(rank, rank, "Q")).T.reshape([rank / 2, 2, rank]);
  const half = (i: number): Tensor => slice(Q, [null, [i, i + 1]]).reshape([rank / 2, rank]);
  return {
    A: matmul(drawn(inFeatures, rank / 2, "A"), half(1)).T.mul(0.1),
    B: matmul(drawn(outFeatures, rank / 2, "B"), half(0)).mul(0.1),
  };
}

/** x with dropout; ids of an embedding are no numbers to drop. */
export const dropInputs = (x: Tensor, config: LoraConfig, { target, dropout }: AdapterPass): Tensor =>
  target.kind === "embedding" ? x : dropout(x, config.dropout ?? 0);

/** s B (A x), of the shape of the layer's result. */
export const loraUpdate = (x: Tensor, { A, B }: LoraParams, config: LoraConfig, pass: AdapterPass): Tensor =>
  mix(pass.project(x, A).mul(loraScale(config)), B, pass.target);

/**
 * LoRA: adds a low-rank update to a frozen linear map.
 *
 *     W' = W + s · B A,   s = alpha / rank   (rsLoRA: alpha / √rank)
 *
 * W is [out, in]. A and B are trained, rank · (in + out) numbers in all. B starts at zero, so W' = W before the first
 * step; A starts uniform within ±1/√in (what PEFT calls Kaiming with a = √5) or Gaussian, or both start orthogonal. For an
 * embedding W is [in, out], so the update is s · (B A)ᵀ; there A starts at zero and B as N(0, 1), as in PEFT.
 *
 * On a convolution A is one of `rank` channels with the layer's kernel, steps and dilation, B mixes those channels, and in =
 * channels · kernel. With groups PEFT's A sees all channels, so that its update is no weight of the layer: that is refused.
 *
 * Source: Hu et al. 2021, arXiv:2106.09685, section 4.1, eq. (3). The paper asks only for a Gaussian A; both starts here
 * are PEFT's. rsLoRA: Kalajdzievski 2023, arXiv:2312.03732, theorem 3.2.
 *
 * @example
 * ```ts
 * const adapted = attach(model, lora, { rank: 8, alpha: 16 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Additive adapters
 */
export const lora = /* @__PURE__ */ defineAdapter<LoraConfig, LoraParams>({
  name: "lora",
  kinds: ["linear", "embedding", ...CONVOLUTIONS],
  format,
  startsWithin: ({ init }) => (init === "orthogonal" ? 1e-6 : 0),

  check({ rank, alpha, dropout, init }, target) {
    const { kind, inFeatures, outFeatures, path } = target;
    expectInteger("lora", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    if (alpha !== undefined) expectNumber("lora", "alpha", alpha);
    if (dropout !== undefined) expectNumber("lora", "dropout", dropout, { min: 0, below: 1 });
    if (init !== undefined) expectOneOf("lora", "init", init, STARTS);
    if (init === "orthogonal")
      expectOneOf("lora", 'rank modulo 2, for init "orthogonal",', kind === "linear" ? rank % 2 : kind, [0]);
    expectUngrouped("lora", target);
  },

  init(target, { rank, init = "kaiming" }, key) {
    const { kind, inFeatures, outFeatures, dtype } = target;
    if (kind === "embedding") {
      return { A: zeros([rank, inFeatures], { dtype }), B: normal([outFeatures, rank], { key, dtype }) };
    }
    if (init === "orthogonal") return orthogonalStart(inFeatures, outFeatures, rank, key, dtype);
    const bound = inFeatures ** -0.5;
    const shape = rowsShape(rank, target);
    return {
      A:
        init === "gaussian"
          ? normal(shape, { key, std: 1 / rank, dtype })
          : uniform(shape, { key, min: -bound, max: bound, dtype }),
      B: zeros(mixShape(outFeatures, rank, target), { dtype }),
    };
  },

  factors: ({ A, B }, config) => ({ A, B, scale: loraScale(config) }),

  // y = W x + B (s A x): two thin products, the [out, in] update is never formed.
  forward(x, base, params, config, pass) {
    return base(x).add(loraUpdate(dropInputs(x, config, pass), params, config, pass));
  },

  // W' = W + s · B A
  merge(W, { A, B }, config, { kind }) {
    const update = matmul(asMatrix(B), asMatrix(A)).mul(loraScale(config)); // [out, in]
    return W.add(kind === "embedding" ? update.T : update);
  },
});
