// Few rows times the transpose of a quantized matrix: one pass over its codes, which are widened in registers.
//
//   QUANTIZED_THIN     0 prepared rows  1 codes  2 scales  3 mins (0: none)  4 y (f32)  5 rows  6 N  7 K  8 group size
//                      9 bits  10 dtype of scales  11 dtype of mins  12 largest integer  13 bytes of a prepared row
import { cut, word } from "./matmul";
import { codeAt, codes8, highFloats, lowFloats, partAt } from "./quantized-codes";
import { integerFours } from "./quantized-integers";
import { addMins, lastOf, MINS, SCALES, spread } from "./quantized-parts";
import { FLOATS_4, FLOATS_8, howOf, INTEGERS_8, MIXED, sizeOfX, up16 } from "./quantized-rows";
import { madd, pick, sumLanes } from "./simd";

export function quantizedThin(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const N = word(args, 6);
  const how = howOf(word(args, 7), word(args, 9), word(args, 8), word(args, 12));
  const first = cut(N, chunk, chunks);
  const last = cut(N, chunk + 1, chunks);
  if (how == MIXED) return mixedRows(args, first, last);
  const quarter = (last - first) >> 2;
  for (let n = first; n < first + quarter; n++) fourRows(how, args, n, quarter, scratch);
  // Some are left: the last four once more, or, where there are no four, each as four.
  if (quarter == 0) for (let n = first; n < last; n++) fourRows(how, args, n, 0, scratch);
  else if ((last - first) & 3) fourRows(how, args, last - 4, 1, scratch);
}

/**
 * Results of the rows n, n + apart, n + 2 apart and n + 3 apart, by turns of 128 codes: memory is read further ahead of four walks
 * than of a single one. What a row gives does not depend on the others.
 */
function fourRows(how: i32, args: usize, n: i32, apart: i32, scratch: usize): void {
  const K = word(args, 7);
  const blocks = K >> 5;
  const bytes: usize = how == INTEGERS_8 || how == FLOATS_8 ? 32 : 16;
  const stride = <usize>blocks * bytes;
  const far = <usize>apart * stride;
  const line = up16(K >> 3);
  const mins = load<usize>(args, MINS);
  const codes = load<usize>(args, 4) + <usize>n * stride;
  // In scratch: sums, scales, mins.
  const end = scratch + 64;
  let scales: usize = 0;
  let farC: usize = 0;
  for (let r = 3; r >= 0; r--) {
    const at = spread(args, SCALES, word(args, 10), n + r * apart, end + <usize>r * line);
    farC = scales - at;
    scales = at;
  }
  const size = <usize>sizeOfX(word(args, 9), word(args, 12)) << 5; // of a block
  let x = load<usize>(args);
  for (let row = 0; row < word(args, 5); row++, x += <usize>word(args, 13)) {
    for (let s = scratch; s < end; s += 16) v128.store(s, i32x4.splat(0));
    const sums = x + up16(blocks * <i32>size);
    const more = sums + line;
    if (how == FLOATS_8) floats(FLOATS_8, blocks, codes, far, x, more, scales, farC, scratch, end);
    else if (how == FLOATS_4) floats(FLOATS_4, blocks, codes, far, x, more, scales, farC, scratch, end);
    else {
      integerFours(how, blocks >> 2, codes, far, x, more, line, scales, farC, i32x4.splat(-1), scratch, end);
      if (blocks & 3) {
        const to = <usize>(blocks - 4);
        const w = codes + to * bytes;
        integerFours(how, 1, w, far, x + to * size, more + (to << 2), line, scales + (to << 2), farC, lastOf(blocks), scratch, end);
      }
    }
    let y = load<usize>(args, 16) + (<usize>(row * word(args, 6) + n) << 2);
    for (let r = 0; r < 4; r++, y += <usize>apart << 2) {
      let s = v128.load(scratch + (<usize>r << 4));
      if (how == FLOATS_4) s = f32x4.mul(s, f32x4.splat(32));
      if (mins) {
        const least = spread(args, MINS, word(args, 11), n + r * apart, end + 4 * line);
        s = addMins(s, least, sums, blocks);
      }
      store<f32>(y, sumLanes(s));
    }
  }
}

/** Adds to the sums of four rows Σ over blocks of scale · (codes · x). */
// @ts-ignore: decorator
@inline
function floats(
  how: i32, blocks: i32, w: usize, far: usize, x: usize, offsets: usize, c: usize, farC: usize, sums: usize, end: usize,
): void {
  const m0 = v128.load(TOPS);
  const m1 = v128.load(TOPS, 16);
  const m2 = v128.load(TOPS, 32);
  const m3 = v128.load(TOPS, 48);
  const mask = v128.load32_splat(MASKS);
  const half = v128.load32_splat(MASKS, 4);
  for (; blocks > 0; blocks -= 4) {
    const count = <usize>min(4, blocks) << 7;
    for (let s = sums, u = w, d = c; s < end; s += 16, u += far, d += farC) {
      let total = v128.load(s);
      let codes = u;
      let scales = d;
      let zero = offsets;
      for (let at = x, last = x + count; at < last; at += 128) {
        const sum = how == FLOATS_8 ? block8(codes, at, m0, m1, m2, m3) : block4(codes, at, mask, half, zero);
        total = madd(sum, v128.load32_splat(scales), total);
        codes += how == FLOATS_8 ? 32 : 16;
        scales += 4;
        zero += 4;
      }
      v128.store(s, total);
    }
    w += how == FLOATS_8 ? 128 : 64;
    x += 512;
    c += 16;
    offsets += 16;
  }
}

/** The products of 32 codes of 8 bits with their numbers. */
// @ts-ignore: decorator
@inline
function block8(codes: usize, x: usize, m0: v128, m1: v128, m2: v128, m3: v128): v128 {
  const u = v128.load(codes);
  const v = v128.load(codes, 16);
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
  return f32x4.convert_i32x4_s(pick(bytes, places));
}

/**
 * The same for codes c of 4 bits: in the upper bits of a mantissa they are 1/2 + c/32, two of them in a lane. The lower one is
 * shifted up; where it is, it adds a little to the upper one, which quantized-rows.ts has taken into account.
 */
// @ts-ignore: decorator
@inline
function block4(codes: usize, x: usize, mask: v128, half: v128, offset: usize): v128 {
  const u = v128.load(codes);
  const low = v128.and(i32x4.shl(u, 3), mask);
  const high = v128.and(i32x4.shr_u(u, 1), mask);
  let w = v128.shuffle<i8>(low, half, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  let s = madd(w, v128.load(x, 16), v128.load32_zero(offset));
  let t = f32x4.mul(i32x4.shl(w, 16), v128.load(x));
  w = v128.shuffle<i8>(low, half, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  s = madd(w, v128.load(x, 48), s);
  t = madd(i32x4.shl(w, 16), v128.load(x, 32), t);
  w = v128.shuffle<i8>(high, half, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  s = madd(w, v128.load(x, 80), s);
  t = madd(i32x4.shl(w, 16), v128.load(x, 64), t);
  w = v128.shuffle<i8>(high, half, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  s = madd(w, v128.load(x, 112), s);
  t = madd(i32x4.shl(w, 16), v128.load(x, 96), t);
  return f32x4.add(s, t);
}

/** Any groups and any depth. */
function mixedRows(args: usize, first: i32, last: i32): void {
  const K = word(args, 7);
  const group = word(args, 8);
  const bits = word(args, 9);
  const groups = K / group;
  const mins = load<usize>(args, MINS);
  const stride = <usize>(bits == 4 ? K >> 1 : K);
  for (let n = first; n < last; n++) {
    const codes = load<usize>(args, 4) + <usize>n * stride;
    const parts = n * groups;
    for (let row = 0; row < word(args, 5); row++) {
      const x = load<usize>(args) + <usize>row * <usize>word(args, 13);
      const sums = x + up16(K << 2);
      let total = i32x4.splat(0);
      let result: f32 = 0;
      for (let g = 0; g < groups; g++) {
        const scale = f32x4.splat(partAt(word(args, 10), load<usize>(args, SCALES), parts + g));
        total = madd(mixed(bits, x, codes, g * group, group), scale, total);
        if (mins) result += partAt(word(args, 11), mins, parts + g) * load<f32>(sums + (<usize>g << 2));
      }
      store<f32>(load<usize>(args, 16) + (<usize>(row * word(args, 6) + n) << 2), sumLanes(total) + result);
    }
  }
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
const MASKS: usize = memory.data<u32>([0x78787878, 0x3f3f3f3f]);
