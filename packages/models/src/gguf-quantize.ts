import { DTypeError, ShapeError } from "@lowrank/tensor";
import { numberToBfloat, numberToHalf } from "./gguf-half.js";
import type { GgufTensorType } from "./gguf-types.js";

/** The types that {@link quantizeGguf} makes. */
export type GgufWritableType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0";

const BLOCK = 32;

/**
 * Numbers in f32 as the bytes of a tensor type, the same bytes as those of the `gguf` package of Python. Rows of Q8_0 and Q4_0
 * must be of whole blocks of 32.
 *
 *     Q8_0:  d = max |x| / 127,             q = round(x / d), halves away from zero
 *     Q4_0:  d = (x of largest |x|) / −8,   q = min(15, ⌊x / d + 8.5⌋)
 *
 * d is rounded to half precision after the codes are made.
 *
 * Source: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c, quantize_row_*_ref
 *
 * @throws ShapeError if a block is not whole, DTypeError if the type is not made here.
 */
export function quantizeGguf(type: GgufWritableType, values: Float32Array): Uint8Array<ArrayBuffer> {
  switch (type) {
    case "F32":
      return new Uint8Array(values.slice().buffer);
    case "F16":
      return new Uint8Array(Uint16Array.from(values, numberToHalf).buffer);
    case "BF16":
      return new Uint8Array(Uint16Array.from(values, numberToBfloat).buffer);
    case "Q8_0":
      return inBlocks(type, values, 34, eightBits);
    case "Q4_0":
      return inBlocks(type, values, 18, fourBits);
    default:
      throw new DTypeError({
        where: "quantizeGguf",
        expected: "one of the types F32, F16, BF16, Q8_0, Q4_0",
        got: String(type satisfies never as GgufTensorType),
      });
  }
}

function inBlocks(
  type: string,
  values: Float32Array,
  bytes: number,
  encode: (x: Float32Array, out: DataView) => void,
): Uint8Array<ArrayBuffer> {
  if (values.length % BLOCK !== 0) {
    throw new ShapeError({
      where: "quantizeGguf",
      expected: `a multiple of ${BLOCK} numbers for ${type}`,
      got: `${values.length}`,
    });
  }
  const out = new Uint8Array((values.length / BLOCK) * bytes);
  for (let b = 0; b < values.length / BLOCK; b++) {
    encode(values.subarray(b * BLOCK, (b + 1) * BLOCK), new DataView(out.buffer, b * bytes, bytes));
  }
  return out;
}

/** 1 / d in f32, 0 for a block of zeros. */
const reciprocal = (d: number): number => (d === 0 ? 0 : Math.fround(1 / d));

function eightBits(x: Float32Array, out: DataView): void {
  let peak = 0;
  for (const value of x) peak = Math.max(peak, Math.abs(value));
  const d = Math.fround(peak / 127);
  const perStep = reciprocal(d);
  out.setUint16(0, numberToHalf(d), true);
  for (let j = 0; j < BLOCK; j++) {
    const steps = Math.fround(x[j]! * perStep);
    out.setInt8(2 + j, Math.sign(steps) * Math.floor(Math.abs(steps) + 0.5));
  }
}

function fourBits(x: Float32Array, out: DataView): void {
  let peak = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(peak)) peak = value;
  const d = Math.fround(peak / -8);
  const perStep = reciprocal(d);
  const code = (value: number): number =>
    Math.min(15, Math.trunc(Math.fround(Math.fround(value * perStep) + 8.5)));
  out.setUint16(0, numberToHalf(d), true);
  for (let j = 0; j < BLOCK / 2; j++) {
    out.setUint8(2 + j, code(x[j]!) | (code(x[j + BLOCK / 2]!) << 4));
  }
}
