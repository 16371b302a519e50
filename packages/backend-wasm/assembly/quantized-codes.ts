// Codes of quantized weights: i8, or two of 4 bits in a byte, the first one low, with 8 for zero.
import { bf16ToF32, f16ToF32 } from "./half";

const BF16 = 5;
const F16 = 6;

/** One number of a row, as of scales or mins, as f32. */
export function partAt(dtype: i32, row: usize, index: i32): f32 {
  if (dtype == F16) return f16ToF32(<u32>load<u16>(row + (<usize>index << 1)));
  if (dtype == BF16) return bf16ToF32(<u32>load<u16>(row + (<usize>index << 1)));
  return load<f32>(row + (<usize>index << 2));
}

/** Code k of a row. */
export function codeAt(bits: i32, row: usize, k: i32): i32 {
  if (bits == 8) return load<i8>(row + <usize>k);
  return ((<i32>load<u8>(row + <usize>(k >> 1)) >> ((k & 1) << 2)) & 15) - 8;
}

/** Codes k to k + 7 of a row, k a multiple of 8, as eight i16. */
// @ts-ignore: decorator
@inline
export function codes8(bits: i32, row: usize, k: i32): v128 {
  if (bits == 8) return v128.load8x8_s(row + <usize>k);
  const pairs = v128.load32_zero(row + <usize>(k >> 1));
  const low = v128.and(pairs, i8x16.splat(15));
  const inOrder = v128.shuffle<i8>(low, i8x16.shr_u(pairs, 4), 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return i16x8.extend_low_i8x16_s(i8x16.sub(inOrder, i8x16.splat(8)));
}

/** The lower four of eight i16 as f32. */
// @ts-ignore: decorator
@inline
export function lowFloats(codes: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes));
}

/** The upper four of eight i16 as f32. */
// @ts-ignore: decorator
@inline
export function highFloats(codes: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(codes));
}
