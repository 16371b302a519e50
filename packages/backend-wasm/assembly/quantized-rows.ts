// The left operand of a product with a quantized matrix, a row at a time, as its kernels read it.
//
//   QUANTIZED_PREPARE  0 x  1 dst  2 rows  3 K  4 group size  5 bits  6 dtype of x  7 largest integer (0: as floats)
//                      8 bytes of a prepared row
//
// A prepared row is, each part from a multiple of 16 bytes:
//   the numbers: f32, or integers (i16; i8 where bytes are multiplied);
//   for each block of 32 the sum of x, f32; or for each group, where groups are no whole blocks;
//   for each block, f32, with integers the step and then 8 times their sum; with floats and codes of 4 bits what is to be added
//   to the products.
// Numbers stand in the order in which codes come out. Codes of 8 bits that meet floats come out 2^24 times too large, those
// of 4 bits 2^5 times too small.
import { cut, word } from "./matmul";
import { load4 } from "./matmul-pack";
import { partAt } from "./quantized-codes";
import { madd, nmadd, sumLanes } from "./simd";

const BF16 = 5;
const F16 = 6;
/** Numbers that share a step. */
const BLOCK = 32;
/** Blocks whose largest number is not above 2^-100 are taken as zero. */
const TINIEST: f32 = reinterpret<f32>(0x0d800000);

// @ts-ignore: decorator
@inline
export function up16(bytes: i32): usize {
  return (<usize>bytes + 15) & ~15;
}

/** Whether 8-bit integers of x meet codes of 4 bits by products of bytes. */
// @ts-ignore: decorator
@inline
function byBytes(bits: i32, largest: i32): bool {
  return ASC_FEATURE_RELAXED_SIMD && bits == 4 && largest == 127;
}

// @ts-ignore: decorator
@inline
export function sizeOfX(bits: i32, largest: i32): i32 {
  return largest == 0 ? 4 : byBytes(bits, largest) ? 1 : 2;
}

/** How codes meet numbers. */
export const FLOATS_8 = 0;
export const FLOATS_4 = 1;
export const INTEGERS_8 = 2;
export const INTEGERS_4 = 3;
export const BYTES_4 = 4;
/** Groups that are no whole blocks, or less than four blocks. */
export const MIXED = 5;

export function howOf(K: i32, bits: i32, group: i32, largest: i32): i32 {
  if (largest != 0) return bits == 8 ? INTEGERS_8 : byBytes(bits, largest) ? BYTES_4 : INTEGERS_4;
  return group & 31 || K < 128 ? MIXED : bits == 8 ? FLOATS_8 : FLOATS_4;
}

/** Place of number k in a prepared row of integers whose codes meet it as `how` says. */
// @ts-ignore: decorator
@inline
function placeOf(how: i32, k: i32): i32 {
  // byte j of lane l holds two codes: low halves, then high ones
  if (how == BYTES_4) return (k & ~31) | ((k & 1) << 4) | ((k >> 1) & 15);
  // half byte j of lane l, of 16 bits; the order of the masks in quantized-integers.ts
  if (how == INTEGERS_4) return (k & ~31) | ((k & 3) << 3) | ((k >> 2) & 7);
  return k;
}

export function quantizedPrepare(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = word(args, 2);
  const K = word(args, 3);
  const dtype = word(args, 6);
  const size: usize = dtype == F16 || dtype == BF16 ? 2 : 4;
  const last = cut(rows, chunk + 1, chunks);
  for (let row = cut(rows, chunk, chunks); row < last; row++) {
    const src = load<usize>(args) + <usize>(row * K) * size;
    const dst = load<usize>(args, 4) + <usize>row * <usize>word(args, 8);
    prepareRow(src, dst, K, word(args, 4), word(args, 5), dtype, word(args, 7));
  }
}

function prepareRow(src: usize, dst: usize, K: i32, group: i32, bits: i32, dtype: i32, largest: i32): void {
  const how = howOf(K, bits, group, largest);
  const sums = dst + up16(K * sizeOfX(bits, largest));
  if (how == MIXED) prepareGroups(src, dst, K, group, dtype, sums);
  else if (largest == 0) prepareFloats(how, src, dst, K, dtype, sums);
  else prepareIntegers(how, src, dst, K, dtype, largest, sums);
}

function prepareGroups(src: usize, dst: usize, K: i32, group: i32, dtype: i32, sums: usize): void {
  for (let g = 0; g * group < K; g++) {
    let sum: f32 = 0;
    for (let k = g * group; k < (g + 1) * group; k++) {
      const x = partAt(dtype, src, k);
      sum += x;
      store<f32>(dst + (<usize>k << 2), x);
    }
    store<f32>(sums + (<usize>g << 2), sum);
  }
}

/**
 * Codes of 4 bits come out in pairs of bytes: w = 1/2 + c/32 of the upper one lies over that of the lower one, which adds
 * 2^-16 w' - 2^-17 of it more or less: what meets the lower one is made so much smaller, and what is then too much
 * of each block, with 8 for the zero of the codes, is taken off.
 */
function prepareFloats(how: i32, src: usize, dst: usize, K: i32, dtype: i32, sums: usize): void {
  const line = up16(K >> 3);
  for (let k = 0; k < K; k += BLOCK, sums += 4) {
    let total = i32x4.splat(0);
    let seen = i32x4.splat(0);
    for (let half = 0; half < BLOCK; half += 16, dst += how == FLOATS_8 ? 64 : 32) {
      const r0 = numbersAt(dtype, src, k + half);
      const r1 = numbersAt(dtype, src, k + half + 4);
      const r2 = numbersAt(dtype, src, k + half + 8);
      const r3 = numbersAt(dtype, src, k + half + 12);
      total = f32x4.add(total, f32x4.add(f32x4.add(r0, r1), f32x4.add(r2, r3)));
      if (how == FLOATS_8) {
        const factor = f32x4.splat(reinterpret<f32>(0x33800000)); // 2^-24
        v128.store(dst, f32x4.mul(r0, factor));
        v128.store(dst, f32x4.mul(r1, factor), 16);
        v128.store(dst, f32x4.mul(r2, factor), 32);
        v128.store(dst, f32x4.mul(r3, factor), 48);
        continue;
      }
      const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
      const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
      const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
      const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
      // numbers k, k + 4, k + 8 and k + 12, then those 2 further
      seen = f32x4.add(seen, putPair(dst, v128.shuffle<i64>(low01, low23, 0, 2), v128.shuffle<i64>(high01, high23, 0, 2)));
      seen = f32x4.add(seen, putPair(dst + 64, v128.shuffle<i64>(low01, low23, 1, 3), v128.shuffle<i64>(high01, high23, 1, 3)));
    }
    if (how == FLOATS_4) dst += 64;
    store<f32>(sums, sumLanes(total));
    // Σ x / 4 for the zero at 8
    if (how == FLOATS_4) store<f32>(sums + line, -sumLanes(madd(total, f32x4.splat(0.25), seen)));
  }
}

/**
 * Stores the numbers that meet lower and upper codes of the lanes.
 *
 * @returns what comes out for codes of zero
 */
// @ts-ignore: decorator
@inline
function putPair(dst: usize, lower: v128, upper: v128): v128 {
  lower = nmadd(upper, f32x4.splat(reinterpret<f32>(0x37800000)), lower); // 2^-16
  v128.store(dst, lower);
  v128.store(dst, upper, 16);
  // 1/2 of the lower, and 1/2 with the bits 0x3f00 below of the upper
  return madd(upper, f32x4.splat(reinterpret<f32>(0x3f003f00)), f32x4.mul(lower, f32x4.splat(0.5)));
}

// @ts-ignore: decorator
@inline
function numbersAt(dtype: i32, src: usize, k: i32): v128 {
  if (dtype == F16) return load4<u16>(src + (<usize>k << 1));
  if (dtype == BF16) return load4<i16>(src + (<usize>k << 1));
  return v128.load(src + (<usize>k << 2));
}

function prepareIntegers(how: i32, src: usize, dst: usize, K: i32, dtype: i32, largest: i32, sums: usize): void {
  const line = up16(K >> 3);
  for (let k = 0; k < K; k += BLOCK) {
    let top = i32x4.splat(0);
    for (let i = k; i < k + BLOCK; i += 4) top = f32x4.max(top, f32x4.abs(numbersAt(dtype, src, i))); // NaN too
    top = f32x4.max(top, v128.shuffle<i64>(top, top, 1, 0));
    const peak = max(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1));
    const perStep: f32 = peak > TINIEST ? <f32>largest / peak : 0;
    const step = peak / <f32>largest;
    const factor = f32x4.splat(perStep);
    let total = i32x4.splat(0);
    for (let i = k; i < k + BLOCK; i += 4) {
      const q = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(numbersAt(dtype, src, i), factor)));
      total = i32x4.add(total, q);
      // Where the first goes, and how far the others are from there: see placeOf.
      if (how == BYTES_4) {
        const to = dst + <usize>placeOf(BYTES_4, i);
        store<i8>(to, i32x4.extract_lane(q, 0));
        store<i8>(to, i32x4.extract_lane(q, 1), 16);
        store<i8>(to, i32x4.extract_lane(q, 2), 1);
        store<i8>(to, i32x4.extract_lane(q, 3), 17);
      } else if (how == INTEGERS_4) {
        const to = dst + (<usize>placeOf(INTEGERS_4, i) << 1);
        store<i16>(to, i32x4.extract_lane(q, 0));
        store<i16>(to, i32x4.extract_lane(q, 1), 16);
        store<i16>(to, i32x4.extract_lane(q, 2), 32);
        store<i16>(to, i32x4.extract_lane(q, 3), 48);
      } else v128.store64_lane(dst + (<usize>i << 1), i16x8.narrow_i32x4_s(q, q), 0);
    }
    total = i32x4.add(total, v128.shuffle<i64>(total, total, 1, 0));
    const sum = <f32>(i32x4.extract_lane(total, 0) + i32x4.extract_lane(total, 1));
    const at = sums + <usize>(k >> 3);
    store<f32>(at, sum * step);
    store<f32>(at + line, step);
    store<f32>(at + 2 * line, sum * 8);
  }
}
