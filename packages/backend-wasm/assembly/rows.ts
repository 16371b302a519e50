// What the row kernels share: an exponential for arguments that are not large, sums and extremes of a row of f32,
// conversion of rows to and from f32, copies of bytes, and the ranges of chunks.
import { f16ToF32, f32ToBf16, f32ToF16, f32x4ToBf16, f32x4ToF16, loadBf16x4, loadF16x4 } from "./half";
import { madd, nmadd, sumLanes } from "./simd";

// Dtype numbers of the core that are told apart here.
export const BF16: i32 = 5;
export const F16: i32 = 6;
export const F32: i32 = 7;
export const F64: i32 = 8;

/** First of the `n` units of work that belong to part `chunk` of `chunks`; the last is before `begin(n, chunk + 1)`. */
// @ts-ignore: decorator
@inline
export function begin(n: i32, chunk: i32, chunks: i32): i32 {
  return <i32>((<i64>n * chunk) / chunks);
}

// Constants are read from memory: engines build a vector constant anew at each use, which costs more than a load.
// prettier-ignore
const EXP: usize = memory.data<f32>([
  12582912.0, 1.44269504, 0.693359375, -2.12194440e-4, 0.008290306310233494, 0.041897976560784686, 0.16667636587469106,
  0.4999914918406107, 0.9999997070104983, 1.0, -87.3,
]);

/**
 * exp(x) per lane for x <= 88, 1e-7 relative: 2^n · p(r) with x = n ln 2 + r and p of degree 5. Below -87.3 it gives 0,
 * so that a masked score weighs exactly nothing; NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  const magic = v128.load32_splat(EXP); // 1.5 · 2^23: adding it rounds to an integer in the low bits
  const shifted = madd(x, v128.load32_splat(EXP, 4), magic);
  const n = f32x4.sub(shifted, magic);
  let r = nmadd(n, v128.load32_splat(EXP, 8), x);
  r = nmadd(n, v128.load32_splat(EXP, 12), r);
  let p = madd(r, v128.load32_splat(EXP, 16), v128.load32_splat(EXP, 20));
  p = madd(p, r, v128.load32_splat(EXP, 24));
  p = madd(p, r, v128.load32_splat(EXP, 28));
  p = madd(p, r, v128.load32_splat(EXP, 32));
  p = madd(p, r, v128.load32_splat(EXP, 36));
  const scaled = i32x4.add(p, i32x4.shl(shifted, 23));
  return v128.andnot(scaled, f32x4.lt(x, v128.load32_splat(EXP, 40)));
}

// @ts-ignore: decorator
@inline
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

/** Greatest of `n` numbers, -inf of none. A NaN may be passed over: it shows up in whatever is computed next. */
export function rowMax(x: usize, n: i32): f32 {
  let a = f32x4.splat(-Infinity);
  let b = a;
  let c = a;
  let d = a;
  let i = 0;
  for (; i + 16 <= n; i += 16, x += 64) {
    a = f32x4.pmax(a, v128.load(x));
    b = f32x4.pmax(b, v128.load(x, 16));
    c = f32x4.pmax(c, v128.load(x, 32));
    d = f32x4.pmax(d, v128.load(x, 48));
  }
  for (; i + 4 <= n; i += 4, x += 16) a = f32x4.pmax(a, v128.load(x));
  a = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
  let most = f32x4.extract_lane(a, 0);
  most = pmax1(most, f32x4.extract_lane(a, 1));
  most = pmax1(most, f32x4.extract_lane(a, 2));
  most = pmax1(most, f32x4.extract_lane(a, 3));
  for (; i < n; i++, x += 4) most = pmax1(most, load<f32>(x));
  return most;
}

// @ts-ignore: decorator
@inline
function pmax1(a: f32, b: f32): f32 {
  return a < b ? b : a;
}

/** Sum of exp(x - shift). */
export function rowSumExp(x: usize, n: i32, shift: f32): f32 {
  const s = f32x4.splat(shift);
  let a = f32x4.splat(0);
  let b = a;
  let i = 0;
  for (; i + 8 <= n; i += 8, x += 32) {
    a = f32x4.add(a, exp4(f32x4.sub(v128.load(x), s)));
    b = f32x4.add(b, exp4(f32x4.sub(v128.load(x, 16), s)));
  }
  let sum = sumLanes(f32x4.add(a, b));
  for (; i < n; i++, x += 4) sum += exp1(load<f32>(x) - shift);
  return sum;
}

export function rowSum(x: usize, n: i32): f32 {
  let a = f32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let i = 0;
  for (; i + 16 <= n; i += 16, x += 64) {
    a = f32x4.add(a, v128.load(x));
    b = f32x4.add(b, v128.load(x, 16));
    c = f32x4.add(c, v128.load(x, 32));
    d = f32x4.add(d, v128.load(x, 48));
  }
  let sum = sumLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; i < n; i++, x += 4) sum += load<f32>(x);
  return sum;
}

export function rowDot(x: usize, y: usize, n: i32): f32 {
  let a = f32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let i = 0;
  for (; i + 16 <= n; i += 16, x += 64, y += 64) {
    a = madd(v128.load(x), v128.load(y), a);
    b = madd(v128.load(x, 16), v128.load(y, 16), b);
    c = madd(v128.load(x, 32), v128.load(y, 32), c);
    d = madd(v128.load(x, 48), v128.load(y, 48), d);
  }
  for (; i + 4 <= n; i += 4, x += 16, y += 16) a = madd(v128.load(x), v128.load(y), a);
  let sum = sumLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; i < n; i++, x += 4, y += 4) sum += load<f32>(x) * load<f32>(y);
  return sum;
}

/** Sum of (x - mean)². */
export function rowSquares(x: usize, n: i32, mean: f32): f32 {
  const m = f32x4.splat(mean);
  let a = f32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let i = 0;
  for (; i + 16 <= n; i += 16, x += 64) {
    const p = f32x4.sub(v128.load(x), m);
    const q = f32x4.sub(v128.load(x, 16), m);
    const r = f32x4.sub(v128.load(x, 32), m);
    const s = f32x4.sub(v128.load(x, 48), m);
    a = madd(p, p, a);
    b = madd(q, q, b);
    c = madd(r, r, c);
    d = madd(s, s, d);
  }
  let sum = sumLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; i < n; i++, x += 4) {
    const p = load<f32>(x) - mean;
    sum += p * p;
  }
  return sum;
}

/** The row as f32: itself, or converted into `buffer`. */
export function rowIn(dtype: i32, x: usize, n: i32, buffer: usize): usize {
  if (dtype == F32) return x;
  toF32(dtype, x, n, buffer);
  return buffer;
}

/** Where to write a row of f32: in place, or in `buffer` until `rowDone`. */
// @ts-ignore: decorator
@inline
export function rowOut(dtype: i32, y: usize, buffer: usize): usize {
  return dtype == F32 ? y : buffer;
}

export function rowDone(dtype: i32, y: usize, n: i32, buffer: usize): void {
  if (dtype != F32) fromF32(dtype, buffer, n, y);
}

/** Widens n numbers of bf16 or f16 (or copies f32). */
export function toF32(dtype: i32, from: usize, n: i32, to: usize): void {
  let i = 0;
  if (dtype == F32) {
    copyBytes(to, from, <usize>n << 2);
  } else if (dtype == BF16) {
    for (; i + 4 <= n; i += 4, from += 8, to += 16) v128.store(to, loadBf16x4(from));
    for (; i < n; i++, from += 2, to += 4) store<u32>(to, <u32>load<u16>(from) << 16);
  } else {
    for (; i + 4 <= n; i += 4, from += 8, to += 16) v128.store(to, loadF16x4(from));
    for (; i < n; i++, from += 2, to += 4) store<f32>(to, f16ToF32(load<u16>(from)));
  }
}

/** Rounds n numbers to bf16 or f16 (or copies f32). */
export function fromF32(dtype: i32, from: usize, n: i32, to: usize): void {
  let i = 0;
  if (dtype == F32) {
    copyBytes(to, from, <usize>n << 2);
  } else if (dtype == BF16) {
    for (; i + 4 <= n; i += 4, from += 16, to += 8) storeLow(to, f32x4ToBf16(v128.load(from)));
    for (; i < n; i++, from += 4, to += 2) store<u16>(to, <u16>f32ToBf16(load<f32>(from)));
  } else {
    for (; i + 4 <= n; i += 4, from += 16, to += 8) storeLow(to, f32x4ToF16(v128.load(from)));
    for (; i < n; i++, from += 4, to += 2) store<u16>(to, <u16>f32ToF16(load<f32>(from)));
  }
}

// @ts-ignore: decorator
@inline
function storeLow(to: usize, v: v128): void {
  v128.store64_lane(to, i16x8.narrow_i32x4_u(v, v), 0);
}

/** Bytes of one number. */
// @ts-ignore: decorator
@inline
export function widthOf(dtype: i32): i32 {
  return dtype <= 2 ? 1 : dtype <= 4 ? 4 : dtype <= 6 ? 2 : dtype == F32 ? 4 : 8;
}

/** Copies bytes between places that do not overlap. Short rows are the common case, so no call for those. */
// @ts-ignore: decorator
@inline
export function copyBytes(to: usize, from: usize, bytes: usize): void {
  if (bytes > 1024) {
    memory.copy(to, from, bytes);
  } else {
    const end = from + bytes;
    for (; from + 16 <= end; from += 16, to += 16) v128.store(to, v128.load(from));
    for (; from + 4 <= end; from += 4, to += 4) store<u32>(to, load<u32>(from));
    for (; from < end; from++, to++) store<u8>(to, load<u8>(from));
  }
}
