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
// Codes are taken apart by shifts of whole lanes, so that numbers stand in the order in which codes come out (`placeOf`).
import { cut, word } from "./matmul";
import { load1 } from "./matmul-pack";
import { codeAt, codes8, highFloats, lowFloats, partAt } from "./quantized-codes";
import { madd, sumLanes } from "./simd";

const BF16 = 5;
const F16 = 6;
const F32 = 7;
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

/** How codes meet numbers: see `block`. */
const FLOATS_8 = 0;
const FLOATS_4 = 1;
const INTEGERS_8 = 2;
const INTEGERS_4 = 3;
const BYTES_4 = 4;
/** Groups that are no whole blocks. */
const MIXED = 5;

function howOf(bits: i32, group: i32, largest: i32): i32 {
  if (largest != 0) return bits == 8 ? INTEGERS_8 : byBytes(bits, largest) ? BYTES_4 : INTEGERS_4;
  return group & 31 ? MIXED : bits == 8 ? FLOATS_8 : FLOATS_4;
}

/** Place of number k in a prepared row whose codes meet it as `how` says. */
function placeOf(how: i32, k: i32): i32 {
  switch (how) {
    case FLOATS_8: // byte j of lane l
      return (k & ~15) | ((k & 3) << 2) | ((k >> 2) & 3);
    case FLOATS_4: // half byte j of lane l
      return (k & ~31) | ((k & 7) << 2) | ((k >> 3) & 3);
    case INTEGERS_4: // half byte j of lane l, of 16 bits
      return (k & ~31) | ((k & 3) << 3) | ((k >> 2) & 7);
    case BYTES_4: // low halves, then high ones
      return (k & ~31) | ((k & 1) << 4) | ((k >> 1) & 15);
    default:
      return k;
  }
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
  const how = howOf(bits, group, largest);
  const sums = dst + up16(K * sizeOfX(bits, largest));
  if (largest == 0) {
    for (let g = 0; g * group < K; g++) {
      let sum: f32 = 0;
      for (let k = g * group; k < (g + 1) * group; k++) {
        const x = numberAt(dtype, src, k);
        sum += x;
        store<f32>(dst + (<usize>placeOf(how, k) << 2), x);
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
      const at = <usize>placeOf(how, i);
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
  switch (howOf(word(args, 9), word(args, 8), word(args, 12))) {
    case FLOATS_8:
      return sweep(FLOATS_8, args, x, w0, w1, w2, w3, n, count, y);
    case FLOATS_4:
      return sweep(FLOATS_4, args, x, w0, w1, w2, w3, n, count, y);
    case INTEGERS_8:
      return sweep(INTEGERS_8, args, x, w0, w1, w2, w3, n, count, y);
    case INTEGERS_4:
      return sweep(INTEGERS_4, args, x, w0, w1, w2, w3, n, count, y);
    case BYTES_4:
      return sweep(BYTES_4, args, x, w0, w1, w2, w3, n, count, y);
    default:
      return sweep(MIXED, args, x, w0, w1, w2, w3, n, count, y);
  }
}

/** y[n .. n + 3] = Σ over groups of scale · (codes · x): one pass over four rows of codes. */
// @ts-ignore: decorator
@inline
function sweep(
  how: i32, args: usize, x: usize, w0: usize, w1: usize, w2: usize, w3: usize, n: i32, count: i32, y: usize,
): void {
  const K = word(args, 7);
  const group = word(args, 8);
  const bits = word(args, 9);
  const dtype = word(args, 10);
  const groups = K / group;
  const scales = load<usize>(args, 8);
  const sums = x + up16(K * sizeOfX(bits, word(args, 12)));
  const blocks = sums + up16(groups * 4);
  const p0 = n * groups;
  const p1 = count > 1 ? p0 + groups : p0;
  const p2 = count > 2 ? p0 + 2 * groups : p0;
  const p3 = count > 3 ? p0 + 3 * groups : p0;
  let t0 = i32x4.splat(0);
  let t1 = t0;
  let t2 = t0;
  let t3 = t0;
  let k = 0;
  for (let g = 0; g < groups; g++) {
    let s0 = i32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    if (how == MIXED) {
      s0 = mixed(bits, x, w0, k, group);
      s1 = mixed(bits, x, w1, k, group);
      s2 = mixed(bits, x, w2, k, group);
      s3 = mixed(bits, x, w3, k, group);
      k += group;
    } else {
      for (const end = k + group; k < end; k += how == FLOATS_8 ? 16 : 32) {
        const size = how <= FLOATS_4 ? 2 : how == BYTES_4 ? 0 : 1;
        const at = x + (<usize>k << size);
        const from = <usize>(how == FLOATS_8 || how == INTEGERS_8 ? k : k >> 1);
        const x0 = v128.load(at);
        const x1 = v128.load(at, 16);
        const x2 = how == BYTES_4 ? x0 : v128.load(at, 32);
        const x3 = how == BYTES_4 ? x1 : v128.load(at, 48);
        const step = how <= FLOATS_4 ? x0 : v128.load(blocks + <usize>k);
        const excess = how <= INTEGERS_8 ? x0 : v128.load(blocks + <usize>k, 16);
        s0 = block(how, w0 + from, x0, x1, x2, x3, at, step, excess, s0);
        s1 = block(how, w1 + from, x0, x1, x2, x3, at, step, excess, s1);
        s2 = block(how, w2 + from, x0, x1, x2, x3, at, step, excess, s2);
        s3 = block(how, w3 + from, x0, x1, x2, x3, at, step, excess, s3);
      }
    }
    if (dtype == F32) {
      const at = scales + (<usize>g << 2);
      t0 = madd(s0, v128.load32_splat(at + (<usize>p0 << 2)), t0);
      t1 = madd(s1, v128.load32_splat(at + (<usize>p1 << 2)), t1);
      t2 = madd(s2, v128.load32_splat(at + (<usize>p2 << 2)), t2);
      t3 = madd(s3, v128.load32_splat(at + (<usize>p3 << 2)), t3);
    } else {
      t0 = madd(s0, f32x4.splat(partAt(dtype, scales, p0 + g)), t0);
      t1 = madd(s1, f32x4.splat(partAt(dtype, scales, p1 + g)), t1);
      t2 = madd(s2, f32x4.splat(partAt(dtype, scales, p2 + g)), t2);
      t3 = madd(s3, f32x4.splat(partAt(dtype, scales, p3 + g)), t3);
    }
  }
  keep(args, sums, groups, p0, sumLanes(t0), y);
  if (count > 1) keep(args, sums, groups, p1, sumLanes(t1), y + 4);
  if (count > 2) keep(args, sums, groups, p2, sumLanes(t2), y + 8);
  if (count > 3) keep(args, sums, groups, p3, sumLanes(t3), y + 12);
}

/** s + the products of one row's codes at `w` with the numbers: 16 codes of 8 bits beside floats, else 32. */
// @ts-ignore: decorator
@inline
function block(
  how: i32, w: usize, x0: v128, x1: v128, x2: v128, x3: v128, at: usize, step: v128, excess: v128, s: v128,
): v128 {
  const codes = v128.load(w);
  if (how == FLOATS_8) return floats8(codes, x0, x1, x2, x3, s);
  if (how == FLOATS_4) return floats4(codes, x0, x1, x2, x3, at, s);
  if (how == INTEGERS_8) return addBlock(integers8(codes, v128.load(w, 16), x0, x1, x2, x3), step, s);
  if (how == INTEGERS_4) return addBlock(integers4(codes, x0, x1, x2, x3, excess), step, s);
  return addBlock(bytes4(codes, x0, x1, excess), step, s);
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

// Constants are read from memory: see half.ts.
const MASKS: usize = memory.data<u32>([0x0f0f0f0f, 0x000f000f, 0x88888888]);

/** s + the signed byte or half byte that a shift of `bits` to the left brings to the top of each lane, times x. */
// @ts-ignore: decorator
@inline
function addPart(codes: v128, left: i32, right: i32, x: v128, s: v128): v128 {
  return madd(f32x4.convert_i32x4_s(i32x4.shr_s(left ? i32x4.shl(codes, left) : codes, right)), x, s);
}

// @ts-ignore: decorator
@inline
function floats8(codes: v128, x0: v128, x1: v128, x2: v128, x3: v128, s: v128): v128 {
  s = addPart(codes, 24, 24, x0, s);
  s = addPart(codes, 16, 24, x1, s);
  s = addPart(codes, 8, 24, x2, s);
  return addPart(codes, 0, 24, x3, s);
}

/** With their highest bit turned over, codes from 0 to 15 are those from -8 to 7 in two's complement. */
// @ts-ignore: decorator
@inline
function floats4(bytes: v128, x0: v128, x1: v128, x2: v128, x3: v128, at: usize, s: v128): v128 {
  const codes = v128.xor(bytes, v128.load32_splat(MASKS + 8));
  s = addPart(codes, 28, 28, x0, s);
  s = addPart(codes, 24, 28, x1, s);
  s = addPart(codes, 20, 28, x2, s);
  s = addPart(codes, 16, 28, x3, s);
  s = addPart(codes, 12, 28, v128.load(at, 64), s);
  s = addPart(codes, 8, 28, v128.load(at, 80), s);
  s = addPart(codes, 4, 28, v128.load(at, 96), s);
  return addPart(codes, 0, 28, v128.load(at, 112), s);
}

/** Σ of 32 signed bytes times 32 i16, in four lanes of i32. */
// @ts-ignore: decorator
@inline
function integers8(low: v128, high: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const a = i32x4.add(i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(low), x0), i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(low), x1));
  const b = i32x4.add(i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(high), x2), i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(high), x3));
  return i32x4.add(a, b);
}

/** The same of codes of 4 bits, taken from 0 to 15: 8 times the sum of the integers is taken away again. */
// @ts-ignore: decorator
@inline
function integers4(bytes: v128, x0: v128, x1: v128, x2: v128, x3: v128, excess: v128): v128 {
  const mask = v128.load32_splat(MASKS + 4);
  const a = i32x4.dot_i16x8_s(v128.and(bytes, mask), x0);
  const b = i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(bytes, 4), mask), x1);
  const c = i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(bytes, 8), mask), x2);
  const d = i32x4.dot_i16x8_s(i16x8.shr_u(bytes, 12), x3);
  return i32x4.sub(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)), excess);
}

/** The same by products of bytes: no sum of them leaves 16 bits, so that engines agree. */
// @ts-ignore: decorator
@inline
function bytes4(bytes: v128, low: v128, high: v128, excess: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const mask = v128.load32_splat(MASKS);
    const a = i16x8.relaxed_dot_i8x16_i7x16_s(low, v128.and(bytes, mask));
    const b = i16x8.relaxed_dot_i8x16_i7x16_s(high, v128.and(i16x8.shr_u(bytes, 4), mask));
    return i32x4.sub(i32x4.extadd_pairwise_i16x8_s(i16x8.add(a, b)), excess);
  } else {
    return excess;
  }
}

// @ts-ignore: decorator
@inline
function addBlock(whole: v128, step: v128, s: v128): v128 {
  return madd(f32x4.convert_i32x4_s(whole), step, s);
}
