// Weights of few bits as f32, row by row, for a library that knows only f32. Argument words behind the first, which counts for
// nothing; strides and sizes count elements.
//
//   1 the kernel  2 dst, rows of `columns` f32 without a gap  3 rows  4 columns
//   WIDEN_HALVES  5 src  6 row stride  7 whether bf16, else f16
//   WIDEN_CODES   5 codes  6 scales  7 mins (0: none)  8 row stride of codes  9 bits (8, or 4: two in a byte, 8 for zero)
//                 10 group size  11 dtype of scales  12 dtype of mins; columns are whole groups
import { WIDEN_HALVES } from "./kernels";

const BF16 = 5;
const F16 = 6;

// @ts-ignore: decorator
@inline
function word(args: usize, index: i32): i32 {
  return load<i32>(args + (<usize>index << 2));
}

/** Part `chunk` of `chunks` of the rows. */
export function f(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = word(args, 3);
  const first = <i32>((<i64>rows * chunk) / chunks);
  const last = <i32>((<i64>rows * (chunk + 1)) / chunks);
  for (let row = first; row < last; row++) {
    if (word(args, 1) == WIDEN_HALVES) halves(args, row);
    else codes(args, row);
  }
}

/** Four f16 in the lower halves of the lanes as f32: the exponent is rebased by a product, infinities and NaN are set apart. */
// @ts-ignore: decorator
@inline
function f16x4(bits: v128): v128 {
  const placed = v128.and(i32x4.shr_s(i32x4.shl(bits, 16), 3), i32x4.splat(0x8fffe000));
  const scaled = f32x4.mul(placed, i32x4.splat(0x77800000));
  const special = f32x4.ge(f32x4.abs(scaled), f32x4.splat(65536));
  return v128.or(scaled, v128.and(special, i32x4.splat(0x7f800000)));
}

function halves(args: usize, row: i32): void {
  const columns = word(args, 4);
  const isBf16 = word(args, 7) != 0;
  let from = load<usize>(args, 20) + (<usize>row * <usize>word(args, 6) << 1);
  let to = load<usize>(args, 8) + (<usize>row * <usize>columns << 2);
  let i = 0;
  if (isBf16) for (; i + 4 <= columns; i += 4, from += 8, to += 16) v128.store(to, i32x4.shl(v128.load16x4_u(from), 16));
  else for (; i + 4 <= columns; i += 4, from += 8, to += 16) v128.store(to, f16x4(v128.load16x4_u(from)));
  for (; i < columns; i++, from += 2, to += 4) store<f32>(to, half(isBf16, from));
}

function half(isBf16: bool, at: usize): f32 {
  const bits = i32x4.splat(<i32>load<u16>(at));
  return f32x4.extract_lane(isBf16 ? i32x4.shl(bits, 16) : f16x4(bits), 0);
}

/** One scale or min. */
function part(dtype: i32, base: usize, index: i32): f32 {
  if (dtype == F16 || dtype == BF16) return half(dtype == BF16, base + (<usize>index << 1));
  return load<f32>(base + (<usize>index << 2));
}

function codes(args: usize, row: i32): void {
  const columns = word(args, 4);
  const stride = word(args, 8);
  const bits = word(args, 9);
  const group = word(args, 10);
  const mins = load<usize>(args, 28);
  const from = load<usize>(args, 20) + (<usize>row * <usize>stride >> (bits == 4 ? 1 : 0));
  const to = load<usize>(args, 8) + (<usize>row * <usize>columns << 2);
  const parts = row * (stride / group);
  for (let column = 0; column < columns; column += group) {
    const index = parts + column / group;
    const scale = part(word(args, 11), load<usize>(args, 24), index);
    const least: f32 = mins ? part(word(args, 12), mins, index) : 0;
    let k = column;
    const end = column + group;
    for (; k + 4 <= end; k += 4) {
      let q: v128;
      if (bits == 8) q = i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(from + <usize>k)));
      else {
        // two bytes, each into two lanes
        const both = <i32>load<u16>(from + (<usize>k >> 1));
        const spread = i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(both), 1, both >> 4), 2, both >> 8);
        q = i32x4.sub(v128.and(i32x4.replace_lane(spread, 3, both >> 12), i32x4.splat(15)), i32x4.splat(8));
      }
      const value = f32x4.mul(f32x4.convert_i32x4_s(q), f32x4.splat(scale));
      v128.store(to + (<usize>k << 2), f32x4.add(value, f32x4.splat(least)));
    }
    for (; k < end; k++) {
      const q = bits == 8 ? <i32>load<i8>(from + <usize>k) : ((<i32>load<u8>(from + (<usize>k >> 1)) >> ((k & 1) << 2)) & 15) - 8;
      store<f32>(to + (<usize>k << 2), <f32>q * scale + least);
    }
  }
}
