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

/** Results of the rows of codes from `first` to below `last`, for all rows of x. */
export function integerRows(how: i32, args: usize, first: i32, last: i32, scratch: usize): void {
  const K = word(args, 7);
  const blocks = K >> 5;
  const stride = how == INTEGERS_8 ? K : K >> 1;
  const sizeX = sizeOfX(word(args, 9), word(args, 12));
  const far = up16(K >> 3);
  const mins = load<usize>(args, MINS);
  // The blocks that are no whole four, scales, mins.
  const parts = scratch + 128;
  const left = <usize>((blocks & 3) * (how == INTEGERS_8 ? 32 : 16));
  for (let n = first; n < last; n++) {
    const codes = load<usize>(args, 4) + <usize>(n * stride);
    const scales = spread(args, SCALES, word(args, 10), n, parts);
    if (mins) spread(args, MINS, word(args, 11), n, parts + far);
    memory.copy(scratch, codes + <usize>stride - left, left);
    for (let row = 0; row < word(args, 5); row++) {
      let x = load<usize>(args) + <usize>row * <usize>word(args, 13);
      let sums = x + up16(K * sizeX);
      let w = codes;
      let c = scales;
      let s = i32x4.splat(0);
      // The whole fours where they are, then what is left of the blocks.
      for (let fours = blocks >> 2, more = blocks & 3; ; fours = 1, more = 0) {
        // A loop for each kind of codes, and none that asks for it.
        if (how == INTEGERS_8) {
          for (; fours > 0; fours--, w += 128, x += 256, sums += 16, c += 16) {
            const p = half(bytes(w, x), bytes(w + 32, x + 64));
            const q = half(bytes(w + 64, x + 128), bytes(w + 96, x + 192));
            s = madd(f32x4.convert_i32x4_s(whole(p, q)), f32x4.mul(v128.load(sums + far), v128.load(c)), s);
          }
        } else if (how == INTEGERS_4) {
          const k0 = v128.load32_splat(MASKS, 4);
          const k1 = v128.load32_splat(MASKS, 8);
          const k2 = v128.load32_splat(MASKS, 12);
          for (; fours > 0; fours--, w += 64, x += 256, sums += 16, c += 16) {
            const p = half(halfBytes(w, x, k0, k1, k2), halfBytes(w + 16, x + 64, k0, k1, k2));
            const q = half(halfBytes(w + 32, x + 128, k0, k1, k2), halfBytes(w + 48, x + 192, k0, k1, k2));
            const sum = f32x4.sub(f32x4.convert_i32x4_s(whole(p, q)), v128.load(sums));
            s = madd(sum, f32x4.mul(v128.load(sums + far), v128.load(c)), s);
          }
        } else if (ASC_FEATURE_RELAXED_SIMD) {
          const mask = v128.load32_splat(MASKS);
          const ones = v128.load32_splat(MASKS, 16);
          for (; fours > 0; fours--, w += 64, x += 128, sums += 16, c += 16) {
            // 16 products of less than 2^11 do not leave 16 bits.
            const p = half16(bytePairs(w, x, mask), bytePairs(w + 16, x + 32, mask));
            const q = half16(bytePairs(w + 32, x + 64, mask), bytePairs(w + 48, x + 96, mask));
            const sum = f32x4.sub(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(whole16(p, q), ones)), v128.load(sums));
            s = madd(sum, f32x4.mul(v128.load(sums + far), v128.load(c)), s);
          }
        }
        if (more == 0) break;
        w = scratch;
      }
      if (mins) {
        sums = load<usize>(args) + <usize>row * <usize>word(args, 13) + up16(K * sizeX);
        const eighth = f32x4.splat(0.125);
        for (let at: usize = 0; at < far; at += 16) {
          const sum = f32x4.mul(f32x4.mul(v128.load(sums + at), v128.load(sums + far + at)), eighth);
          s = madd(sum, v128.load(parts + far + at), s);
        }
      }
      store<f32>(load<usize>(args, 16) + (<usize>(row * word(args, 6) + n) << 2), sumLanes(s));
    }
  }
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
function bytes(w: usize, x: usize): v128 {
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
