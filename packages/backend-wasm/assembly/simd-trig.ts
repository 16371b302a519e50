// Sines, cosines and tangents of four f32 at once. Arguments up to 10^6 are reduced in f64 (Cody and Waite, "Software Manual
// for the Elementary Functions", 1980), larger ones go one by one through f64. Polynomials as in simd-math.ts.
import { HostMath } from "./host-math";
import { demote, highHalf, madd, nmadd } from "./simd";

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

/** 0 2/π, 8 π/2 in its first 33 bits, 16 the rest of π/2, 24 magic 1.5 · 2^52. */
// prettier-ignore
const TRIG: usize = memory.data<f64>([0.6366197723675814, 1.57079632673412561417, 6.07710050650619224932e-11, 6755399441055744.0]);
/** 0 largest argument; then S and C of sin r = r + r³ S(r²), cos r = 1 - r²/2 + r⁴ C(r²); 32 ½, 36 1.0. */
// prettier-ignore
const SIN_COS: usize = memory.data<f32>([
  1000000.0,
  -0.16666666641, 0.0083333292988, -0.00019839310311, 2.7181028696e-6,
  0.041666645651, -0.0013887314653, 2.4432970414e-5,
  0.5, 1.0,
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
  c = madd(f32x4.mul(z, z), c, nmadd(z, k(SIN_COS, 32), k(SIN_COS, 36)));
  const odd = i32x4.neg(v128.and(q, i32x4.splat(1)));
  return v128.xor(v128.bitselect(c, s, odd), i32x4.shl(v128.and(q, i32x4.splat(2)), 30));
}

/** `y`, with the lanes of large x computed by themselves. A lane never depends on its neighbours. */
// @ts-ignore: decorator
@inline
function withLarge(y: v128, x: v128, which: i32): v128 {
  const large = f32x4.gt(f32x4.abs(x), k(SIN_COS, 0));
  return v128.any_true(large) ? v128.bitselect(lanes(x, which), y, large) : y;
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
  if (which == SIN) return <f32>HostMath.sin(x);
  if (which == COS) return <f32>HostMath.cos(x);
  return <f32>HostMath.tan(x);
}

// @ts-ignore: decorator
@inline
export function sin4(x: v128): v128 {
  const y = withLarge(sinTurned(x, 0), x, SIN);
  return v128.bitselect(x, y, f32x4.eq(x, f32x4.splat(0))); // the polynomial loses the sign of -0
}

// @ts-ignore: decorator
@inline
export function cos4(x: v128): v128 {
  return withLarge(sinTurned(x, 1), x, COS);
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
  return withLarge(demote(tan2(f64x2.promote_low_f32x4(x)), tan2(highHalf(x))), x, TAN_LARGE);
}
