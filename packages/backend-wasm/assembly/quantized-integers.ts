// The rows of quantized-thin.ts whose x was taken in integers: codes and integers are multiplied and added without an error,
// 32 at a time, and each such sum counts scale · step. Two walks through the codes, from the first row and from the middle.
import { loadBf16x4, loadF16x4 } from "./half";
import { word } from "./matmul";
import { partAt } from "./quantized-codes";
import { BYTES_4, INTEGERS_4, INTEGERS_8, sizeOfX, up16 } from "./quantized-rows";
import { madd, sumLanes } from "./simd";

const F16 = 6;
const F32 = 7;

/** Results of the rows of codes from `first` to below `last`, for all rows of x. */
export function integerRows(how: i32, args: usize, first: i32, last: i32, scratch: usize): void {
  if (how == INTEGERS_8) walk(INTEGERS_8, args, first, last, scratch);
  else if (how == INTEGERS_4) walk(INTEGERS_4, args, first, last, scratch);
  else walk(BYTES_4, args, first, last, scratch);
}

// @ts-ignore: decorator
@inline
function walk(how: i32, args: usize, first: i32, last: i32, scratch: usize): void {
  const half = (last - first + 1) >> 1;
  for (let n = first; n < first + half; n++) {
    // An odd row in the middle is done twice.
    const far = n + half < last ? n + half : n;
    for (let row = 0; row < word(args, 5); row++) pair(how, args, row, n, far, scratch);
  }
}

let added0: f32 = 0;
let added1: f32 = 0;

/**
 * scale · step of each block of rows n and m to `to` and `other` behind it. Results of `added`: what mins, and codes that were
 * taken 8 too large, add to the products.
 */
function combine(args: usize, x: usize, n: i32, m: i32, to: usize, other: usize): void {
  const K = word(args, 7);
  const per = word(args, 8) >> 5;
  const is4 = word(args, 9) == 4;
  const blocks = K >> 5;
  const scales = load<usize>(args, 8);
  const sums = x + up16(K * sizeOfX(word(args, 9), word(args, 12)));
  const steps = sums + up16(K >> 3);
  if (blocks & 3 || (per != 1 && per & 3)) {
    added0 = combineAny(args, n, to, sums, steps);
    added1 = combineAny(args, m, to + other, sums, steps);
    return;
  }
  const groups = blocks / per;
  const dtype = word(args, 10);
  const mins = load<usize>(args, 12);
  // Two sums in turn for each row, so that one addition need not wait for the other.
  let s = i32x4.splat(0);
  let t = s;
  let lastS = s;
  let lastT = s;
  for (let b = 0; b < blocks; b += 4) {
    const at = <usize>b << 2;
    const c = parts4(dtype, scales, n * groups, b, per);
    const d = parts4(dtype, scales, m * groups, b, per);
    const step = v128.load(steps + at);
    v128.store(to + at, f32x4.mul(c, step));
    v128.store(to + other + at, f32x4.mul(d, step));
    if (!is4) continue;
    const sum = v128.load(sums + at);
    const nextS = madd(c, sum, lastS);
    const nextT = madd(d, sum, lastT);
    lastS = s;
    lastT = t;
    s = nextS;
    t = nextT;
  }
  added0 = -8 * sumLanes(f32x4.add(s, lastS));
  added1 = -8 * sumLanes(f32x4.add(t, lastT));
  if (!mins) return;
  s = i32x4.splat(0);
  t = s;
  for (let b = 0; b < blocks; b += 4) {
    const sum = v128.load(sums + (<usize>b << 2));
    s = madd(parts4(word(args, 11), mins, n * groups, b, per), sum, s);
    t = madd(parts4(word(args, 11), mins, m * groups, b, per), sum, t);
  }
  added0 += sumLanes(s);
  added1 += sumLanes(t);
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

/** The same of one row, whatever its groups and dtypes. */
function combineAny(args: usize, n: i32, to: usize, sums: usize, steps: usize): f32 {
  const per = word(args, 8) >> 5;
  const blocks = word(args, 7) >> 5;
  const mins = load<usize>(args, 12);
  const is4 = word(args, 9) == 4;
  let sum: f32 = 0;
  let g = n * (blocks / per);
  for (let b = 0; b < blocks; g++) {
    const scale = partAt(word(args, 10), load<usize>(args, 8), g);
    const least: f32 = (is4 ? -8 * scale : 0) + (mins ? partAt(word(args, 11), mins, g) : 0);
    for (const end = b + per; b < end; b++) {
      const at = <usize>b << 2;
      store<f32>(to + at, scale * load<f32>(steps + at));
      sum += least * load<f32>(sums + at);
    }
  }
  return sum;
}

/** Results n and m of one row of x. */
// @ts-ignore: decorator
@inline
function pair(how: i32, args: usize, row: i32, n: i32, m: i32, scratch: usize): void {
  const K = word(args, 7);
  const blocks = K >> 5;
  let x = load<usize>(args) + <usize>row * <usize>word(args, 13);
  let scales = scratch;
  const other = up16(K >> 3);
  combine(args, x, n, m, scales, other);
  const least0 = added0;
  const least1 = added1;
  const bytes = how == INTEGERS_8 ? 32 : 16;
  const stride = <usize>blocks * bytes;
  let w = load<usize>(args, 4) + <usize>n * stride;
  const far = <usize>(m - n) * stride;
  const k0 = v128.load32_splat(how == INTEGERS_4 ? MASKS + 4 : MASKS);
  const k1 = v128.load32_splat(MASKS, 8);
  const k2 = v128.load32_splat(MASKS, 12);
  let s = i32x4.splat(0);
  let t = s;
  for (let b = 0; b < blocks; b++, w += bytes, scales += 4) {
    let p: v128;
    let q: v128;
    if (how == INTEGERS_8) {
      let y = v128.load(x);
      p = i32x4.dot_i16x8_s(v128.load8x8_s(w), y);
      q = i32x4.dot_i16x8_s(v128.load8x8_s(w + far), y);
      y = v128.load(x, 16);
      p = i32x4.add(p, i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), y));
      q = i32x4.add(q, i32x4.dot_i16x8_s(v128.load8x8_s(w + far, 8), y));
      y = v128.load(x, 32);
      p = i32x4.add(p, i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), y));
      q = i32x4.add(q, i32x4.dot_i16x8_s(v128.load8x8_s(w + far, 16), y));
      y = v128.load(x, 48);
      p = i32x4.add(p, i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), y));
      q = i32x4.add(q, i32x4.dot_i16x8_s(v128.load8x8_s(w + far, 24), y));
      x += 64;
    } else if (how == INTEGERS_4) {
      p = halfBytes(v128.load(w), x, k0, k1, k2);
      q = halfBytes(v128.load(w + far), x, k0, k1, k2);
      x += 64;
    } else {
      p = bytePairs(v128.load(w), x, k0);
      q = bytePairs(v128.load(w + far), x, k0);
      x += 32;
    }
    s = madd(f32x4.convert_i32x4_s(p), v128.load32_splat(scales), s);
    t = madd(f32x4.convert_i32x4_s(q), v128.load32_splat(scales + other), t);
  }
  const y = load<usize>(args, 16) + (<usize>(row * word(args, 6)) << 2);
  store<f32>(y + (<usize>n << 2), sumLanes(s) + least0);
  store<f32>(y + (<usize>m << 2), sumLanes(t) + least1);
}

// Constants are read from memory: see half.ts.
const MASKS: usize = memory.data<u32>([0x0f0f0f0f, 0x000f000f, 0x00f000f0, 0x0f000f00]);

/** Σ of 32 codes, from 0 to 15, times 32 i16. Half bytes 1 and 2 of a lane are left where they are, 16 and 256 times too large. */
// @ts-ignore: decorator
@inline
function halfBytes(codes: v128, x: usize, k0: v128, k1: v128, k2: v128): v128 {
  const a = i32x4.dot_i16x8_s(v128.and(codes, k0), v128.load(x));
  const b = i32x4.dot_i16x8_s(v128.and(codes, k1), v128.load(x, 16));
  const c = i32x4.dot_i16x8_s(v128.and(codes, k2), v128.load(x, 32));
  const d = i32x4.dot_i16x8_s(i16x8.shr_u(codes, 12), v128.load(x, 48));
  return i32x4.add(i32x4.add(a, d), i32x4.shr_s(i32x4.add(b, i32x4.shr_s(c, 4)), 4));
}

/** The same times 32 i8. No sum of these products leaves 16 bits and no code has its highest bit, so that engines agree. */
// @ts-ignore: decorator
@inline
function bytePairs(codes: v128, x: usize, mask: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const a = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load(x), v128.and(codes, mask));
    const b = i16x8.relaxed_dot_i8x16_i7x16_s(v128.load(x, 16), v128.and(i16x8.shr_u(codes, 4), mask));
    return i32x4.extadd_pairwise_i16x8_s(i16x8.add(a, b));
  } else {
    return codes;
  }
}
