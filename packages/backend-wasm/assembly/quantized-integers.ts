// The rows of quantized-thin.ts whose x was taken in integers: codes and integers are multiplied and added without an error,
// 32 at a time, and each such sum counts scale · step. The sums of four blocks are the lanes of a vector.
import { loadBf16x4, loadF16x4 } from "./half";
import { word } from "./matmul";
import { partAt } from "./quantized-codes";
import { INTEGERS_4, INTEGERS_8, sizeOfX, up16 } from "./quantized-rows";
import { madd, sumLanes } from "./simd";

const F16 = 6;
const F32 = 7;
/** Where the addresses of scales and mins are in the arguments. */
const SCALES: usize = 8;
const MINS: usize = 12;
/** Room for the blocks of a row that are no whole four. */
const LEFT: usize = 128;

/** Results of the rows of codes from `first` to below `last`, for all rows of x. */
export function integerRows(how: i32, args: usize, first: i32, last: i32, scratch: usize): void {
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
  const bytes = how == INTEGERS_8 ? 32 : 16;
  const stride = <usize>(blocks * bytes);
  const line = up16(K >> 3);
  const mins = load<usize>(args, MINS);
  const codes = load<usize>(args, 4) + <usize>n * stride;
  // In scratch: sums, the blocks that are no whole four, scales, mins.
  const end = scratch + 64;
  const parts = end + 4 * LEFT;
  const left = <usize>((blocks & 3) * bytes);
  let scales: usize = 0;
  let farC: usize = 0;
  for (let r = 3; r >= 0; r--) {
    const row = n + r * apart;
    const at = spread(args, SCALES, word(args, 10), row, parts + <usize>r * line);
    farC = scales - at;
    scales = at;
    if (mins) spread(args, MINS, word(args, 11), row, parts + <usize>(4 + r) * line);
    memory.copy(end + <usize>r * LEFT, codes + <usize>(r * apart + 1) * stride - left, left);
  }
  for (let row = 0; row < word(args, 5); row++) {
    let x = load<usize>(args) + <usize>row * <usize>word(args, 13);
    let sums = x + up16(K * sizeOfX(word(args, 9), word(args, 12)));
    let w = codes;
    let far = <usize>apart * stride;
    let c = scales;
    memory.fill(scratch, 0, 64);
    // The whole fours where they are, then what is left of the blocks.
    for (let fours = blocks >> 2, more = blocks & 3; ; fours = 1, more = 0) {
      // A loop for each kind of codes, and none that asks for it.
      if (how == INTEGERS_8) {
        for (; fours > 0; fours--, w += 128, x += 256, sums += 16, c += 16) {
          const step = v128.load(sums + line);
          for (let s = scratch, u = w, d = c; s < end; s += 16, u += far, d += farC) {
            const p = half(wide(u, x), wide(u + 32, x + 64));
            const q = half(wide(u + 64, x + 128), wide(u + 96, x + 192));
            add(s, f32x4.convert_i32x4_s(whole(p, q)), step, d);
          }
        }
      } else if (how == INTEGERS_4) {
        const k0 = v128.load32_splat(MASKS, 4);
        const k1 = v128.load32_splat(MASKS, 8);
        const k2 = v128.load32_splat(MASKS, 12);
        for (; fours > 0; fours--, w += 64, x += 256, sums += 16, c += 16) {
          const step = v128.load(sums + line);
          const zero = v128.load(sums);
          for (let s = scratch, u = w, d = c; s < end; s += 16, u += far, d += farC) {
            const p = half(halfBytes(u, x, k0, k1, k2), halfBytes(u + 16, x + 64, k0, k1, k2));
            const q = half(halfBytes(u + 32, x + 128, k0, k1, k2), halfBytes(u + 48, x + 192, k0, k1, k2));
            add(s, f32x4.sub(f32x4.convert_i32x4_s(whole(p, q)), zero), step, d);
          }
        }
      } else if (ASC_FEATURE_RELAXED_SIMD) {
        const mask = v128.load32_splat(MASKS);
        const ones = v128.load32_splat(MASKS, 16);
        for (; fours > 0; fours--, w += 64, x += 128, sums += 16, c += 16) {
          const step = v128.load(sums + line);
          const zero = v128.load(sums);
          for (let s = scratch, u = w, d = c; s < end; s += 16, u += far, d += farC) {
            // 16 products of less than 2^11 do not leave 16 bits.
            const p = half16(bytePairs(u, x, mask), bytePairs(u + 16, x + 32, mask));
            const q = half16(bytePairs(u + 32, x + 64, mask), bytePairs(u + 48, x + 96, mask));
            add(s, f32x4.sub(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(whole16(p, q), ones)), zero), step, d);
          }
        }
      }
      if (more == 0) break;
      w = end;
      far = LEFT;
    }
    let to = load<usize>(args, 16) + (<usize>(row * word(args, 6) + n) << 2);
    sums -= <usize>(blocks + 3) >> 2 << 4;
    for (let r: usize = 0; r < 4; r++, to += <usize>apart << 2) {
      let s = v128.load(scratch + (r << 4));
      if (mins) s = addMins(s, parts + (4 + r) * line, sums, line);
      store<f32>(to, sumLanes(s));
    }
  }
}

/** Adds to the sums of a row what four blocks give, times their steps and their scales. */
// @ts-ignore: decorator
@inline
function add(s: usize, sums: v128, step: v128, scales: usize): void {
  v128.store(s, madd(sums, f32x4.mul(step, v128.load(scales)), v128.load(s)));
}

/** Adds Σ min · step · (sum of integers), of which `sums` holds 8 times the sums and, a line further, the steps. */
function addMins(s: v128, mins: usize, sums: usize, line: usize): v128 {
  const eighth = f32x4.splat(0.125);
  for (let at: usize = 0; at < line; at += 16) {
    const sum = f32x4.mul(f32x4.mul(v128.load(sums + at), v128.load(sums + line + at)), eighth);
    s = madd(sum, v128.load(mins + at), s);
  }
  return s;
}

/**
 * Scales or mins of row n, whose address is at `at` in the arguments: an f32 for each block, and zeros up to a whole four.
 *
 * @returns where they are: at `to`, or where they are stored if they lie so there
 */
function spread(args: usize, at: usize, dtype: i32, n: i32, to: usize): usize {
  const blocks = word(args, 7) >> 5;
  const per = word(args, 8) >> 5;
  const parts = load<usize>(args + at);
  const first = n * (blocks / per);
  if (blocks & 3 || (per != 1 && per & 3)) {
    for (let b = 0; b < ((blocks + 3) & ~3); b++) {
      store<f32>(to + (<usize>b << 2), b < blocks ? partAt(dtype, parts, first + b / per) : 0);
    }
    return to;
  }
  if (at == SCALES && dtype == F32 && per == 1) return parts + (<usize>first << 2);
  for (let b = 0; b < blocks; b += 4) v128.store(to + (<usize>b << 2), parts4(dtype, parts, first, b, per));
  return to;
}

/** Scales or mins of blocks b to b + 3 of the row whose first group is `first`; `per` blocks, 1 or a multiple of 4, to a group. */
// @ts-ignore: decorator
@inline
function parts4(dtype: i32, parts: usize, first: i32, b: i32, per: i32): v128 {
  if (per != 1) return f32x4.splat(partAt(dtype, parts, first + b / per));
  const at = <usize>(first + b);
  if (dtype == F32) return v128.load(parts + (at << 2));
  return dtype == F16 ? loadF16x4(parts + (at << 1)) : loadBf16x4(parts + (at << 1));
}

// Constants are read from memory: see half.ts.
const MASKS: usize = memory.data<u32>([0x0f0f0f0f, 0x000f000f, 0x00f000f0, 0x0f000f00, 0x00010001]);

// The lanes of four vectors are added up in one, by halves: two vectors to the halves of one, and two of those.

// @ts-ignore: decorator
@inline
function half(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
}

// @ts-ignore: decorator
@inline
function whole(p: v128, q: v128): v128 {
  return i32x4.add(v128.shuffle<i64>(p, q, 0, 2), v128.shuffle<i64>(p, q, 1, 3));
}

// @ts-ignore: decorator
@inline
function half16(a: v128, b: v128): v128 {
  return i16x8.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
}

// @ts-ignore: decorator
@inline
function whole16(p: v128, q: v128): v128 {
  return i16x8.add(v128.shuffle<i64>(p, q, 0, 2), v128.shuffle<i64>(p, q, 1, 3));
}

/** Σ of 32 i8 times 32 i16. */
// @ts-ignore: decorator
@inline
function wide(w: usize, x: usize): v128 {
  const a = i32x4.dot_i16x8_s(v128.load8x8_s(w), v128.load(x));
  const b = i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
}

/** Σ of 32 codes, from 0 to 15, times 32 i16. Half bytes 1 and 2 of a lane are left where they are, 16 and 256 times too large. */
// @ts-ignore: decorator
@inline
function halfBytes(w: usize, x: usize, k0: v128, k1: v128, k2: v128): v128 {
  const codes = v128.load(w);
  const a = i32x4.dot_i16x8_s(v128.and(codes, k0), v128.load(x));
  const b = i32x4.dot_i16x8_s(v128.and(codes, k1), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(v128.and(codes, k2), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(i16x8.shr_u(codes, 12), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, d), i32x4.shr_s(i32x4.add(b, i32x4.shr_s(c, 4)), 4));
}

/** The same times 32 i8, in i16. No code has its highest bit, so that engines agree. */
// @ts-ignore: decorator
@inline
function bytePairs(w: usize, x: usize, mask: v128): v128 {
  const codes = v128.load(w);
  const a = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load(x), v128.and(codes, mask));
  const b = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load(x, 16), v128.and(i16x8.shr_u(codes, 4), mask));
  return i16x8.add(a, b);
}
