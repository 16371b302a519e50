// Functions of four f32 at once. Each reduces its argument to a short interval and evaluates a minimax polynomial there:
// the coefficients were found for this file with Remez exchange on the relative error (E. Remez 1934), in 40 digits.
// Argument reduction is by Cody and Waite, "Software Manual for the Elementary Functions", 1980, or goes through f64.
// Measured errors in units of the last place over all of f32 are printed by scripts/accuracy.mjs.
// Constants are read from memory: engines build a vector constant anew at each use, which costs more than a load.
import { demote, highHalf, madd, nmadd, pick } from "./simd";

// @ts-ignore: decorator
@inline
function k(table: usize, at: usize): v128 {
  return v128.load32_splat(table + at);
}

const SIGN: usize = memory.data<u32>([0x80000000]);

// @ts-ignore: decorator
@inline
function signOf(x: v128): v128 {
  return v128.and(x, k(SIGN, 0));
}

/** 0 magic 1.5 · 2^23, 4 log2 e, 8 ln 2 high, 12 ln 2 low, 16 lowest and 20 highest argument, 24 1.0; then the q of e^r = 1 + r + r² q(r), and 48 the highest argument of e^x / 2. */
// prettier-ignore
const EXP: usize = memory.data<f32>([
  12582912.0, 1.44269504, 0.693359375, -2.12194440e-4, -104.5, 89.0, 1.0,
  0.49999993432, 0.16666520395, 0.041668390814, 0.0083687454843, 0.00138145404, 90.0,
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

/** e^x / 2, which overflows later, for x >= 0. */
// @ts-ignore: decorator
@inline
export function expHalf4(x: v128): v128 {
  x = f32x4.pmin(x, k(EXP, 48));
  const magic = k(EXP, 0);
  const shifted = madd(x, k(EXP, 4), magic);
  const n = f32x4.sub(shifted, magic);
  const r = nmadd(n, k(EXP, 12), nmadd(n, k(EXP, 8), x));
  const one = k(EXP, 24);
  const p = f32x4.add(one, expTail(r));
  const whole = i32x4.sub(shifted, magic);
  const half = i32x4.shr_s(whole, 1);
  const a = i32x4.add(i32x4.shl(half, 23), one);
  const b = i32x4.add(i32x4.shl(i32x4.sub(whole, half), 23), k(EXPM1, 8));
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

/** log x = k ln 2 + log m with √½ <= m < √2, for positive normal x; `less` is subtracted from k. */
// @ts-ignore: decorator
@inline
function logNormal(x: v128, less: v128): v128 {
  const from = k(LOG, 0);
  const shifted = i32x4.sub(x, from);
  const exponent = f32x4.sub(f32x4.convert_i32x4_s(i32x4.shr_s(shifted, 23)), less);
  const f = f32x4.sub(i32x4.add(v128.and(shifted, k(LOG, 32)), from), k(LOG, 28));
  const tail = logTail(f, f32x4.mul(exponent, k(LOG, 20)));
  return madd(exponent, k(LOG, 16), f32x4.add(f, tail));
}

// @ts-ignore: decorator
@inline
export function log4(x: v128): v128 {
  const tiny = f32x4.lt(x, k(LOG, 4));
  const scaled = v128.bitselect(f32x4.mul(x, k(LOG, 8)), x, tiny);
  let y = logNormal(scaled, v128.and(tiny, k(LOG, 12)));
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

/** σ(x) = 1 - q, or e (1 - q) for x < 0, with e = e^-|x| and q = e / (1 + e): nothing overflows, and what q lost counts little. */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const e = exp4(f32x4.neg(f32x4.abs(x)));
  const one = k(LOG, 28);
  const q = f32x4.div(e, f32x4.add(one, e));
  const top = v128.bitselect(e, one, f32x4.lt(x, f32x4.splat(0)));
  return nmadd(top, q, top);
}

/** 0 largest argument, 4 4/3, 8 and 12 magic + 0 and + 3, 16 from each lane its first byte, 32 bytes 0 to 3. */
// prettier-ignore
const ERF: usize = memory.data<u32>([
  0x407ccccd, 0x3faaaaab, 0x4b400000, 0x4b400003, 0x00000000, 0x04040404, 0x08080808, 0x0c0c0c0c,
  0x03020100,
]);
/**
 * Rows of four, one for each interval: up to 1.125, 1.875, 2.625, 3.95. Centres c, then erf c, then from 32 the seven coefficients
 * of p: erf x = x + x p(x²) in the first interval, erf c + u p(u) with u = x - c in the others. The c are those near the
 * middle for which erf c is very nearly an f32.
 */
// prettier-ignore
const ERF_ROWS: usize = memory.data<f32>([
  0.0, 1.500002146, 2.250002623, 3.289836407,
  0.0, 0.9661054015, 0.998537302, 0.9999967217,
  0.1283791605, 0.1189294844, 0.007142243168, 2.243588924e-5,
  -0.3761258953, -0.1783961853, -0.01606935724, -7.557573971e-5,
  0.1128317716, 0.1387547103, 0.02172369071, 0.0001562668225,
  -0.026837107, -0.0445403677, -0.01910781119, -0.0002120720207,
  0.00515750263, -0.01493445493, 0.01067230613, 0.0002460645557,
  -0.0007748544159, 0.01865840917, -0.002624287037, -0.0002846022485,
  7.02192973e-5, -0.004163196851, -0.0007949533688, 0.0001721483406,
]);

/** Row `at` of ERF_ROWS, of each lane the number of its interval. */
// @ts-ignore: decorator
@inline
function erfRow(at: usize, interval: v128): v128 {
  return pick(v128.load(ERF_ROWS + at), interval);
}

/** erf x: one polynomial, whose coefficients are looked up by the interval of |x|. */
// @ts-ignore: decorator
@inline
export function erf4(x: v128): v128 {
  const a = f32x4.pmin(f32x4.abs(x), k(ERF, 0));
  const first = k(ERF, 8);
  // the interval, round(4/3 |x| - 1) from 0 to 3, as the low bits of a float; NaN comes through in u
  const shifted = f32x4.sub(madd(a, k(ERF, 4), first), k(LOG, 28));
  const interval = f32x4.pmax(first, f32x4.pmin(k(ERF, 12), shifted));
  const bytes = pick(i32x4.shl(interval, 2), v128.load(ERF, 16));
  const lanes = v128.or(bytes, k(ERF, 32));
  const inner = f32x4.le(shifted, first);
  const u = f32x4.sub(a, erfRow(0, lanes));
  const t = v128.bitselect(f32x4.mul(a, a), u, inner);
  let p = madd(t, erfRow(128, lanes), erfRow(112, lanes));
  p = madd(p, t, erfRow(96, lanes));
  p = madd(p, t, erfRow(80, lanes));
  p = madd(p, t, erfRow(64, lanes));
  p = madd(p, t, erfRow(48, lanes));
  p = madd(p, t, erfRow(32, lanes));
  const y = madd(u, p, v128.bitselect(a, erfRow(16, lanes), inner));
  return v128.or(y, signOf(x));
}

/**
 * 0 1 - x² at the end w = 5 of the first interval of w = -log(1 - x²), 4 and 8 centres of w and √w, 12 √π/2; then G(w - 2.5) of
 * erfinv x = x (√π/2 + w G), and erfinv(x) / x in √w - 3.1. The two intervals are those of M. Giles, "Approximating the
 * erfinv function", GPU Computing Gems, 2011.
 */
// prettier-ignore
const ERFINV: usize = memory.data<f32>([
  0.0067379470, 2.5, 3.1, 0.88622693,
  0.24607296342, 0.000226926816946, -0.00176172897391, 0.000203600727481, 5.90092956332e-6, -4.3496937224e-6,
  3.53755085065e-7, 4.59416897554e-8, -8.98726471075e-9,
  2.9332316694, 1.0033560819, 0.0074603021098, -0.0056956959259, 0.0041187136991, -0.0027196562425, 0.0013294487021,
  -0.00028979505061, -0.0001514815062, 0.00013216154558, -2.6659410602e-5,
]);

/** x (a + b) through f64, rounded once. */
// @ts-ignore: decorator
@inline
function timesSum(x: v128, a: v128, b: v128): v128 {
  const low = f64x2.add(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b));
  const high = f64x2.add(highHalf(a), highHalf(b));
  return demote(f64x2.mul(f64x2.promote_low_f32x4(x), low), f64x2.mul(highHalf(x), high));
}

export function erfinv4(x: v128): v128 {
  const one = k(LOG, 28);
  const v = f32x4.mul(f32x4.sub(one, x), f32x4.add(one, x));
  const w = f32x4.sub(f32x4.splat(0), logNormal(v, f32x4.splat(0))); // +0 for 0; wrong outside of -1 to 1, put right below
  const s = f32x4.sub(w, k(ERFINV, 4));
  let p = madd(s, k(ERFINV, 48), k(ERFINV, 44));
  p = madd(p, s, k(ERFINV, 40));
  p = madd(p, s, k(ERFINV, 36));
  p = madd(p, s, k(ERFINV, 32));
  p = madd(p, s, k(ERFINV, 28));
  p = madd(p, s, k(ERFINV, 24));
  p = madd(p, s, k(ERFINV, 20));
  p = madd(p, s, k(ERFINV, 16));
  const y = timesSum(x, k(ERFINV, 12), f32x4.mul(w, p));
  const far = f32x4.lt(v, k(ERFINV, 0));
  if (i32x4.all_true(f32x4.ge(v, k(ERFINV, 0)))) return y;
  const t = f32x4.sub(f32x4.sqrt(w), k(ERFINV, 8));
  let q = madd(t, k(ERFINV, 92), k(ERFINV, 88));
  q = madd(q, t, k(ERFINV, 84));
  q = madd(q, t, k(ERFINV, 80));
  q = madd(q, t, k(ERFINV, 76));
  q = madd(q, t, k(ERFINV, 72));
  q = madd(q, t, k(ERFINV, 68));
  q = madd(q, t, k(ERFINV, 64));
  q = madd(q, t, k(ERFINV, 60));
  q = madd(q, t, k(ERFINV, 56));
  q = madd(q, t, k(ERFINV, 52));
  q = v128.bitselect(k(LOG, 36), q, f32x4.eq(f32x4.abs(x), one));
  const outside = v128.not(f32x4.ge(v, f32x4.splat(0))); // NaN there
  return v128.or(v128.bitselect(f32x4.mul(x, q), y, far), outside);
}
