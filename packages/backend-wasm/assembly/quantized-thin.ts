// Few rows times the transpose of a quantized matrix: a pass over its codes, four rows of it at a time.
//
//   QUANTIZED_PREPARE  0 x  1 dst  2 rows  3 K  4 group size  5 bits  6 dtype of x  7 largest integer (0: as floats)
//                      8 bytes of a prepared row
//   QUANTIZED_THIN     0 prepared rows  1 codes  2 scales  3 mins (0: none)  4 y (f32)  5 rows  6 N  7 K  8 group size
//                      9 bits  10 dtype of scales  11 dtype of mins  12 largest integer  13 bytes of a prepared row
//
// A prepared row is, each part from a multiple of 16 bytes:
//   the numbers: f32, or integers (i16; i8 where bytes are multiplied);
//   the sum of each group, f32;
//   with integers, of each block of 32: its step (f32, splat) and 8 times the sum of its integers (i32, then zeros).
// Codes of 4 bits come as all low halves of 16 bytes, then all high ones, so the numbers of a block stand in that order.
import { cut, word } from "./matmul";
import { load1 } from "./matmul-pack";
import { codeAt, codes8, highFloats, lowFloats, partAt } from "./quantized-codes";
import { madd, sumLanes } from "./simd";

const BF16 = 5;
const F16 = 6;
const BLOCK = 32;
/** Blocks whose largest number is not above 2^-100 are taken as zero. */
const TINIEST: f32 = reinterpret<f32>(0x0d800000);

// @ts-ignore: decorator
@inline
function up16(bytes: i32): usize {
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
function sizeOfX(bits: i32, largest: i32): i32 {
  return largest == 0 ? 4 : byBytes(bits, largest) ? 1 : 2;
}

/** Place of number k in a prepared row. */
// @ts-ignore: decorator
@inline
function placeOf(k: i32, split: bool): i32 {
  return split ? (k & ~31) | ((k & 1) << 4) | ((k >> 1) & 15) : k;
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

// @ts-ignore: decorator
@inline
function numberAt(dtype: i32, src: usize, k: i32): f32 {
  if (dtype == F16) return load1<u16>(src + (<usize>k << 1));
  if (dtype == BF16) return load1<i16>(src + (<usize>k << 1));
  return load<f32>(src + (<usize>k << 2));
}

function prepareRow(src: usize, dst: usize, K: i32, group: i32, bits: i32, dtype: i32, largest: i32): void {
  const split = bits == 4 && (group & 31) == 0;
  const sums = dst + up16(K * sizeOfX(bits, largest));
  if (largest == 0) {
    for (let g = 0; g * group < K; g++) {
      let sum: f32 = 0;
      for (let k = g * group; k < (g + 1) * group; k++) {
        const x = numberAt(dtype, src, k);
        sum += x;
        store<f32>(dst + (<usize>placeOf(k, split) << 2), x);
      }
      store<f32>(sums + (<usize>g << 2), sum);
    }
    return;
  }
  const bytes = byBytes(bits, largest);
  const blocks = sums + up16((K / group) * 4);
  let sum: f32 = 0;
  for (let k = 0; k < K; k += BLOCK) {
    let peak: f32 = 0;
    for (let i = k; i < k + BLOCK; i++) {
      const a = abs(numberAt(dtype, src, i));
      if (!(a <= peak)) peak = a; // NaN too
    }
    const perStep: f32 = peak > TINIEST ? <f32>largest / peak : 0;
    const step = peak / <f32>largest;
    let total = 0;
    for (let i = k; i < k + BLOCK; i++) {
      const q = <i32>nearest(numberAt(dtype, src, i) * perStep);
      total += q;
      const at = <usize>placeOf(i, split);
      if (bytes) store<i8>(dst + at, <i8>q);
      else store<i16>(dst + (at << 1), <i16>q);
    }
    const block = blocks + (<usize>(k >> 5) << 5);
    v128.store(block, f32x4.splat(step));
    v128.store(block, i32x4.replace_lane(i32x4.splat(0), 0, total << 3), 16);
    sum += step * <f32>total;
    if ((k + BLOCK) % group == 0) {
      store<f32>(sums + (<usize>((k + BLOCK) / group - 1) << 2), sum);
      sum = 0;
    }
  }
}

/** What one sweep over a group leaves: the sums of four rows of codes, each in four lanes. */
let sum0 = i32x4.splat(0);
let sum1 = i32x4.splat(0);
let sum2 = i32x4.splat(0);
let sum3 = i32x4.splat(0);

export function quantizedThin(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = word(args, 5);
  const N = word(args, 6);
  const K = word(args, 7);
  const bits = word(args, 9);
  const stride = <usize>(bits == 4 ? K >> 1 : K);
  const units = (N + 3) >> 2;
  const last = cut(units, chunk + 1, chunks);
  for (let unit = cut(units, chunk, chunks); unit < last; unit++) {
    const n = unit << 2;
    const count = min(4, N - n);
    const codes = load<usize>(args, 4) + <usize>n * stride;
    // Rows that are not there are read as the first and not kept.
    const w1 = count > 1 ? codes + stride : codes;
    const w2 = count > 2 ? codes + 2 * stride : codes;
    const w3 = count > 3 ? codes + 3 * stride : codes;
    for (let row = 0; row < rows; row++) {
      const x = load<usize>(args) + <usize>row * <usize>word(args, 13);
      const y = load<usize>(args, 16) + (<usize>(row * N + n) << 2);
      fourRows(args, x, codes, w1, w2, w3, n, count, y);
    }
  }
}

function fourRows(args: usize, x: usize, w0: usize, w1: usize, w2: usize, w3: usize, n: i32, count: i32, y: usize): void {
  const K = word(args, 7);
  const group = word(args, 8);
  const bits = word(args, 9);
  const dtype = word(args, 10);
  const largest = word(args, 12);
  const groups = K / group;
  const scales = load<usize>(args, 8);
  const mins = load<usize>(args, 12);
  const sums = x + up16(K * sizeOfX(bits, largest));
  const blocks = sums + up16(groups * 4);
  const p0 = n * groups;
  const p1 = count > 1 ? p0 + groups : p0;
  const p2 = count > 2 ? p0 + 2 * groups : p0;
  const p3 = count > 3 ? p0 + 3 * groups : p0;
  let t0 = i32x4.splat(0);
  let t1 = t0;
  let t2 = t0;
  let t3 = t0;
  for (let g = 0; g < groups; g++) {
    const k = g * group;
    if (largest != 0) {
      if (bits == 8) integers8(x, blocks, w0, w1, w2, w3, k, group);
      else if (byBytes(bits, largest)) bytes4(x, blocks, w0, w1, w2, w3, k, group);
      else integers4(x, blocks, w0, w1, w2, w3, k, group);
    } else if (group & 31) {
      sum0 = mixed(bits, x, w0, k, group);
      sum1 = mixed(bits, x, w1, k, group);
      sum2 = mixed(bits, x, w2, k, group);
      sum3 = mixed(bits, x, w3, k, group);
    } else if (bits == 8) floats8(x, w0, w1, w2, w3, k, group);
    else floats4(x, w0, w1, w2, w3, k, group);
    t0 = madd(sum0, f32x4.splat(partAt(dtype, scales, p0 + g)), t0);
    t1 = madd(sum1, f32x4.splat(partAt(dtype, scales, p1 + g)), t1);
    t2 = madd(sum2, f32x4.splat(partAt(dtype, scales, p2 + g)), t2);
    t3 = madd(sum3, f32x4.splat(partAt(dtype, scales, p3 + g)), t3);
  }
  keep(args, sums, groups, p0, sumLanes(t0), y);
  if (count > 1) keep(args, sums, groups, p1, sumLanes(t1), y + 4);
  if (count > 2) keep(args, sums, groups, p2, sumLanes(t2), y + 8);
  if (count > 3) keep(args, sums, groups, p3, sumLanes(t3), y + 12);
}

/** Adds what the mins of a row contribute and stores the result. */
function keep(args: usize, sums: usize, groups: i32, parts: i32, total: f32, y: usize): void {
  const mins = load<usize>(args, 12);
  if (mins) {
    for (let g = 0; g < groups; g++) total += partAt(word(args, 11), mins, parts + g) * load<f32>(sums + (<usize>g << 2));
  }
  store<f32>(y, total);
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

/** s + Σ of 16 signed bytes times 16 numbers, of which four vectors are given. */
// @ts-ignore: decorator
@inline
function add16(q: v128, x0: v128, x1: v128, x2: v128, x3: v128, s: v128): v128 {
  const low = i16x8.extend_low_i8x16_s(q);
  const high = i16x8.extend_high_i8x16_s(q);
  s = madd(lowFloats(low), x0, s);
  s = madd(highFloats(low), x1, s);
  s = madd(lowFloats(high), x2, s);
  return madd(highFloats(high), x3, s);
}

function floats8(x: usize, w0: usize, w1: usize, w2: usize, w3: usize, k: i32, group: i32): void {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = k + group; k < end; k += 16) {
    const at = x + (<usize>k << 2);
    const x0 = v128.load(at);
    const x1 = v128.load(at, 16);
    const x2 = v128.load(at, 32);
    const x3 = v128.load(at, 48);
    s0 = add16(v128.load(w0 + <usize>k), x0, x1, x2, x3, s0);
    s1 = add16(v128.load(w1 + <usize>k), x0, x1, x2, x3, s1);
    s2 = add16(v128.load(w2 + <usize>k), x0, x1, x2, x3, s2);
    s3 = add16(v128.load(w3 + <usize>k), x0, x1, x2, x3, s3);
  }
  sum0 = s0;
  sum1 = s1;
  sum2 = s2;
  sum3 = s3;
}

/** The low and the high halves of 16 bytes as codes from -8 to 7. */
// @ts-ignore: decorator
@inline
function lowCodes(bytes: v128): v128 {
  return i8x16.sub(v128.and(bytes, i8x16.splat(15)), i8x16.splat(8));
}
// @ts-ignore: decorator
@inline
function highCodes(bytes: v128): v128 {
  return i8x16.sub(i8x16.shr_u(bytes, 4), i8x16.splat(8));
}

function floats4(x: usize, w0: usize, w1: usize, w2: usize, w3: usize, k: i32, group: i32): void {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = k + group; k < end; k += 32) {
    const at = x + (<usize>k << 2);
    const half = <usize>(k >> 1);
    const b0 = v128.load(w0 + half);
    const b1 = v128.load(w1 + half);
    const b2 = v128.load(w2 + half);
    const b3 = v128.load(w3 + half);
    let x0 = v128.load(at);
    let x1 = v128.load(at, 16);
    let x2 = v128.load(at, 32);
    let x3 = v128.load(at, 48);
    s0 = add16(lowCodes(b0), x0, x1, x2, x3, s0);
    s1 = add16(lowCodes(b1), x0, x1, x2, x3, s1);
    s2 = add16(lowCodes(b2), x0, x1, x2, x3, s2);
    s3 = add16(lowCodes(b3), x0, x1, x2, x3, s3);
    x0 = v128.load(at, 64);
    x1 = v128.load(at, 80);
    x2 = v128.load(at, 96);
    x3 = v128.load(at, 112);
    s0 = add16(highCodes(b0), x0, x1, x2, x3, s0);
    s1 = add16(highCodes(b1), x0, x1, x2, x3, s1);
    s2 = add16(highCodes(b2), x0, x1, x2, x3, s2);
    s3 = add16(highCodes(b3), x0, x1, x2, x3, s3);
  }
  sum0 = s0;
  sum1 = s1;
  sum2 = s2;
  sum3 = s3;
}

/** Σ of 32 signed bytes times 32 i16, in four lanes of i32. */
// @ts-ignore: decorator
@inline
function dot32(low: v128, high: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const a = i32x4.add(i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(low), x0), i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(low), x1));
  const b = i32x4.add(i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(high), x2), i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(high), x3));
  return i32x4.add(a, b);
}

// @ts-ignore: decorator
@inline
function addBlock(whole: v128, step: v128, s: v128): v128 {
  return madd(f32x4.convert_i32x4_s(whole), step, s);
}

function integers8(x: usize, blocks: usize, w0: usize, w1: usize, w2: usize, w3: usize, k: i32, group: i32): void {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = k + group; k < end; k += 32) {
    const at = x + (<usize>k << 1);
    const x0 = v128.load(at);
    const x1 = v128.load(at, 16);
    const x2 = v128.load(at, 32);
    const x3 = v128.load(at, 48);
    const step = v128.load(blocks + <usize>k);
    const from = <usize>k;
    s0 = addBlock(dot32(v128.load(w0 + from), v128.load(w0 + from, 16), x0, x1, x2, x3), step, s0);
    s1 = addBlock(dot32(v128.load(w1 + from), v128.load(w1 + from, 16), x0, x1, x2, x3), step, s1);
    s2 = addBlock(dot32(v128.load(w2 + from), v128.load(w2 + from, 16), x0, x1, x2, x3), step, s2);
    s3 = addBlock(dot32(v128.load(w3 + from), v128.load(w3 + from, 16), x0, x1, x2, x3), step, s3);
  }
  sum0 = s0;
  sum1 = s1;
  sum2 = s2;
  sum3 = s3;
}

/** The same of codes of 4 bits, taken from 0 to 15: 8 times the sum of the integers is taken away again. */
// @ts-ignore: decorator
@inline
function halves32(bytes: v128, x0: v128, x1: v128, x2: v128, x3: v128, excess: v128): v128 {
  return i32x4.sub(dot32(v128.and(bytes, i8x16.splat(15)), i8x16.shr_u(bytes, 4), x0, x1, x2, x3), excess);
}

function integers4(x: usize, blocks: usize, w0: usize, w1: usize, w2: usize, w3: usize, k: i32, group: i32): void {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = k + group; k < end; k += 32) {
    const at = x + (<usize>k << 1);
    const x0 = v128.load(at);
    const x1 = v128.load(at, 16);
    const x2 = v128.load(at, 32);
    const x3 = v128.load(at, 48);
    const step = v128.load(blocks + <usize>k);
    const excess = v128.load(blocks + <usize>k, 16);
    const half = <usize>(k >> 1);
    s0 = addBlock(halves32(v128.load(w0 + half), x0, x1, x2, x3, excess), step, s0);
    s1 = addBlock(halves32(v128.load(w1 + half), x0, x1, x2, x3, excess), step, s1);
    s2 = addBlock(halves32(v128.load(w2 + half), x0, x1, x2, x3, excess), step, s2);
    s3 = addBlock(halves32(v128.load(w3 + half), x0, x1, x2, x3, excess), step, s3);
  }
  sum0 = s0;
  sum1 = s1;
  sum2 = s2;
  sum3 = s3;
}

/** Products of bytes: no pair of them leaves 16 bits, so engines agree. */
// @ts-ignore: decorator
@inline
function bytes32(bytes: v128, low: v128, high: v128, excess: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const zero = i32x4.splat(0);
    const first = i32x4.relaxed_dot_i8x16_i7x16_add_s(low, v128.and(bytes, i8x16.splat(15)), zero);
    return i32x4.sub(i32x4.relaxed_dot_i8x16_i7x16_add_s(high, i8x16.shr_u(bytes, 4), first), excess);
  } else {
    return excess;
  }
}

function bytes4(x: usize, blocks: usize, w0: usize, w1: usize, w2: usize, w3: usize, k: i32, group: i32): void {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  for (const end = k + group; k < end; k += 32) {
    const low = v128.load(x + <usize>k);
    const high = v128.load(x + <usize>k, 16);
    const step = v128.load(blocks + <usize>k);
    const excess = v128.load(blocks + <usize>k, 16);
    const half = <usize>(k >> 1);
    s0 = addBlock(bytes32(v128.load(w0 + half), low, high, excess), step, s0);
    s1 = addBlock(bytes32(v128.load(w1 + half), low, high, excess), step, s1);
    s2 = addBlock(bytes32(v128.load(w2 + half), low, high, excess), step, s2);
    s3 = addBlock(bytes32(v128.load(w3 + half), low, high, excess), step, s3);
  }
  sum0 = s0;
  sum1 = s1;
  sum2 = s2;
  sum3 = s3;
}
