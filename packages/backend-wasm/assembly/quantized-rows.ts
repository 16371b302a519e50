// The left operand of a product with a quantized matrix, a row at a time, as its kernels read it.
//
//   QUANTIZED_PREPARE  0 x  1 dst  2 rows  3 K  4 group size  5 bits  6 dtype of x  7 largest integer (0: as floats)
//                      8 bytes of a prepared row
//
// A prepared row is, each part from a multiple of 16 bytes:
//   the numbers: f32, or integers (i16; i8 where bytes are multiplied);
//   the sum of each group, f32; with integers, for each block of 32, 8 times their sum instead, and then its step, f32, both
//   with zeros up to a whole four of blocks.
// Numbers stand in the order in which codes come out (`placeOf`). The codes that meet floats come out 2^24 or 2^28 times too
// large, and these floats are made so much smaller.
import { cut, word } from "./matmul";
import { load4 } from "./matmul-pack";
import { partAt } from "./quantized-codes";

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
/** Groups that are no whole blocks. */
export const MIXED = 5;

export function howOf(bits: i32, group: i32, largest: i32): i32 {
  if (largest != 0) return bits == 8 ? INTEGERS_8 : byBytes(bits, largest) ? BYTES_4 : INTEGERS_4;
  return group & 31 ? MIXED : bits == 8 ? FLOATS_8 : FLOATS_4;
}

/** Place of number k in a prepared row whose codes meet it as `how` says. */
// @ts-ignore: decorator
@inline
function placeOf(how: i32, k: i32): i32 {
  // byte j of lane l holds two codes: low halves, then high ones
  if (how == BYTES_4 || how == FLOATS_4) return (k & ~31) | ((k & 1) << 4) | ((k >> 1) & 15);
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
  const how = howOf(bits, group, largest);
  const sums = dst + up16(K * sizeOfX(bits, largest));
  if (how == FLOATS_8) prepareFloats(FLOATS_8, reinterpret<f32>(0x33800000), src, dst, K, group, dtype, sums);
  else if (how == FLOATS_4) prepareFloats(FLOATS_4, reinterpret<f32>(0x31800000), src, dst, K, group, dtype, sums);
  else if (how == MIXED) prepareFloats(MIXED, 1, src, dst, K, group, dtype, sums);
  else prepareIntegers(how, src, dst, K, dtype, largest, sums);
}

// @ts-ignore: decorator
@inline
function prepareFloats(how: i32, factor: f32, src: usize, dst: usize, K: i32, group: i32, dtype: i32, sums: usize): void {
  for (let g = 0; g * group < K; g++) {
    let sum: f32 = 0;
    for (let k = g * group; k < (g + 1) * group; k++) {
      const x = partAt(dtype, src, k);
      sum += x;
      store<f32>(dst + (<usize>placeOf(how, k) << 2), x * factor);
    }
    store<f32>(sums + (<usize>g << 2), sum);
  }
}

// @ts-ignore: decorator
@inline
function numbersAt(dtype: i32, src: usize, k: i32): v128 {
  if (dtype == F16) return load4<u16>(src + (<usize>k << 1));
  if (dtype == BF16) return load4<i16>(src + (<usize>k << 1));
  return v128.load(src + (<usize>k << 2));
}

function prepareIntegers(how: i32, src: usize, dst: usize, K: i32, dtype: i32, largest: i32, sums: usize): void {
  const steps = sums + up16(K >> 3);
  if (K & 127) {
    // of the last four, whose blocks are not all there
    const at = <usize>(K >> 7 << 4);
    v128.store(sums + at, i32x4.splat(0));
    v128.store(steps + at, i32x4.splat(0));
  }
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
    store<f32>(sums + <usize>(k >> 3), <f32>((i32x4.extract_lane(total, 0) + i32x4.extract_lane(total, 1)) << 3));
    store<f32>(steps + <usize>(k >> 3), step);
  }
}
