import { ones, slice, take, type Tensor, tensor, zeros } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter } from "./adapter.js";
import { cayley, timesBlocks } from "./block-rotations.js";
import { expectInteger, expectOneOf } from "./expect.js";
import { CONVOLUTIONS } from "./features.js";
import { numberField, refuseField, refuseFields } from "./peft-json.js";

export interface BoftConfig {
  /** Size of a block, a divisor of the input's width; even if there are several factors. Default 4, unless `blocks` is given. */
  blockSize?: number;
  /** Number of blocks, in place of their size. */
  blocks?: number;
  /** Butterfly factors; with m of them blocks of b mix b 2ᵐ⁻¹ inputs. Default 1. */
  factors?: number;
}

export interface BoftParams {
  /** Blocks whose skew-symmetric part makes a rotation, [factors, blocks, b, b]. */
  R: Tensor;
  /** Scale of each output, [out, 1]; for a convolution [1, out]. */
  s: Tensor;
}

const sizeOf = ({ blockSize, blocks }: BoftConfig, inFeatures: number): number =>
  blocks === undefined ? (blockSize ?? 4) : inFeatures / blocks;

const format: AdapterFormat<BoftConfig> = {
  peftType: "BOFT",
  tensors: { linear: { R: "boft_R", s: "boft_s" } },
  toJson: ({ blockSize, blocks, factors = 1 }) => ({
    boft_block_size: blocks === undefined ? (blockSize ?? 4) : 0,
    boft_block_num: blocks ?? 0,
    boft_n_butterfly_factor: factors,
    boft_dropout: 0,
    fan_in_fan_out: false,
    bias: "none",
  }),
  fromJson(json) {
    refuseFields(json, ["fan_in_fan_out"]);
    if (json["boft_dropout"]) refuseField(json, "boft_dropout", "boft_dropout to be 0");
    const blocks = numberField(json, "boft_block_num", 0);
    return {
      ...(blocks === 0 ? { blockSize: numberField(json, "boft_block_size", 4) } : { blocks }),
      factors: numberField(json, "boft_n_butterfly_factor", 1),
    };
  },
};

/**
 * The order of a butterfly's factor: within each group of `group` inputs the even ones of its runs of `run` come before
 * the odd ones. Gives for each place the input that stands there.
 */
export function butterflyOrder(width: number, group: number, run: number): Int32Array {
  const runs = group / run;
  return Int32Array.from({ length: width }, (_, at) => {
    const place = at % group;
    const [k, offset] = [Math.floor(place / run), place % run];
    const evens = Math.ceil(runs / 2);
    const source = k < evens ? 2 * k : 2 * (k - evens) + 1;
    return at - place + source * run + offset;
  });
}

function inverseOrder(order: Int32Array): Int32Array {
  const inverse = new Int32Array(order.length);
  for (const [at, from] of order.entries()) inverse[from] = at;
  return inverse;
}

const indices = (order: Int32Array): Tensor => tensor(order, { shape: [order.length] });

/** x M, or x Mᵀ, for the product M = Mₘ₋₁ ⋯ M₀ of butterfly factors Mᵢ = Pᵢ diag(Rᵢ) Pᵢᵀ. */
function timesButterfly(x: Tensor, { R }: BoftParams, transposed: boolean): Tensor {
  const [factors, blocks, b] = R.shape as [number, number, number, number];
  const width = blocks * b;
  const S = R.sub(R.T)
    .mul(0.5)
    .reshape([factors * blocks, b, b]);
  const rotations = cayley(S).reshape(R.shape);
  let y = x;
  for (let step = 0; step < factors; step++) {
    const i = transposed ? step : factors - 1 - step;
    const factor = slice(rotations, [[i, i + 1]]).reshape([blocks, b, b]);
    const block = transposed ? factor.T : factor;
    if (factors === 1) return timesBlocks(y, block);
    const order = butterflyOrder(width, b * 2 ** i, b / 2);
    // (x P)[j] is x at the place that P brings to j; x Pᵀ is the way back.
    y = take(
      timesBlocks(take(y, indices(inverseOrder(order)), y.ndim - 1), block),
      indices(order),
      y.ndim - 1,
    );
  }
  return y;
}

// W' = diag(s) W Mᵀ
const turn = (W: Tensor, params: BoftParams): Tensor =>
  timesButterfly(W, params, true).mul(params.s.reshape([-1, 1]));

/**
 * BOFT: rotates the input of a frozen linear map by a butterfly of small rotations, and scales each output.
 *
 *     W' = diag(s) W Mᵀ,   M = Mₘ₋₁ ⋯ M₀,   Mᵢ = Pᵢ diag(Rᵢ₁, …, Rᵢₙ) Pᵢᵀ,   R = (I − S) (I + S)⁻¹
 *
 * W is [out, in], s [out, 1], R [b, b] with n b = in and S the skew-symmetric part of the trained block; Pᵢ are fixed
 * permutations. m in b + out numbers are trained. Blocks start at zero and s at one, so W' = W before the first step. With
 * one factor it is OFT with exact rotations. The bias is not scaled.
 *
 * Needs a backend with decompositions (a small solve per block).
 *
 * Source: Liu et al. 2023, arXiv:2311.06243, section 4. The files are PEFT's, which without its CUDA extension falls back
 * to one factor.
 *
 * @example
 * ```ts
 * const adapted = attach(model, boft, { blockSize: 8, factors: 2 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Orthogonal adapters
 */
export const boft = /* @__PURE__ */ defineAdapter<BoftConfig, BoftParams>({
  name: "boft",
  kinds: ["linear", ...CONVOLUTIONS],
  format,

  check({ blockSize, blocks, factors = 1 }, { inFeatures, path }) {
    const layer = `"${path}", ${inFeatures} in`;
    if (blockSize !== undefined && blocks !== undefined)
      expectOneOf("boft", "blocks beside blockSize", blocks, [undefined]);
    const [field, value] = blocks === undefined ? ["blockSize", blockSize ?? 4] : ["blocks", blocks];
    expectInteger("boft", field as string, value, { min: 1, max: inFeatures, layer });
    expectInteger("boft", "factors", factors, { min: 1, max: 30 });
    const b = sizeOf({ blockSize, blocks }, inFeatures);
    const period = factors === 1 ? b : b * 2 ** (factors - 1);
    expectOneOf("boft", `${inFeatures} modulo ${period} (layer ${layer})`, inFeatures % period, [0]);
    if (factors > 1) expectOneOf("boft", `block size ${b} modulo 2, for several factors,`, b % 2, [0]);
  },

  init({ inFeatures, outFeatures, filter, dtype }, config) {
    const b = sizeOf(config, inFeatures);
    return {
      R: zeros([config.factors ?? 1, inFeatures / b, b, b], { dtype }),
      s: ones(filter === undefined ? [outFeatures, 1] : [1, outFeatures], { dtype }),
    };
  },

  // y = s ∘ (W (x M)) + b; of a convolution, whose patches are no tensor, by its weight
  forward(x, base, params, _, { target, bias, weight, withWeight }) {
    if (target.filter !== undefined) return withWeight(x, turn(weight(), params));
    const y = base(timesButterfly(x, params, false));
    const b = bias();
    const s = params.s.reshape([-1]);
    return b === null ? y.mul(s) : y.add(y.sub(b).mul(s.sub(1)));
  },

  merge: (W, params) => turn(W, params),
});
