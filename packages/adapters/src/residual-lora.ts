import { qr, svd } from "@lowrank/linalg";
import { concat, matmul, slice, type Tensor } from "@lowrank/tensor";
import { type Adapter, type AdapterFormat, defineAdapter } from "./adapter.js";
import { lora, type LoraConfig, loraScale, type LoraParams } from "./lora.js";

/** What LoRA's start has besides A and B: the values that they started with, of which the frozen weight is relieved. */
export interface ResidualLoraParams extends LoraParams {
  /** [rank, in]. */
  A0: Tensor;
  /** [out, rank]. */
  B0: Tensor;
}

export type ResidualLoraConfig = Omit<LoraConfig, "init">;

/** LoRA on W − s B₀ A₀: everything but where A₀ and B₀ come from. */
export const onResidual = {
  frozen: ["A0", "B0"],
  check: (config, target) => lora.check!(config, target),
  // B A − B₀ A₀ = [B, −B₀] [A; A₀]: a plain LoRA of twice the rank for the weight as it was
  factors: ({ A, B, A0, B0 }, config) => ({
    A: concat([A, A0], 0),
    B: concat([B, B0.neg()], 1),
    scale: loraScale(config),
  }),
  // y = W x + s (B A x − B₀ A₀ x)
  forward(x, base, { A, B, A0, B0 }, config, { dropout }) {
    const s = loraScale(config);
    const dropped = dropout(x, config.dropout ?? 0);
    const now = matmul(matmul(dropped, A.T).mul(s), B.T);
    // What the frozen weight is relieved of is no part of the update: nothing is dropped there.
    const then = matmul(matmul(x, A0.T).mul(s), B0.T);
    return base(x).add(now.sub(then));
  },
  merge: (W, { A, B, A0, B0 }, config) => W.add(matmul(B, A).sub(matmul(B0, A0)).mul(loraScale(config))),
} satisfies Partial<Adapter<ResidualLoraConfig, ResidualLoraParams>>;

type Start = (W: Tensor, rank: number, scale: number) => LoraParams;

/** With A₀ and B₀ found in W. */
function residual(name: string, start: Start): Adapter<ResidualLoraConfig, ResidualLoraParams> {
  const format: AdapterFormat<ResidualLoraConfig> = {
    peftType: "LORA",
    tensors: { linear: lora.format!.tensors.linear! },
    matches: (json) => json["init_lora_weights"] === name,
    toJson: (config) => ({ ...lora.format!.toJson(config), init_lora_weights: name }),
    fromJson(json) {
      const { init: _, ...config } = lora.format!.fromJson({ ...json, init_lora_weights: true });
      return config;
    },
  };
  return defineAdapter<ResidualLoraConfig, ResidualLoraParams>({
    ...onResidual,
    name,
    format,
    derived: ["A0", "B0"],
    init(_target, config, _key, weight) {
      const { A, B } = start(weight(), config.rank, loraScale(config));
      return { A, B, A0: A, B0: B };
    },
  });
}

/**
 * PiSSA: LoRA that starts as the leading singular part of the weight, which the frozen rest is relieved of.
 *
 *     W' = W − s B₀ A₀ + s B A,   A₀ = √(Sᵣ / s) Vᵣᵀ,   B₀ = Uᵣ √(Sᵣ / s),   W = U S Vᵀ
 *
 * A and B start as A₀ and B₀, so W' = W before the first step; rank · (in + out) numbers are trained. The base is not
 * changed: A₀ and B₀ are found again in it when the adapter is attached or loaded, on a backend with decompositions. The
 * files are PEFT's with `init_lora_weights: "pissa"`.
 *
 * Source: Meng et al. 2024, arXiv:2404.02948, eq. (2) to (4).
 *
 * @category Additive adapters
 */
export const pissa: Adapter<ResidualLoraConfig, ResidualLoraParams> = /* @__PURE__ */ residual(
  "pissa",
  (W, rank, scale) => {
    const { u, s, vt } = svd(W);
    const root = slice(s, [[0, rank]])
      .div(scale)
      .sqrt();
    return {
      A: slice(vt, [[0, rank]]).mul(root.reshape([rank, 1])),
      B: slice(u, [null, [0, rank]]).mul(root),
    };
  },
);

/**
 * OLoRA: LoRA that starts with orthonormal columns, the first of the weight's QR decomposition.
 *
 *     W' = W − s B₀ A₀ + s B A,   B₀ = Q[:, :r],   A₀ = R[:r, :],   W = Q R
 *
 * As {@link pissa} otherwise; the files are PEFT's with `init_lora_weights: "olora"`.
 *
 * Source: Büyükakyüz 2024, arXiv:2406.01775, algorithm 1.
 *
 * @category Additive adapters
 */
export const olora: Adapter<ResidualLoraConfig, ResidualLoraParams> = /* @__PURE__ */ residual(
  "olora",
  (W, rank) => {
    const { q, r } = qr(W);
    return { A: slice(r, [[0, rank]]), B: slice(q, [null, [0, rank]]) };
  },
);
