import { full, matmul, slice, type Tensor, uniform, zeros } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter, type LowRankUpdate, type Target } from "./adapter.js";
import { expectInteger, expectNumber } from "./expect.js";
import { numberField, refuseField, refuseFields } from "./peft-json.js";

export interface VeraConfig {
  /** Rank of the shared projections. Default 256. */
  rank?: number;
  /** What d starts with. Default 0.1. */
  dInitial?: number;
  /** Probability that an input of the update is left out while training. Default 0. */
  dropout?: number;
}

export interface VeraParams {
  /** Down projection for all layers, [rank, widest in]. Frozen. */
  A: Tensor;
  /** Up projection for all layers, [widest out, rank]. Frozen. */
  B: Tensor;
  /** Scale of each output, [out]. */
  b: Tensor;
  /** Scale of each place of the rank, [rank]. */
  d: Tensor;
}

const format: AdapterFormat<VeraConfig> = {
  peftType: "VERA",
  tensors: { linear: { b: "vera_lambda_b", d: "vera_lambda_d" } },
  shared: { A: "base_model.vera_A", B: "base_model.vera_B" },
  toJson: ({ rank = 256, dInitial = 0.1, dropout = 0 }) => ({
    r: rank,
    d_initial: dInitial,
    vera_dropout: dropout,
    save_projection: true,
    projection_prng_key: 0,
    fan_in_fan_out: false,
    bias: "none",
  }),
  fromJson(json) {
    refuseFields(json, ["fan_in_fan_out"]);
    if (json["save_projection"] === false) {
      refuseField(
        json,
        "save_projection",
        "the projections in the file; save it again with save_projection=True",
      );
    }
    return {
      rank: numberField(json, "r", 256),
      dInitial: numberField(json, "d_initial", 0.1),
      dropout: numberField(json, "vera_dropout", 0),
    };
  },
};

/** diag(b) B and diag(d) A, of the corners that the layer needs. */
const factors = (
  { A, B, b, d }: VeraParams,
  _: VeraConfig,
  { inFeatures, outFeatures }: Target,
): LowRankUpdate => ({
  A: slice(A, [null, [0, inFeatures]]).mul(d.reshape([-1, 1])),
  B: slice(B, [[0, outFeatures]]).mul(b.reshape([-1, 1])),
  scale: 1,
});

/**
 * VeRA: adds a low-rank update whose projections are random, frozen and the same for all layers; each layer trains two
 * vectors of scales.
 *
 *     W' = W + diag(b) B diag(d) A
 *
 * W is [out, in], A [rank, in] and B [out, rank] the corners of the shared projections that the layer needs, b [out],
 * d [rank]: rank + out numbers are trained. b starts at zero, so W' = W before the first step; d starts at 0.1, A and B
 * uniform within ±√(6 / fan in).
 *
 * Source: Kopiczko et al. 2023, arXiv:2310.11454, eq. (2). The files are PEFT's, with the projections in them.
 *
 * @example
 * ```ts
 * const adapted = attach(model, vera, { rank: 256 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Additive adapters
 */
export const vera = /* @__PURE__ */ defineAdapter<VeraConfig, VeraParams>({
  name: "vera",
  format,
  frozen: ["A", "B"],

  check({ rank = 256, dInitial, dropout }) {
    expectInteger("vera", "rank", rank, { min: 1 });
    if (dInitial !== undefined) expectNumber("vera", "dInitial", dInitial);
    if (dropout !== undefined) expectNumber("vera", "dropout", dropout, { min: 0, below: 1 });
  },

  shared(targets, { rank = 256 }, key) {
    const { dtype } = targets[0]!;
    const inFeatures = Math.max(...targets.map((t) => t.inFeatures));
    const outFeatures = Math.max(...targets.map((t) => t.outFeatures));
    const drawn = (dims: [number, number], name: string): Tensor => {
      const bound = Math.sqrt(6 / dims[1]);
      return uniform(dims, { key: key.foldName(name), min: -bound, max: bound, dtype });
    };
    return { A: drawn([rank, inFeatures], "vera/A"), B: drawn([outFeatures, rank], "vera/B") };
  },

  init: ({ outFeatures, dtype }, { rank = 256, dInitial = 0.1 }) => ({
    b: zeros([outFeatures], { dtype }),
    d: full([rank], dInitial, { dtype }),
  }),

  factors,

  // y = W x + b ∘ B (d ∘ A x)
  forward(x, base, { A, B, b, d }, { dropout: p = 0 }, { target, dropout }) {
    const low = matmul(dropout(x, p), slice(A, [null, [0, target.inFeatures]]).T).mul(d); // [..., rank]
    return base(x).add(matmul(low, slice(B, [[0, target.outFeatures]]).T).mul(b));
  },

  // W' = W + diag(b) B diag(d) A
  merge(W, params, config, target) {
    const { A, B } = factors(params, config, target);
    return W.add(matmul(B, A));
  },
});
