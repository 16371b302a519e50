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
  const how = howOf(word(args, 9), word(args, 8), word(args, 12));
  const stride = <usize>(word(args, 9) == 4 ? K >> 1 : K);
  const last = cut(N, chunk + 1, chunks);
  for (let n = cut(N, chunk, chunks); n < last; n++) {
    // One row of codes after the other, as they lie: engines of memory fetch ahead of a single walk.
    const codes = load<usize>(args, 4) + <usize>n * stride;
    for (let row = 0; row < rows; row++) {
      const x = load<usize>(args) + <usize>row * <usize>word(args, 13);
      const y = load<usize>(args, 16) + (<usize>(row * N + n) << 2);
      switch (how) {
        case FLOATS_8:
          sweep(FLOATS_8, args, x, codes, n, y);
          break;
        case FLOATS_4:
          sweep(FLOATS_4, args, x, codes, n, y);
          break;
        case INTEGERS_8:
          sweep(INTEGERS_8, args, x, codes, n, y);
          break;
        case INTEGERS_4:
          sweep(INTEGERS_4, args, x, codes, n, y);
          break;
        case BYTES_4:
          sweep(BYTES_4, args, x, codes, n, y);
          break;
        default:
          sweep(MIXED, args, x, codes, n, y);
      }
    }
  }
}

/** Bytes of 32 codes, and those of a number as a power of two. */
// @ts-ignore: decorator
@inline
function bytesOf32(how: i32): usize {
  return how == FLOATS_8 || how == INTEGERS_8 ? 32 : 16;
}
// @ts-ignore: decorator
@inline
function shiftOf(how: i32): usize {
  return how <= FLOATS_4 ? 2 : how == BYTES_4 ? 0 : 1;
}

/** The products of 32 codes with their numbers. */
// @ts-ignore: decorator
@inline
function whole32(how: i32, w: usize, x: usize, at: usize): v128 {
  const s = block(how, w, x, at, i32x4.splat(0));
  return how == FLOATS_8 ? f32x4.add(s, block(how, w + 16, x + 64, at, i32x4.splat(0))) : s;
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
  const sums = x + up16(K * sizeOfX(bits, word(args, 12)));
  const blocks = sums + up16(groups * 4);
  let total = i32x4.splat(0);
  let k = 0;
  let g = 0;
  if (how != MIXED && group == BLOCK && dtype == F32) {
    // The usual group, two at a time.
    let atX = x;
    let atBlock = blocks;
    let atScale = scales + (<usize>parts << 2);
    for (; g + 2 <= groups; g += 2) {
      const s = whole32(how, codes, atX, atBlock);
      const t = whole32(how, codes + bytesOf32(how), atX + (32 << shiftOf(how)), atBlock + 32);
      total = madd(t, v128.load32_splat(atScale, 4), madd(s, v128.load32_splat(atScale), total));
      codes += 2 * bytesOf32(how);
      atX += 64 << shiftOf(how);
      atBlock += 64;
      atScale += 8;
    }
    k = g << 5;
    codes -= how == FLOATS_8 || how == INTEGERS_8 ? k : k >> 1;
  }
  for (; g < groups; g++) {
    let s = i32x4.splat(0);
    if (how == MIXED) {
      s = mixed(bits, x, codes, k, group);
      k += group;
    } else {
      for (const end = k + group; k < end; k += how == FLOATS_8 ? 16 : 32) {
        s = block(how, codes + <usize>(how == FLOATS_8 || how == INTEGERS_8 ? k : k >> 1), x + (<usize>k << shiftOf(how)), blocks + <usize>k, s);
      }
    }
    const scale = dtype == F32 ? v128.load32_splat(scales + (<usize>(parts + g) << 2)) : f32x4.splat(partAt(dtype, scales, parts + g));
    total = madd(s, scale, total);
  }
  let result = sumLanes(total);
  const mins = load<usize>(args, 12);
  if (mins) {
    for (let g = 0; g < groups; g++) result += partAt(word(args, 11), mins, parts + g) * load<f32>(sums + (<usize>g << 2));
  }
  store<f32>(y, result);
}

/** s + the products of codes at `w` with the numbers at `x`: 16 codes of 8 bits beside floats, else 32. */
// @ts-ignore: decorator
@inline
function block(how: i32, w: usize, x: usize, at: usize, s: v128): v128 {
  const codes = v128.load(w);
  if (how == FLOATS_8) return floats8(codes, x, s);
  if (how == FLOATS_4) return floats4(codes, x, s);
  const whole = how == INTEGERS_8 ? integers8(codes, v128.load(w, 16), x) : how == INTEGERS_4 ? integers4(codes, x) : bytes4(codes, x);
  // Codes of 4 bits were taken from 0 to 15.
  const exact = how == INTEGERS_8 ? whole : i32x4.sub(whole, v128.load(at, 16));
  return madd(f32x4.convert_i32x4_s(exact), v128.load(at), s);
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
function floats8(codes: v128, x: usize, s: v128): v128 {
  let t = addPart(codes, 24, 24, v128.load(x), i32x4.splat(0));
  s = addPart(codes, 16, 24, v128.load(x, 16), s);
  t = addPart(codes, 8, 24, v128.load(x, 32), t);
  return f32x4.add(t, addPart(codes, 0, 24, v128.load(x, 48), s));
}

/** With their highest bit turned over, codes from 0 to 15 are those from -8 to 7 in two's complement. */
// @ts-ignore: decorator
@inline
function floats4(bytes: v128, x: usize, s: v128): v128 {
  const codes = v128.xor(bytes, v128.load32_splat(MASKS + 8));
  let t = addPart(codes, 28, 28, v128.load(x), i32x4.splat(0));
  s = addPart(codes, 24, 28, v128.load(x, 16), s);
  t = addPart(codes, 20, 28, v128.load(x, 32), t);
  s = addPart(codes, 16, 28, v128.load(x, 48), s);
  t = addPart(codes, 12, 28, v128.load(x, 64), t);
  s = addPart(codes, 8, 28, v128.load(x, 80), s);
  t = addPart(codes, 4, 28, v128.load(x, 96), t);
  return f32x4.add(t, addPart(codes, 0, 28, v128.load(x, 112), s));
}

/** Σ of 32 signed bytes times 32 i16, in four lanes of i32. */
// @ts-ignore: decorator
@inline
function integers8(low: v128, high: v128, x: usize): v128 {
  const a = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(low), v128.load(x));
  const b = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(low), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(high), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(high), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
}

/** The same of codes of 4 bits, taken from 0 to 15. */
// @ts-ignore: decorator
@inline
function integers4(bytes: v128, x: usize): v128 {
  const mask = v128.load32_splat(MASKS + 4);
  const a = i32x4.dot_i16x8_s(v128.and(bytes, mask), v128.load(x));
  const b = i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(bytes, 4), mask), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(v128.and(i16x8.shr_u(bytes, 8), mask), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(i16x8.shr_u(bytes, 12), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
}

/** The same by products of bytes: no sum of them leaves 16 bits, so that engines agree. */
// @ts-ignore: decorator
@inline
function bytes4(bytes: v128, x: usize): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const mask = v128.load32_splat(MASKS);
    const a = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load(x), v128.and(bytes, mask));
    const b = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load(x, 16), v128.and(i16x8.shr_u(bytes, 4), mask));
    return i32x4.extadd_pairwise_i16x8_s(i16x8.add(a, b));
  } else {
    return bytes;
  }
}
