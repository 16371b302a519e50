import {
  type Activations,
  ConfigError,
  evaluate,
  gt,
  maximum,
  minimum,
  round,
  slice,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { QuantizedWeight } from "./quantized-weight.js";

export interface QuantizeOptions {
  /** Bits of a code. */
  bits: 4 | 8;
  /** Neighbours along `in` that share a scale: a multiple of 8 that divides `in`, or `in` itself. Default 32. */
  groupSize?: number;
  /** How products take their left operand, see `quantizedMatmul`. Default "f32". */
  activations?: Activations;
}

/**
 * A matrix [out, in] in codes, each rounded to the nearest, halves to even:
 *
 *     8 bits:  w ≈ scale · q,          scale = max |w| / 127,             q from −127 to 127
 *     4 bits:  w ≈ scale · q + min w,  scale = (max w − min w) / 15,      q from 0 to 15
 *
 * group by group along `in`. The error of a number is at most half a scale.
 *
 * @throws ConfigError if groupSize does not divide `in`; ShapeError, DTypeError.
 */
export async function quantizeWeight(
  weight: Tensor,
  { bits, groupSize = 32, activations }: QuantizeOptions,
): Promise<QuantizedWeight> {
  const [rows, columns] = weight.shape as [number, number];
  if (weight.ndim !== 2 || !(groupSize > 0) || columns % groupSize !== 0) {
    throw new ConfigError({
      where: "quantizeWeight",
      expected: "a matrix [out, in] and a groupSize that divides in",
      got: `[${weight.shape.join(", ")}] and ${groupSize}`,
    });
  }
  const groups = weight.astype("f32").reshape([rows, columns / groupSize, groupSize]);
  const least = bits === 8 ? null : groups.min(2);
  const scales = bits === 8 ? groups.abs().max(2).div(127) : groups.max(2).sub(least!).div(15);
  const some = gt(scales, 0);
  const steps = groups
    .sub(least === null ? 0 : least.reshape([rows, -1, 1]))
    .div(select(some, scales, 1).reshape([rows, -1, 1]));
  const [low, high] = bits === 8 ? [-127, 127] : [0, 15];
  const whole = minimum(maximum(round(steps), low), high).reshape([rows, columns]);
  const codes = bits === 8 ? whole.astype("i8") : paired(whole).astype("u8");
  const mins = least === null ? null : least.add(scales.mul(8)); // codes of 4 bits count from their middle, 8
  await evaluate(codes, scales, ...(mins === null ? [] : [mins]));
  return new QuantizedWeight({ codes, scales, mins, bits, groupSize, activations });
}

/** Two codes in one number, the first one low. */
function paired(codes: Tensor): Tensor {
  const [rows, columns] = codes.shape as [number, number];
  const pairs = codes.reshape([rows, columns / 2, 2]);
  const at = (i: number): Tensor => slice(pairs, [null, null, [i, i + 1]]).reshape([rows, columns / 2]);
  return at(0).add(at(1).mul(16));
}
