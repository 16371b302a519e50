// One number of any dtype as f64, for kernels whose speed does not lie in the arithmetic.
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "./half";

// Dtype numbers of the core.
const BOOL: i32 = 0;
const U8: i32 = 1;
const I8: i32 = 2;
const U32: i32 = 3;
const I32: i32 = 4;
const BF16: i32 = 5;
const F16: i32 = 6;
const F32: i32 = 7;

export function readNumber(dtype: i32, at: usize): f64 {
  switch (dtype) {
    case BOOL:
    case U8:
      return <f64>load<u8>(at);
    case I8:
      return <f64>load<i8>(at);
    case U32:
      return <f64>load<u32>(at);
    case I32:
      return <f64>load<i32>(at);
    case BF16:
      return <f64>bf16ToF32(load<u16>(at));
    case F16:
      return <f64>f16ToF32(load<u16>(at));
    case F32:
      return <f64>load<f32>(at);
    default:
      return load<f64>(at);
  }
}

/** Stores as the core does: floats round, integers saturate, bool is 0 or 1. */
export function writeNumber(dtype: i32, at: usize, value: f64): void {
  switch (dtype) {
    case BOOL:
      return store<u8>(at, value != 0 ? 1 : 0);
    case U8:
      return store<u8>(at, <u8>min<u32>(255, <u32>value));
    case I8:
      return store<i8>(at, <i8>min<i32>(127, max<i32>(-128, <i32>value)));
    case U32:
      return store<u32>(at, <u32>value);
    case I32:
      return store<i32>(at, <i32>value);
    case BF16:
      return store<u16>(at, <u16>f32ToBf16(<f32>value));
    case F16:
      return store<u16>(at, <u16>f32ToF16(<f32>value));
    case F32:
      return store<f32>(at, <f32>value);
    default:
      return store<f64>(at, value);
  }
}

/** Stores a sum: as `writeNumber`, but integers wrap. The sum is below 2^53. */
export function writeSum(dtype: i32, at: usize, value: f64): void {
  if (dtype == U8 || dtype == I8) store<u8>(at, <u8>(<i64>value));
  else if (dtype == U32 || dtype == I32) store<u32>(at, <u32>(<i64>value));
  else writeNumber(dtype, at, value);
}

/** Adds the number at `from` to a sum of 4 bytes: an i32 for bytes, else an f32. */
// @ts-ignore: decorator
@inline
export function addNarrow(dtype: i32, sum: usize, from: usize): void {
  if (dtype == I8) store<i32>(sum, load<i32>(sum) + <i32>load<i8>(from));
  else if (dtype <= U8) store<i32>(sum, load<i32>(sum) + <i32>load<u8>(from));
  else store<f32>(sum, load<f32>(sum) + <f32>readNumber(dtype, from));
}

/** Stores such a sum; bytes wrap. */
// @ts-ignore: decorator
@inline
export function writeNarrow(dtype: i32, at: usize, sum: usize): void {
  if (dtype <= I8) store<u8>(at, <u8>load<i32>(sum));
  else writeNumber(dtype, at, <f64>load<f32>(sum));
}
