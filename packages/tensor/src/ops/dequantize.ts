import { type DType, expectFloat } from "../dtype.js";
import { ConfigError, DTypeError, ShapeError } from "../errors.js";
import type { Aval } from "../op.js";
import { type Dims, sameDims, showDims } from "../shape.js";
import type { Tensor } from "../tensor.js";
import { iota } from "./create.js";
import { add, and, cast, mul, shiftRight, sub } from "./elementwise.js";
import { castTo, expectRank, wideDtype } from "./expect.js";
import { broadcastTo, reshape } from "./movement.js";

/** How the numbers of a quantized matrix are stored. */
export interface QuantizedFormat {
  /** Bits of a code: 8 in i8, or 4, two in a u8. */
  bits: 8 | 4;
  /** Neighbours along `in` that share a scale: a multiple of 8 that divides `in`, or `in` itself. Default: 32. */
  groupSize?: number;
}

/** The format with its default written out. */
export interface QuantizedArg {
  readonly bits: 8 | 4;
  readonly groupSize: number;
}

/** Where the codes of 4 bits have their zero. */
const MIDDLE = 8;

/**
 * The shape [out, in] of the matrix that codes stand for.
 *
 * @throws ConfigError, DTypeError or ShapeError where codes, scales and mins do not belong together
 */
export function quantizedDims(
  where: string,
  weight: Aval,
  scales: Aval,
  mins: Aval | undefined,
  { bits, groupSize }: QuantizedArg,
): readonly [number, number] {
  if (bits !== 8 && bits !== 4) {
    throw new ConfigError({ where, expected: "bits to be 8 or 4", got: String(bits) });
  }
  const dtype = bits === 8 ? "i8" : "u8";
  if (weight.dtype !== dtype) {
    throw new DTypeError({
      where,
      expected: `weight of dtype ${dtype} for ${bits} bits`,
      got: weight.dtype,
      hint:
        bits === 8 ? "codes of 8 bits are signed" : "two codes of 4 bits lie in one u8, the first one low",
    });
  }
  expectRank(where, "weight", weight.dims, 2, bits === 8 ? "[out, in]" : "[out, in / 2]");
  const [rows, columns] = [weight.dims[0]!, (weight.dims[1]! * 8) / bits];
  const whole = Number.isInteger(groupSize) && groupSize > 0 && columns % groupSize === 0;
  if (!whole || (groupSize % 8 !== 0 && groupSize !== columns)) {
    throw new ConfigError({
      where,
      expected: `groupSize to be in = ${columns} or a multiple of 8 that divides it`,
      got: String(groupSize),
    });
  }
  const dims: Dims = [rows, columns / groupSize];
  for (const [name, part] of [["scales", scales] as const, ["mins", mins] as const]) {
    if (!part) continue;
    expectFloat(where, name, part.dtype);
    if (!sameDims(part.dims, dims)) {
      throw new ShapeError({
        where,
        expected: `${name} of shape ${showDims(dims)}, one per ${groupSize} of the ${columns} columns of each row`,
        got: showDims(part.dims),
      });
    }
  }
  return [rows, columns];
}

/** The codes as numbers of a float dtype, [out, in / groupSize, groupSize]. */
export function codesOf(weight: Tensor, { bits, groupSize }: QuantizedArg, dtype: DType): Tensor {
  const [rows, bytes] = weight.shape as [number, number];
  const groups = [rows, (bytes * 8) / bits / groupSize, groupSize];
  if (bits === 8) return reshape(cast(weight, dtype), groups);
  const pairs = broadcastTo(reshape(weight, [rows, bytes, 1]), [rows, bytes, 2]);
  const nibbles = and(shiftRight(pairs, mul(iota([2], { dtype: "u8" }), 4)), 15);
  return reshape(sub(cast(nibbles, dtype), MIDDLE), groups);
}

/** The matrix [out, in] in a float dtype that is not a half one. */
export function dequantized(
  weight: Tensor,
  scales: Tensor,
  mins: Tensor | undefined,
  arg: QuantizedArg,
  dtype: DType,
): Tensor {
  const q = codesOf(weight, arg, dtype);
  const [rows, groups, groupSize] = q.shape as [number, number, number];
  const perGroup = (x: Tensor): Tensor => reshape(castTo(x, dtype), [rows, groups, 1]);
  const scaled = mul(q, perGroup(scales));
  return reshape(mins ? add(scaled, perGroup(mins)) : scaled, [rows, groups * groupSize]);
}

export interface DequantizeOptions extends QuantizedFormat {
  /** One per group, [out, in / groupSize]. Default: none, all 0. */
  mins?: Tensor;
  /** Default: f32. */
  dtype?: DType;
}

/**
 * The matrix [out, in] that its codes stand for, group by group along `in`:
 *
 *     w = scale · q + min
 *
 * `weight` holds the codes q: [out, in] i8 for 8 bits; for 4 bits [out, in / 2] u8, where byte j of a row holds columns 2j
 * (its low half) and 2j + 1 (its high half) as q + 8, q from -8 to 7. `scales` and `mins` are [out, in / groupSize] of any float
 * dtype.
 *
 * A min is added, rather than a zero point taken from q, since then a group of equal numbers (scale 0) keeps them. What is
 * stored with a zero point z, w = scale · (q - z), has min = -scale · z; integer z and half scales make it without a
 * rounding in f32. GGUF's Q4_0 and Q8_0 are groups of 32 without mins.
 *
 * @throws ConfigError, DTypeError or ShapeError where the parts do not belong together
 * @category Quantization
 */
export function dequantize(
  weight: Tensor,
  scales: Tensor,
  { bits, groupSize = 32, mins, dtype = "f32" }: DequantizeOptions,
): Tensor {
  const arg = { bits, groupSize };
  const aval = (x: Tensor): Aval => ({ dtype: x.dtype, dims: x.shape });
  quantizedDims("dequantize", aval(weight), aval(scales), mins && aval(mins), arg);
  expectFloat("dequantize", "dtype", dtype);
  return castTo(dequantized(weight, scales, mins, arg, wideDtype(dtype)), dtype);
}
