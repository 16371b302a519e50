// Few rows times the transpose of a quantized matrix: one pass over its codes, which are widened in registers.
//
//   QUANTIZED_THIN     0 prepared rows  1 codes  2 scales  3 mins (0: none)  4 y (f32)  5 rows  6 N  7 K  8 group size
//                      9 bits  10 dtype of scales  11 dtype of mins  12 largest integer  13 bytes of a prepared row
import { cut, word } from "./matmul";
import { codeAt, codes8, highFloats, lowFloats, partAt } from "./quantized-codes";
import { integerRows } from "./quantized-integers";
import { BYTES_4, FLOATS_4, FLOATS_8, howOf, INTEGERS_8, MIXED, up16 } from "./quantized-rows";
import { madd, sumLanes } from "./simd";

const F32 = 7;
/** Codes of a usual group. */
const BLOCK = 32;

export function quantizedThin(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = word(args, 5);
  const N = word(args, 6);
  const K = word(args, 7);
  const how = howOf(word(args, 9), word(args, 8), word(args, 12));
  const first = cut(N, chunk, chunks);
  const last = cut(N, chunk + 1, chunks);
  if (how >= INTEGERS_8 && how <= BYTES_4) {
    integerRows(how, args, first, last, scratch);
    return;
  }
  const stride = <usize>(word(args, 9) == 4 ? K >> 1 : K);
  for (let n = first; n < last; n++) {
    // One row of codes after the other, as they lie: engines of memory fetch ahead of a single walk.
    const codes = load<usize>(args, 4) + <usize>n * stride;
    for (let row = 0; row < rows; row++) {
      const x = load<usize>(args) + <usize>row * <usize>word(args, 13);
      const y = load<usize>(args, 16) + (<usize>(row * N + n) << 2);
      if (how == FLOATS_8) sweep(FLOATS_8, args, x, codes, n, y);
      else if (how == FLOATS_4) sweep(FLOATS_4, args, x, codes, n, y);
      else sweep(MIXED, args, x, codes, n, y);
    }
  }
}

/** y[n] = Σ over groups of scale · (codes · x). */
// @ts-ignore: decorator
@inline
function sweep(how: i32, args: usize, x: usize, codes: usize, n: i32, y: usize): void {
  const K = word(args, 7);
  const group = word(args, 8);
  const bits = word(args, 9);
  const dtype = word(args, 10);
  const groups = K / group;
  const parts = n * groups;
  const scales = load<usize>(args, 8);
  const sums = x + up16(K << 2);
  let total = i32x4.splat(0);
  let g = 0;
  if (how != MIXED) {
    const m0 = v128.load(TOPS);
    const m1 = v128.load(TOPS, 16);
    const m2 = v128.load(TOPS, 32);
    const m3 = v128.load(TOPS, 48);
    const flip = v128.load32_splat(MASKS);
    const high = v128.load32_splat(MASKS, 4);
    const bytes: usize = how == FLOATS_8 ? 32 : 16;
    if (group == BLOCK && dtype == F32) {
      // The usual group.
      let at = scales + (<usize>parts << 2);
      for (g = groups; g > 0; g--, at += 4, x += 128, codes += bytes) {
        total = madd(block(how, codes, x, m0, m1, m2, m3, flip, high), v128.load32_splat(at), total);
      }
      g = groups;
    }
    for (; g < groups; g++) {
      let sum = i32x4.splat(0);
      for (let k = 0; k < group; k += BLOCK, x += 128, codes += bytes) {
        sum = f32x4.add(sum, block(how, codes, x, m0, m1, m2, m3, flip, high));
      }
      total = madd(sum, f32x4.splat(partAt(dtype, scales, parts + g)), total);
    }
  } else {
    for (; g < groups; g++) {
      total = madd(mixed(bits, x, codes, g * group, group), f32x4.splat(partAt(dtype, scales, parts + g)), total);
    }
  }
  let result = sumLanes(total);
  const mins = load<usize>(args, 12);
  if (mins) {
    for (let g = 0; g < groups; g++) result += partAt(word(args, 11), mins, parts + g) * load<f32>(sums + (<usize>g << 2));
  }
  store<f32>(y, result);
}

/** The products of 32 codes with their numbers. */
// @ts-ignore: decorator
@inline
function block(how: i32, codes: usize, x: usize, m0: v128, m1: v128, m2: v128, m3: v128, flip: v128, high: v128): v128 {
  let u = v128.load(codes);
  let v: v128;
  if (how == FLOATS_8) {
    v = v128.load(codes, 16);
  } else {
    // With their highest bit turned over, codes from 0 to 15 are those from -8 to 7 in two's complement.
    v = v128.xor(u, flip);
    u = v128.and(i32x4.shl(v, 4), high);
    v = v128.and(v, high);
  }
  let s = f32x4.mul(toTops(u, m0), v128.load(x));
  let t = f32x4.mul(toTops(v, m0), v128.load(x, 64));
  s = madd(toTops(u, m1), v128.load(x, 16), s);
  t = madd(toTops(v, m1), v128.load(x, 80), t);
  s = madd(toTops(u, m2), v128.load(x, 32), s);
  t = madd(toTops(v, m2), v128.load(x, 96), t);
  s = madd(toTops(u, m3), v128.load(x, 48), s);
  t = madd(toTops(v, m3), v128.load(x, 112), t);
  return f32x4.add(s, t);
}

/** Four signed bytes, each at the top of its lane, as f32: 2^24 times the byte. */
// @ts-ignore: decorator
@inline
function toTops(bytes: v128, places: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.convert_i32x4_s(i8x16.relaxed_swizzle(bytes, places));
  else return f32x4.convert_i32x4_s(i8x16.swizzle(bytes, places));
}

/** Any group, one row: eights, then single codes. */
function mixed(bits: i32, x: usize, w: usize, k: i32, group: i32): v128 {
  let s = i32x4.splat(0);
  const end = k + group;
  for (; group >= 8 && k + 8 <= end; k += 8) {
    const q = codes8(bits, w, k);
    const at = x + (<usize>k << 2);
    s = madd(lowFloats(q), v128.load(at), madd(highFloats(q), v128.load(at, 16), s));
  }
  let rest: f32 = 0;
  for (; k < end; k++) rest += <f32>codeAt(bits, w, k) * load<f32>(x + (<usize>k << 2));
  return f32x4.add(s, f32x4.replace_lane(i32x4.splat(0), 0, rest));
}

// Constants are read from memory: see half.ts. Only places over 127 are empty in both forms of a swizzle.
const TOPS: usize = memory.data<u32>([
  0x00ffffff, 0x01ffffff, 0x02ffffff, 0x03ffffff, 0x04ffffff, 0x05ffffff, 0x06ffffff, 0x07ffffff,
  0x08ffffff, 0x09ffffff, 0x0affffff, 0x0bffffff, 0x0cffffff, 0x0dffffff, 0x0effffff, 0x0fffffff,
]);
const MASKS: usize = memory.data<u32>([0x88888888, 0xf0f0f0f0]);
