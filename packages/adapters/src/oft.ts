import { eye, ones, type Tensor, zeros } from "@lowrank/tensor";
import { type AdapterFormat, type AdapterPass, defineAdapter, type Target } from "./adapter.js";
import { cayley, cayleySeries, skewFromTriangle, timesBlocks } from "./block-rotations.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { CONVOLUTIONS } from "./features.js";
import { numberField, refuseFields } from "./peft-json.js";

export interface OftConfig {
  /** Size of a block of the rotation, a divisor of the input's width. Default 32, unless `blocks` is given. */
  blockSize?: number;
  /** Number of blocks, in place of their size. */
  blocks?: number;
  /** One block for all places. Default false. */
  shared?: boolean;
  /**
   * How a skew-symmetric matrix becomes a rotation: "series", five terms of a series, which is a rotation only up to Q⁴,
   * as PEFT does by default, or "exact", which needs a backend with decompositions. Default "series".
   */
  cayley?: "series" | "exact";
  /** Terms of the series. Default 5. */
  terms?: number;
  /** Probability that a block is left out while training. Default 0. */
  dropout?: number;
}

export interface OftParams {
  /** Strict upper triangles of skew-symmetric blocks, row by row: [blocks, b (b − 1) / 2], one row if shared. */
  R: Tensor;
}

const sizeOf = ({ blockSize, blocks }: OftConfig, inFeatures: number): number =>
  blocks === undefined ? (blockSize ?? 32) : inFeatures / blocks;

const format: AdapterFormat<OftConfig> = {
  peftType: "OFT",
  tensors: { linear: { R: "oft_R.weight" }, embedding: { R: "oft_embedding_R.weight" } },
  toJson: ({ blockSize, blocks, shared = false, cayley = "series", terms = 5, dropout = 0 }) => ({
    r: blocks ?? 0,
    oft_block_size: blocks === undefined ? (blockSize ?? 32) : 0,
    block_share: shared,
    use_cayley_neumann: cayley === "series",
    num_cayley_neumann_terms: terms,
    module_dropout: dropout,
    coft: false,
    fan_in_fan_out: false,
    bias: "none",
  }),
  fromJson(json) {
    refuseFields(json, ["coft", "fan_in_fan_out"]);
    const blocks = numberField(json, "r", 0);
    return {
      ...(blocks === 0 ? { blockSize: numberField(json, "oft_block_size", 32) } : { blocks }),
      shared: json["block_share"] === true,
      cayley: json["use_cayley_neumann"] === false ? "exact" : "series",
      terms: numberField(json, "num_cayley_neumann_terms", 5),
      dropout: numberField(json, "module_dropout", 0),
    };
  },
};

/** What is rotated: the input, of an embedding the rows. */
const widthOf = ({ kind, inFeatures, outFeatures }: Target): number =>
  kind === "embedding" ? outFeatures : inFeatures;

function rotations({ R }: OftParams, config: OftConfig, target: Target): Tensor {
  const Q = skewFromTriangle(R, sizeOf(config, widthOf(target)));
  return config.cayley === "exact" ? cayley(Q) : cayleySeries(Q, config.terms ?? 5);
}

/** Blocks left out for this pass stand for the identity. */
function withDropout(R: Tensor, p: number, { training, dropout }: AdapterPass): Tensor {
  if (!training || p === 0) return R;
  const kept = dropout(ones([R.shape[0]!, 1, 1], { dtype: R.dtype }), p).mul(1 - p);
  const one = eye(R.shape.at(-1)!, undefined, { dtype: R.dtype });
  return one.add(R.sub(one).mul(kept));
}

/**
 * OFT: rotates the input of a frozen linear map, block by block.
 *
 *     W' = W Rᵀ,   R = diag(R₁, …, Rₙ),   Rᵢ = (I − Qᵢ) (I + Qᵢ)⁻¹,   Qᵢᵀ = −Qᵢ
 *
 * W is [out, in], each Rᵢ [b, b] with n b = in; what is trained are the triangles of Qᵢ, in (b − 1) / 2 numbers. They
 * start at zero, so W' = W before the first step. With exact rotations lengths of neurons and the angles between them stay.
 *
 * With `cayley: "series"`, PEFT's default, Rᵢ = I + 2 Q + 2 Q² + 2 Q³ + Q⁴, which comes near the *inverse* of the exact
 * rotation, and Rᵢ Rᵢᵀ = (I − Q⁴)². So a file belongs to its mode, which it names.
 *
 * Source: Qiu et al. 2023, arXiv:2306.07280, section 4; the series: Qiu et al. 2025, arXiv:2506.19847. The paper turns
 * the output side; PEFT, whose files these are, the input. Of an embedding [in, out] the rows are turned, W' = W R.
 *
 * @example
 * ```ts
 * const adapted = attach(model, oft, { blockSize: 16, cayley: "exact" }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Orthogonal adapters
 */
export const oft = /* @__PURE__ */ defineAdapter<OftConfig, OftParams>({
  name: "oft",
  kinds: ["linear", "embedding", ...CONVOLUTIONS],
  format,

  check({ blockSize, blocks, cayley, terms, dropout }, target) {
    const width = widthOf(target);
    const layer = `"${target.path}", ${width} ${target.kind === "embedding" ? "out" : "in"}`;
    const range = { min: 1, max: width, layer };
    if (blockSize !== undefined && blocks !== undefined)
      expectOneOf("oft", "blocks beside blockSize", blocks, [undefined]);
    const [field, value] = blocks === undefined ? ["blockSize", blockSize ?? 32] : ["blocks", blocks];
    expectInteger("oft", field as string, value, range);
    expectOneOf("oft", `${width} modulo ${field} ${value} (layer ${layer})`, width % (value as number), [0]);
    if (cayley !== undefined) expectOneOf("oft", "cayley", cayley, ["series", "exact"]);
    if (terms !== undefined) expectInteger("oft", "terms", terms, { min: 1 });
    if (dropout !== undefined) expectNumber("oft", "dropout", dropout, { min: 0, below: 1 });
  },

  init(target, config) {
    const width = widthOf(target);
    const b = sizeOf(config, width);
    return { R: zeros([config.shared ? 1 : width / b, (b * (b - 1)) / 2], { dtype: target.dtype }) };
  },

  // y = W (x R), of an embedding the row times R. The patches of a convolution are no tensor: W Rᵀ there.
  forward(x, base, params, config, pass) {
    const { target } = pass;
    const R = withDropout(rotations(params, config, target), config.dropout ?? 0, pass);
    if (target.filter !== undefined) return pass.withWeight(x, timesBlocks(pass.weight(), R.T));
    return target.kind === "embedding" ? timesBlocks(base(x), R) : base(timesBlocks(x, R));
  },

  merge(W, params, config, target) {
    const R = rotations(params, config, target);
    return timesBlocks(W, target.kind === "embedding" ? R : R.T);
  },
});
