// Functions of four f32 at once. Each reduces its argument to a short interval and evaluates a minimax polynomial there:
// the coefficients were found for this file with Remez exchange on the relative error (E. Remez 1934), in 40 digits.
// Argument reduction is by Cody and Waite, "Software Manual for the Elementary Functions", 1980, or goes through f64.
// Measured errors in units of the last place over all of f32 are printed by scripts/accuracy.mjs.
// Constants are read from memory: engines build a vector constant anew at each use, which costs more than a load.
import { madd, nmadd } from "./simd";

// @ts-ignore: decorator
@inline
function k(table: usize, at: usize): v128 {
  return v128.load32_splat(table + at);
}

// @ts-ignore: decorator
@inline
function k64(table: usize, at: usize): v128 {
  return v128.load64_splat(table + at);
}

// @ts-ignore: decorator
@inline
function signOf(x: v128): v128 {
  return v128.and(x, i32x4.splat(0x80000000));
}

/** 0 magic 1.5 · 2^23, 4 log2 e, 8 ln 2 high, 12 ln 2 low, 16 lowest and 20 highest argument, 24 1.0; then the q of e^r = 1 + r + r² q(r). */
// prettier-ignore
const EXP: usize = memory.data<f32>([
  12582912.0, 1.44269504, 0.693359375, -2.12194440e-4, -104.5, 89.0, 1.0,
  0.49999993432, 0.16666520395, 0.041668390814, 0.0083687454843, 0.00138145404,
]);

/** e^x - 1 on the reduced interval. */
// @ts-ignore: decorator
@inline
function expTail(r: v128): v128 {
  let q = madd(r, k(EXP, 44), k(EXP, 40));
  q = madd(q, r, k(EXP, 36));
  q = madd(q, r, k(EXP, 32));
  q = madd(q, r, k(EXP, 28));
  return madd(f32x4.mul(r, r), q, r);
}

/** e^x: 2^n · e^r with x = n ln 2 + r; 2^n in two factors, so that subnormal results are rounded once. */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  x = f32x4.pmax(f32x4.pmin(x, k(EXP, 20)), k(EXP, 16)); // in this order of operands NaN stays
  const magic = k(EXP, 0);
  const shifted = madd(x, k(EXP, 4), magic);
  const n = f32x4.sub(shifted, magic);
  const r = nmadd(n, k(EXP, 12), nmadd(n, k(EXP, 8), x));
  const one = k(EXP, 24);
  const p = f32x4.add(one, expTail(r));
  const whole = i32x4.sub(shifted, magic);
  const half = i32x4.shr_s(whole, 1);
  const a = i32x4.add(i32x4.shl(half, 23), one);
  const b = i32x4.add(i32x4.shl(i32x4.sub(whole, half), 23), one);
  return f32x4.mul(f32x4.mul(p, a), b);
}

/** e^x for |x| <= 87. */
// @ts-ignore: decorator
@inline
function expMiddle(x: v128): v128 {
  const magic = k(EXP, 0);
  const shifted = madd(x, k(EXP, 4), magic);
  const n = f32x4.sub(shifted, magic);
  const r = nmadd(n, k(EXP, 12), nmadd(n, k(EXP, 8), x));
  const one = k(EXP, 24);
  return f32x4.mul(f32x4.add(one, expTail(r)), i32x4.add(i32x4.shl(shifted, 23), one));
}

/** 0 lowest argument, 4 below which e^x - 1 is x, 8 0.5, 12 2.0; then q of degree 5. */
// prettier-ignore
const EXPM1: usize = memory.data<f32>([
  -20.0, 1e-8, 0.5, 2.0,
  0.5000000021, 0.16666664157, 0.041666396321, 0.0083338435384, 0.001393946964, 0.00019622177742,
]);

/** e^x - 1 = 2^n · (e^r - 1) + (2^n - 1), with the rounding error of r carried along. */
// @ts-ignore: decorator
@inline
export function expm1x4(x0: v128): v128 {
  const x = f32x4.pmax(f32x4.pmin(x0, k(EXP, 20)), k(EXPM1, 0));
  const magic = k(EXP, 0);
  const shifted = madd(x, k(EXP, 4), magic);
  const n = f32x4.sub(shifted, magic);
  const high = nmadd(n, k(EXP, 8), x);
  const r = nmadd(n, k(EXP, 12), high);
  const rest = nmadd(n, k(EXP, 12), f32x4.sub(high, r));
  let q = madd(r, k(EXPM1, 36), k(EXPM1, 32));
  q = madd(q, r, k(EXPM1, 28));
  q = madd(q, r, k(EXPM1, 24));
  q = madd(q, r, k(EXPM1, 20));
  q = madd(q, r, k(EXPM1, 16));
  const p = f32x4.add(r, madd(f32x4.mul(r, r), q, rest));
  const half = k(EXPM1, 8);
  const s = i32x4.add(i32x4.shl(i32x4.sub(shifted, magic), 23), half); // 2^(n-1)
  const scaled = f32x4.mul(madd(p, s, f32x4.sub(s, half)), k(EXPM1, 12));
  const y = v128.bitselect(p, scaled, f32x4.eq(n, f32x4.splat(0)));
  return v128.bitselect(x0, y, f32x4.lt(f32x4.abs(x0), k(EXPM1, 4)));
}

/** 0 bits of √½, 4 least normal, 8 2^25, 12 25.0, 16 ln 2 high, 20 ln 2 low, 24 0.5, 28 1.0, 32 mantissa bits, 36 infinity; then R of degree 8. */
// prettier-ignore
const LOG: usize = memory.data<u32>([
  0x3f3504f3, 0x00800000, 0x4c000000, 0x41c80000, 0x3f318000, 0xb95e8083, 0x3f000000, 0x3f800000, 0x007fffff, 0x7f800000,
]);
// prettier-ignore
const LOG_R: usize = memory.data<f32>([
  0.33333312605, -0.25000009602, 0.20002118628, -0.1666799578, 0.14219552537, -0.124055896, 0.11888162885, -0.11675650702,
  0.067466375563,
]);

/** log(1 + f) without the leading f: -f²/2 + f³ R(f), plus `low`. */
// @ts-ignore: decorator
@inline
function logTail(f: v128, low: v128): v128 {
  const z = f32x4.mul(f, f);
  let r = madd(f, k(LOG_R, 32), k(LOG_R, 28));
  r = madd(r, f, k(LOG_R, 24));
  r = madd(r, f, k(LOG_R, 20));
  r = madd(r, f, k(LOG_R, 16));
  r = madd(r, f, k(LOG_R, 12));
  r = madd(r, f, k(LOG_R, 8));
  r = madd(r, f, k(LOG_R, 4));
  r = madd(r, f, k(LOG_R, 0));
  const y = madd(f32x4.mul(f, z), r, low);
  return nmadd(z, k(LOG, 24), y);
}

/** log x = k ln 2 + log m with √½ <= m < √2. */
// @ts-ignore: decorator
@inline
export function log4(x: v128): v128 {
  const tiny = f32x4.lt(x, k(LOG, 4));
  const scaled = v128.bitselect(f32x4.mul(x, k(LOG, 8)), x, tiny);
  const from = k(LOG, 0);
  const shifted = i32x4.sub(scaled, from);
  const exponent = f32x4.sub(
    f32x4.convert_i32x4_s(i32x4.shr_s(shifted, 23)),
    v128.and(tiny, k(LOG, 12)),
  );
  const f = f32x4.sub(i32x4.add(v128.and(shifted, k(LOG, 32)), from), k(LOG, 28));
  const tail = logTail(f, f32x4.mul(exponent, k(LOG, 20)));
  let y = madd(exponent, k(LOG, 16), f32x4.add(f, tail));
  // 0 gives -inf, negative numbers NaN, inf itself, NaN itself
  const infinity = k(LOG, 36);
  const zero = f32x4.splat(0);
  y = v128.bitselect(f32x4.neg(infinity), y, f32x4.eq(x, zero));
  y = v128.or(y, f32x4.lt(x, zero));
  return v128.bitselect(y, f32x4.add(x, x), v128.or(f32x4.lt(x, infinity), f32x4.lt(x, zero)));
}

/** log(1 + x): as log of u = 1 + x, where the rounding error of u is put back; for u near 1 of x itself. */
// @ts-ignore: decorator
@inline
export function log1px4(x: v128): v128 {
  const one = k(LOG, 28);
  const u = f32x4.add(one, x);
  const from = k(LOG, 0);
  const shifted = i32x4.sub(u, from);
  const whole = i32x4.shr_s(shifted, 23);
  const exponent = f32x4.convert_i32x4_s(whole);
  const near = i32x4.eq(whole, i32x4.splat(0));
  const m = f32x4.sub(i32x4.add(v128.and(shifted, k(LOG, 32)), from), one);
  const f = v128.bitselect(x, m, near);
  // 1 + x - u, exact: the smaller of the two is subtracted last
  const large = f32x4.gt(x, one);
  const lost = f32x4.sub(v128.bitselect(one, x, large), f32x4.sub(u, v128.bitselect(x, one, large)));
  const back = v128.andnot(f32x4.div(lost, u), near);
  const tail = logTail(f, madd(exponent, k(LOG, 20), back));
  let y = madd(exponent, k(LOG, 16), f32x4.add(f, tail));
  const infinity = k(LOG, 36);
  const zero = f32x4.splat(0);
  y = v128.bitselect(f32x4.neg(infinity), y, f32x4.eq(u, zero));
  y = v128.bitselect(y, f32x4.add(x, x), f32x4.lt(x, infinity));
  y = v128.or(y, f32x4.lt(u, zero));
  return v128.bitselect(x, y, f32x4.lt(f32x4.abs(x), k(EXPM1, 4)));
}

/** 0 2/π, 8 π/2 in its first 33 bits, 16 the rest of π/2, 24 magic 1.5 · 2^52. */
// prettier-ignore
const TRIG: usize = memory.data<f64>([0.6366197723675814, 1.57079632673412561417, 6.07710050650619224932e-11, 6755399441055744.0]);
/** 0 largest argument; then S and C of sin r = r + r³ S(r²), cos r = 1 - r²/2 + r⁴ C(r²). */
// prettier-ignore
const SIN_COS: usize = memory.data<f32>([
  1000000.0,
  -0.16666666641, 0.0083333292988, -0.00019839310311, 2.7181028696e-6,
  0.041666645651, -0.0013887314653, 2.4432970414e-5,
]);

// x = n π/2 + r for |x| up to 10^6, in f64: n · (first part) is exact there.
// @ts-ignore: decorator
@inline
function nearest2(x: v128): v128 {
  return f64x2.add(f64x2.mul(x, k64(TRIG, 0)), k64(TRIG, 24));
}

// @ts-ignore: decorator
@inline
function rest2(x: v128, shifted: v128): v128 {
  const n = f64x2.sub(shifted, k64(TRIG, 24));
  return f64x2.sub(f64x2.sub(x, f64x2.mul(n, k64(TRIG, 8))), f64x2.mul(n, k64(TRIG, 16)));
}

// @ts-ignore: decorator
@inline
function highHalf(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i32>(x, x, 2, 3, 2, 3));
}

// @ts-ignore: decorator
@inline
function demote(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 1, 4, 5);
}

/** The sine of x + turns · π/2, |x| <= 10^6. */
// @ts-ignore: decorator
@inline
function sinTurned(x: v128, turns: i32): v128 {
  const low = f64x2.promote_low_f32x4(x);
  const high = highHalf(x);
  const nl = nearest2(low);
  const nh = nearest2(high);
  const r = demote(rest2(low, nl), rest2(high, nh));
  let q = v128.shuffle<i32>(nl, nh, 0, 2, 4, 6);
  if (turns) q = i32x4.add(q, i32x4.splat(turns));
  const z = f32x4.mul(r, r);
  let s = madd(z, k(SIN_COS, 16), k(SIN_COS, 12));
  s = madd(s, z, k(SIN_COS, 8));
  s = madd(s, z, k(SIN_COS, 4));
  s = madd(f32x4.mul(r, z), s, r);
  let c = madd(z, k(SIN_COS, 28), k(SIN_COS, 24));
  c = madd(c, z, k(SIN_COS, 20));
  c = madd(f32x4.mul(z, z), c, nmadd(z, k(LOG, 24), k(LOG, 28)));
  const odd = i32x4.neg(v128.and(q, i32x4.splat(1)));
  return v128.xor(v128.bitselect(c, s, odd), i32x4.shl(v128.and(q, i32x4.splat(2)), 30));
}

// @ts-ignore: decorator
@inline
function isLarge(x: v128): bool {
  return v128.any_true(f32x4.gt(f32x4.abs(x), k(SIN_COS, 0)));
}

/** The lanes of x one after the other in f64, by `which`. */
function lanes(x: v128, which: i32): v128 {
  let y = x;
  y = f32x4.replace_lane(y, 0, lane(f32x4.extract_lane(x, 0), which));
  y = f32x4.replace_lane(y, 1, lane(f32x4.extract_lane(x, 1), which));
  y = f32x4.replace_lane(y, 2, lane(f32x4.extract_lane(x, 2), which));
  return f32x4.replace_lane(y, 3, lane(f32x4.extract_lane(x, 3), which));
}

const SIN = 0;
const COS = 1;
const TAN_LARGE = 2;

function lane(x: f32, which: i32): f32 {
  if (which == SIN) return <f32>NativeMath.sin(x);
  if (which == COS) return <f32>NativeMath.cos(x);
  return <f32>NativeMath.tan(x);
}

// @ts-ignore: decorator
@inline
export function sin4(x: v128): v128 {
  return isLarge(x) ? lanes(x, SIN) : sinTurned(x, 0);
}

// @ts-ignore: decorator
@inline
export function cos4(x: v128): v128 {
  return isLarge(x) ? lanes(x, COS) : sinTurned(x, 1);
}

/** T of tan r = r + r³ T(r²), in f64; 56 is -1. */
// prettier-ignore
const TAN: usize = memory.data<f64>([
  0.3333334982385342675, 0.1333266083793374922, 0.05406021092554756805, 0.02128061700993752863, 0.01084000217293970062,
  0.00008408395222964544887, 0.004379031193989106765, -1.0,
]);

/** tan of two f64, in odd quadrants by -1 / tan r. */
// @ts-ignore: decorator
@inline
function tan2(x: v128): v128 {
  const n = nearest2(x);
  const r = rest2(x, n);
  const z = f64x2.mul(r, r);
  let t = f64x2.add(f64x2.mul(z, k64(TAN, 48)), k64(TAN, 40));
  t = f64x2.add(f64x2.mul(t, z), k64(TAN, 32));
  t = f64x2.add(f64x2.mul(t, z), k64(TAN, 24));
  t = f64x2.add(f64x2.mul(t, z), k64(TAN, 16));
  t = f64x2.add(f64x2.mul(t, z), k64(TAN, 8));
  t = f64x2.add(f64x2.mul(t, z), k64(TAN, 0));
  t = f64x2.add(f64x2.mul(f64x2.mul(r, z), t), r);
  const odd = i64x2.neg(v128.and(n, i64x2.splat(1)));
  return v128.bitselect(f64x2.div(k64(TAN, 56), t), t, odd);
}

// @ts-ignore: decorator
@inline
export function tan4(x: v128): v128 {
  return isLarge(x) ? lanes(x, TAN_LARGE) : demote(tan2(f64x2.promote_low_f32x4(x)), tan2(highHalf(x)));
}

/** 0 end of the polynomial, 4 largest argument; then P of tanh x = x + x³ P(x²). */
// prettier-ignore
const TANH: usize = memory.data<f32>([
  0.625, 10.0,
  -0.33333330803, 0.13333206012, -0.053946763371, 0.021700704243, -0.0081773996342, 0.0021429624196,
]);

/** tanh x = 1 - 2 / (e^2x + 1), and a polynomial for small x. */
// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const a = f32x4.abs(x);
  const z = f32x4.mul(a, a);
  let p = madd(z, k(TANH, 28), k(TANH, 24));
  p = madd(p, z, k(TANH, 20));
  p = madd(p, z, k(TANH, 16));
  p = madd(p, z, k(TANH, 12));
  p = madd(p, z, k(TANH, 8));
  const small = madd(f32x4.mul(a, z), p, a);
  const capped = f32x4.pmin(a, k(TANH, 4));
  const one = k(LOG, 28);
  const e = expMiddle(f32x4.add(capped, capped));
  const large = f32x4.sub(one, f32x4.div(k(EXPM1, 12), f32x4.add(e, one)));
  return v128.or(v128.bitselect(large, small, f32x4.ge(a, k(TANH, 0))), signOf(x));
}

/** σ(x) = 1 / (1 + e^-x), from e^-|x| so that nothing overflows. */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const e = exp4(f32x4.neg(f32x4.abs(x)));
  const one = k(LOG, 28);
  const top = v128.bitselect(e, one, f32x4.lt(x, f32x4.splat(0)));
  return f32x4.div(top, f32x4.add(one, e));
}

/** 0 end of the first interval, 4 largest argument; then Q of erf x = x + x Q(x²), and L of erf x = 1 - e^-L(x). */
// prettier-ignore
const ERF: usize = memory.data<f32>([
  0.9217, 4.0,
  0.12837916664, -0.37612633745, 0.11283695657, -0.026859407466, 0.0052010553722, -0.00081429682788, 8.3712236994e-5,
  -0.0001746825133, 1.129514921, 0.63334692594, 0.10828006743, -0.02511941295, 0.0041710574898, -0.00043446146782,
  2.1094951019e-5,
]);

// @ts-ignore: decorator
@inline
export function erf4(x: v128): v128 {
  const a = f32x4.abs(x);
  const z = f32x4.mul(a, a);
  let q = madd(z, k(ERF, 32), k(ERF, 28));
  q = madd(q, z, k(ERF, 24));
  q = madd(q, z, k(ERF, 20));
  q = madd(q, z, k(ERF, 16));
  q = madd(q, z, k(ERF, 12));
  q = madd(q, z, k(ERF, 8));
  const small = madd(a, q, a);
  const t = f32x4.pmin(a, k(ERF, 4));
  let l = madd(t, k(ERF, 64), k(ERF, 60));
  l = madd(l, t, k(ERF, 56));
  l = madd(l, t, k(ERF, 52));
  l = madd(l, t, k(ERF, 48));
  l = madd(l, t, k(ERF, 44));
  l = madd(l, t, k(ERF, 40));
  l = madd(l, t, k(ERF, 36));
  const large = f32x4.sub(k(LOG, 28), expMiddle(f32x4.neg(l)));
  return v128.or(v128.bitselect(small, large, f32x4.lt(a, k(ERF, 0))), signOf(x));
}

/**
 * 0 end of the first interval of w = -log(1 - x²), 4 and 8 centres of w and √w; then erfinv(x) / x in w - 2.5 and in
 * √w - 3.1. The two intervals are those of M. Giles, "Approximating the erfinv function", GPU Computing Gems, 2011.
 */
// prettier-ignore
const ERFINV: usize = memory.data<f32>([
  5.0, 2.5, 3.1,
  1.5014093535, 0.24664028764, -0.0041773394078, -0.0012527446658, 0.00021828263512, -4.9619095255e-6, -3.4346132833e-6,
  4.6589164976e-7, 1.8037462922e-8, -8.7727933976e-9, 3.3552488503e-10,
  2.9332316694, 1.0033560819, 0.0074603021098, -0.0056956959259, 0.0041187136991, -0.0027196562425, 0.0013294487021,
  -0.00028979505061, -0.0001514815062, 0.00013216154558, -2.6659410602e-5,
]);

export function erfinv4(x: v128): v128 {
  const one = k(LOG, 28);
  const w = f32x4.neg(log4(f32x4.mul(f32x4.sub(one, x), f32x4.add(one, x))));
  const s = f32x4.sub(w, k(ERFINV, 4));
  let p = madd(s, k(ERFINV, 52), k(ERFINV, 48));
  p = madd(p, s, k(ERFINV, 44));
  p = madd(p, s, k(ERFINV, 40));
  p = madd(p, s, k(ERFINV, 36));
  p = madd(p, s, k(ERFINV, 32));
  p = madd(p, s, k(ERFINV, 28));
  p = madd(p, s, k(ERFINV, 24));
  p = madd(p, s, k(ERFINV, 20));
  p = madd(p, s, k(ERFINV, 16));
  p = madd(p, s, k(ERFINV, 12));
  const far = f32x4.ge(w, k(ERFINV, 0));
  if (v128.any_true(far)) {
    const t = f32x4.sub(f32x4.sqrt(w), k(ERFINV, 8));
    let q = madd(t, k(ERFINV, 96), k(ERFINV, 92));
    q = madd(q, t, k(ERFINV, 88));
    q = madd(q, t, k(ERFINV, 84));
    q = madd(q, t, k(ERFINV, 80));
    q = madd(q, t, k(ERFINV, 76));
    q = madd(q, t, k(ERFINV, 72));
    q = madd(q, t, k(ERFINV, 68));
    q = madd(q, t, k(ERFINV, 64));
    q = madd(q, t, k(ERFINV, 60));
    q = madd(q, t, k(ERFINV, 56));
    p = v128.bitselect(q, p, far);
    p = v128.bitselect(k(LOG, 36), p, f32x4.eq(f32x4.abs(x), one));
  }
  return f32x4.mul(x, p);
}

/**
 * 0 1.0, 8 magic, 16 and 24 bounds of the exponent, 32 bits of √½; then log2((1+s)/(1-s)) / s in s² (degree 6), and 2^f
 * (degree 8).
 */
// prettier-ignore
const POW: usize = memory.data<f64>([
  1.0, 6755399441055744.0, -1000.0, 1000.0, 0.7071067811865476,
  2.885390081777927316, 0.9617966939243142791, 0.5770780172549065079, 0.4121984007242061828, 0.3206164802147475577,
  0.2614413071160468414, 0.2429512358201715652,
  0.9999999999997603594, 0.693147180546404457, 0.2402265069890188216, 0.05550410939784770054, 0.009618128539800235154,
  0.00133334516338016658, 0.0001540385285468133336, 0.00001530985228967586566, 1.317581182076905369e-6,
]);

/** x^y of two f64 with x > 0, to f32's accuracy: 2^(y log2 x). */
// @ts-ignore: decorator
@inline
function pow2(x: v128, y: v128): v128 {
  const one = k64(POW, 0);
  const magic = k64(POW, 8);
  const shifted = i64x2.sub(x, k64(POW, 32));
  const whole = i64x2.shr_s(shifted, 52);
  const m = i64x2.sub(x, i64x2.shl(whole, 52));
  const exponent = f64x2.sub(i64x2.add(whole, magic), magic);
  const s = f64x2.div(f64x2.sub(m, one), f64x2.add(m, one));
  const z = f64x2.mul(s, s);
  let p = f64x2.add(f64x2.mul(z, k64(POW, 88)), k64(POW, 80));
  p = f64x2.add(f64x2.mul(p, z), k64(POW, 72));
  p = f64x2.add(f64x2.mul(p, z), k64(POW, 64));
  p = f64x2.add(f64x2.mul(p, z), k64(POW, 56));
  p = f64x2.add(f64x2.mul(p, z), k64(POW, 48));
  p = f64x2.add(f64x2.mul(p, z), k64(POW, 40));
  const log2 = f64x2.add(f64x2.mul(s, p), exponent);
  const t = f64x2.pmin(f64x2.pmax(f64x2.mul(y, log2), k64(POW, 16)), k64(POW, 24));
  const n = f64x2.add(t, magic);
  const f = f64x2.sub(t, f64x2.sub(n, magic));
  let e = f64x2.add(f64x2.mul(f, k64(POW, 160)), k64(POW, 152));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 144));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 136));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 128));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 120));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 112));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 104));
  e = f64x2.add(f64x2.mul(e, f), k64(POW, 96));
  return i64x2.add(e, i64x2.shl(n, 52));
}

/** x^y as JavaScript has it, but 1^y = 1. */
export function powScalar(x: f64, y: f64): f64 {
  if (y == 0 || x == 1) return 1;
  if (y != y) return y;
  if (abs(x) == 1 && abs(y) == Infinity) return NaN;
  return NativeMath.pow(x, y);
}

function powLanes(x: v128, y: v128): v128 {
  let z = x;
  z = f32x4.replace_lane(z, 0, <f32>powScalar(f32x4.extract_lane(x, 0), f32x4.extract_lane(y, 0)));
  z = f32x4.replace_lane(z, 1, <f32>powScalar(f32x4.extract_lane(x, 1), f32x4.extract_lane(y, 1)));
  z = f32x4.replace_lane(z, 2, <f32>powScalar(f32x4.extract_lane(x, 2), f32x4.extract_lane(y, 2)));
  return f32x4.replace_lane(z, 3, <f32>powScalar(f32x4.extract_lane(x, 3), f32x4.extract_lane(y, 3)));
}

export function pow4(x: v128, y: v128): v128 {
  const a = f32x4.abs(x);
  const infinity = k(LOG, 36);
  const zero = f32x4.splat(0);
  const plain = v128.and(
    v128.and(f32x4.gt(a, zero), f32x4.lt(a, infinity)),
    f32x4.lt(f32x4.abs(y), infinity),
  );
  if (!i32x4.all_true(plain)) return powLanes(x, y);
  const low = pow2(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(y));
  const r = demote(low, pow2(highHalf(a), highHalf(y)));
  const negative = f32x4.lt(x, zero);
  if (!v128.any_true(negative)) return r;
  // a negative base: the sign of an odd power, NaN for a fraction
  const whole = f32x4.eq(f32x4.trunc(y), y);
  const half = f32x4.mul(y, k(LOG, 24));
  const odd = v128.and(f32x4.ne(f32x4.trunc(half), half), whole);
  const signed = v128.xor(r, v128.and(v128.and(negative, odd), i32x4.splat(0x80000000)));
  return v128.or(signed, v128.andnot(negative, whole));
}
