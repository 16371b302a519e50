// Products of 128 codes by turns with x in integers, for quantized-thin.ts: codes and integers are multiplied and added
// without an error, 32 at a time, and each such sum counts scale · step. The sums of four blocks are the lanes of a vector.
import { INTEGERS_4, INTEGERS_8 } from "./quantized-rows";
import { madd } from "./simd";

/**
 * Adds so many fours of blocks of four rows to their sums, from `sums` to `end`: codes at w, and `far` further for the next row;
 * scales at c, and `farC` further; steps of x, and `line` further 8 times the sums of its integers. Blocks out of `mask` count for
 * nothing.
 */
export function integerFours(
  how: i32, fours: i32, w: usize, far: usize, x: usize, steps: usize, line: usize, c: usize, farC: usize, mask: v128,
  sums: usize, end: usize,
): void {
  // A loop for each kind of codes, and none that asks for it.
  if (how == INTEGERS_8) {
    for (; fours > 0; fours--, w += 128, x += 256, steps += 16, c += 16) {
      const step = v128.and(v128.load(steps), mask);
      for (let s = sums, u = w, d = c; s < end; s += 16, u += far, d += farC) {
        const p = half(wide(u, x), wide(u + 32, x + 64));
        const q = half(wide(u + 64, x + 128), wide(u + 96, x + 192));
        add(s, f32x4.convert_i32x4_s(whole(p, q)), step, d);
      }
    }
  } else if (how == INTEGERS_4) {
    const k0 = v128.load32_splat(MASKS, 4);
    const k1 = v128.load32_splat(MASKS, 8);
    const k2 = v128.load32_splat(MASKS, 12);
    for (; fours > 0; fours--, w += 64, x += 256, steps += 16, c += 16) {
      const step = v128.and(v128.load(steps), mask);
      const zero = v128.load(steps + line);
      for (let s = sums, u = w, d = c; s < end; s += 16, u += far, d += farC) {
        const p = half(halfBytes(u, x, k0, k1, k2), halfBytes(u + 16, x + 64, k0, k1, k2));
        const q = half(halfBytes(u + 32, x + 128, k0, k1, k2), halfBytes(u + 48, x + 192, k0, k1, k2));
        add(s, f32x4.sub(f32x4.convert_i32x4_s(whole(p, q)), zero), step, d);
      }
    }
  } else if (ASC_FEATURE_RELAXED_SIMD) {
    const low = v128.load32_splat(MASKS);
    const ones = v128.load32_splat(MASKS, 16);
    for (; fours > 0; fours--, w += 64, x += 128, steps += 16, c += 16) {
      const step = v128.and(v128.load(steps), mask);
      const zero = v128.load(steps + line);
      for (let s = sums, u = w, d = c; s < end; s += 16, u += far, d += farC) {
        // 16 products of less than 2^11 do not leave 16 bits.
        const p = half16(bytePairs(u, x, low), bytePairs(u + 16, x + 32, low));
        const q = half16(bytePairs(u + 32, x + 64, low), bytePairs(u + 48, x + 96, low));
        add(s, f32x4.sub(f32x4.convert_i32x4_s(i32x4.dot_i16x8_s(whole16(p, q), ones)), zero), step, d);
      }
    }
  }
}

/** Adds to the sums of a row what four blocks give, times their steps and their scales. */
// @ts-ignore: decorator
@inline
function add(s: usize, sums: v128, step: v128, scales: usize): void {
  v128.store(s, madd(sums, f32x4.mul(step, v128.load(scales)), v128.load(s)));
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
