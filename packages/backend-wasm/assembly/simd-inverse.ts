// Functions of four f32 at once: inverse trigonometric and hyperbolic functions, and the remainder. Polynomials as in
// simd-math.ts, in the square of a short argument.
import { demote, highHalf, madd, nmadd } from "./simd";
import { HostMath } from "./host-math";
import { expHalf4 } from "./simd-math";

// @ts-ignore: decorator
@inline
function k(table: usize, at: usize): v128 {
  return v128.load32_splat(table + at);
}

/** 0 1.0, 4 0.5, 8 π/2, 12 what π/2 lacks, 16 π, 20 what π lacks, 24 π/4, 28 what π/4 lacks, 32 2.0. */
// prettier-ignore
const ARC: usize = memory.data<f32>([
  1.0, 0.5, 1.57079637, -4.37113883e-8, 3.14159274, -8.74227766e-8, 0.785398185, -2.18556941e-8, 2.0,
]);
/** 0 tan π/8, 4 tan 3π/8; then P of atan x = x + x³ P(x²). */
// prettier-ignore
const ATAN: usize = memory.data<f32>([
  0.41421357, 2.41421366,
  -0.3333331645, 0.1999852806, -0.1424439251, 0.1059919149, -0.06090138853,
]);
/** P of asin x = x + x³ P(x²) up to ½. */
// prettier-ignore
const ASIN: usize = memory.data<f32>([
  0.1666665971, 0.07500521839, 0.04451335222, 0.03183952346, 0.01431217324, 0.03770212084,
]);
/** P of sinh x = x + x³ P(x²) up to 1; 16 is ¼. */
// prettier-ignore
const SINH: usize = memory.data<f32>([
  0.1666666716, 0.008333310485, 0.0001984289556, 2.782213187e-6, 0.25,
]);

// @ts-ignore: decorator
@inline
function withSign(magnitude: v128, x: v128): v128 {
  return v128.or(magnitude, v128.and(x, i32x4.splat(0x80000000)));
}

/** x³ P(x²) of atan. */
// @ts-ignore: decorator
@inline
function atanTail(t: v128): v128 {
  const z = f32x4.mul(t, t);
  let p = madd(z, k(ATAN, 24), k(ATAN, 20));
  p = madd(p, z, k(ATAN, 16));
  p = madd(p, z, k(ATAN, 12));
  p = madd(p, z, k(ATAN, 8));
  return f32x4.mul(f32x4.mul(t, z), p);
}

/** atan x = π/4 + atan((x - 1) / (x + 1)) = π/2 - atan(1 / x), so that the polynomial gets at most tan π/8. */
// @ts-ignore: decorator
@inline
export function atan4(x: v128): v128 {
  const a = f32x4.abs(x);
  const one = k(ARC, 0);
  const middle = f32x4.gt(a, k(ATAN, 0));
  const far = f32x4.gt(a, k(ATAN, 4));
  let top = v128.bitselect(f32x4.sub(a, one), a, middle);
  let bottom = v128.bitselect(f32x4.add(a, one), one, middle);
  top = v128.bitselect(f32x4.neg(one), top, far);
  bottom = v128.bitselect(a, bottom, far);
  const t = f32x4.div(top, bottom);
  const high = v128.bitselect(k(ARC, 8), v128.and(k(ARC, 24), middle), far);
  const low = v128.bitselect(k(ARC, 12), v128.and(k(ARC, 28), middle), far);
  return withSign(f32x4.add(high, f32x4.add(t, f32x4.add(atanTail(t), low))), x);
}

/** x³ P(x²) of asin. */
// @ts-ignore: decorator
@inline
function asinTail(t: v128, z: v128): v128 {
  let p = madd(z, k(ASIN, 20), k(ASIN, 16));
  p = madd(p, z, k(ASIN, 12));
  p = madd(p, z, k(ASIN, 8));
  p = madd(p, z, k(ASIN, 4));
  p = madd(p, z, k(ASIN, 0));
  return f32x4.mul(f32x4.mul(t, z), p);
}

/** asin x, beyond ½ as π/2 - 2 asin √((1 - x) / 2). */
// @ts-ignore: decorator
@inline
export function asin4(x: v128): v128 {
  const a = f32x4.abs(x);
  const far = f32x4.gt(a, k(ARC, 4));
  const w = f32x4.mul(f32x4.sub(k(ARC, 0), a), k(ARC, 4));
  const z = v128.bitselect(w, f32x4.mul(a, a), far);
  const t = v128.bitselect(f32x4.sqrt(w), a, far);
  const tail = asinTail(t, z);
  const s = f32x4.add(t, tail);
  // the rounding error of the root counts where π/2 - 2 s is not much larger than s: take it along
  const lost = f32x4.div(nmadd(t, t, w), f32x4.add(t, t));
  const two = k(ARC, 32);
  const turned = f32x4.sub(
    nmadd(two, t, k(ARC, 8)),
    f32x4.sub(f32x4.mul(two, f32x4.add(tail, v128.and(lost, f32x4.gt(w, f32x4.splat(0))))), k(ARC, 12)),
  );
  return withSign(v128.bitselect(turned, s, far), x);
}

/** acos x = π/2 - asin x; beyond ½ as 2 asin √((1 - |x|) / 2) or what that lacks to π. */
// @ts-ignore: decorator
@inline
export function acos4(x: v128): v128 {
  const a = f32x4.abs(x);
  const far = f32x4.gt(a, k(ARC, 4));
  const w = f32x4.mul(f32x4.sub(k(ARC, 0), a), k(ARC, 4));
  const z = v128.bitselect(w, f32x4.mul(a, a), far);
  const t = v128.bitselect(f32x4.sqrt(w), x, far);
  const tail = asinTail(t, z);
  const near = f32x4.sub(k(ARC, 8), f32x4.sub(t, f32x4.sub(k(ARC, 12), tail)));
  const twice = f32x4.mul(k(ARC, 32), f32x4.add(t, tail));
  const behind = f32x4.sub(k(ARC, 16), f32x4.sub(twice, k(ARC, 20)));
  const turned = v128.bitselect(behind, twice, f32x4.lt(x, f32x4.splat(0)));
  return v128.bitselect(turned, near, far);
}

/** sinh x = e^x / 2 - ¼ / (e^x / 2), and a polynomial up to 1. */
// @ts-ignore: decorator
@inline
export function sinh4(x: v128): v128 {
  const a = f32x4.abs(x);
  const z = f32x4.mul(a, a);
  let p = madd(z, k(SINH, 12), k(SINH, 8));
  p = madd(p, z, k(SINH, 4));
  p = madd(p, z, k(SINH, 0));
  const small = madd(f32x4.mul(a, z), p, a);
  const h = expHalf4(a);
  const large = f32x4.sub(h, f32x4.div(k(SINH, 16), h));
  return withSign(v128.bitselect(large, small, f32x4.gt(a, k(ARC, 0))), x);
}

/** cosh x = e^|x| / 2 + ¼ / (e^|x| / 2). */
// @ts-ignore: decorator
@inline
export function cosh4(x: v128): v128 {
  const h = expHalf4(f32x4.abs(x));
  return f32x4.add(h, f32x4.div(k(SINH, 16), h));
}

/** The angle of (x, y) in lanes of their own: zeros, infinities and NaN. */
function atan2Lanes(y: v128, x: v128): v128 {
  let r = y;
  r = f32x4.replace_lane(r, 0, atan2Of(f32x4.extract_lane(y, 0), f32x4.extract_lane(x, 0)));
  r = f32x4.replace_lane(r, 1, atan2Of(f32x4.extract_lane(y, 1), f32x4.extract_lane(x, 1)));
  r = f32x4.replace_lane(r, 2, atan2Of(f32x4.extract_lane(y, 2), f32x4.extract_lane(x, 2)));
  return f32x4.replace_lane(r, 3, atan2Of(f32x4.extract_lane(y, 3), f32x4.extract_lane(x, 3)));
}

function atan2Of(y: f32, x: f32): f32 {
  return <f32>HostMath.atan2(y, x);
}

/** The angle of (x, y): atan of the smaller magnitude over the larger, turned into its octant. */
// @ts-ignore: decorator
@inline
export function atan24(y: v128, x: v128): v128 {
  const a = f32x4.abs(y);
  const b = f32x4.abs(x);
  const most = f32x4.pmax(a, b);
  const least = f32x4.pmin(a, b);
  // quotients and their parts must be normal numbers
  const lowest = f32x4.splat(1e-18);
  const highest = f32x4.splat(1e18);
  const plain = v128.and(
    v128.and(f32x4.gt(a, lowest), f32x4.gt(b, lowest)),
    v128.and(f32x4.lt(a, highest), f32x4.lt(b, highest)),
  );
  // r = least / most = t, or π/4 + (least - most) / (least + most); and what the quotient lost in rounding
  const middle = f32x4.gt(least, f32x4.mul(most, k(ATAN, 0)));
  const top = v128.bitselect(f32x4.sub(least, most), least, middle);
  const bottom = v128.bitselect(f32x4.add(least, most), most, middle);
  const t = f32x4.div(top, bottom);
  const tail = f32x4.add(atanTail(t), v128.and(k(ARC, 28), middle));
  // the octants: the angle is base + sign · (high + t + tail)
  const steep = f32x4.gt(a, b);
  const left = f32x4.lt(x, f32x4.splat(0));
  const flipped = v128.and(v128.xor(steep, left), i32x4.splat(0x80000000));
  const base = v128.bitselect(k(ARC, 8), v128.and(k(ARC, 16), left), steep);
  const baseLow = v128.bitselect(k(ARC, 12), v128.and(k(ARC, 20), left), steep);
  const quarter = v128.and(k(ARC, 24), middle);
  const high = f32x4.add(base, v128.xor(quarter, flipped));
  const rest = f32x4.add(v128.xor(t, flipped), f32x4.add(v128.xor(tail, flipped), baseLow));
  const r = withSign(f32x4.add(high, rest), y);
  return i32x4.all_true(plain) ? r : v128.bitselect(r, atan2Lanes(y, x), plain);
}

// @ts-ignore: decorator
@inline
function remainder2(a: v128, b: v128): v128 {
  const q = f64x2.floor(f64x2.div(a, b));
  let r = f64x2.sub(a, f64x2.mul(q, b)); // exact
  // a quotient that was rounded up to a whole number
  const sign = i64x2.splat(0x8000000000000000);
  const zero = f64x2.splat(0);
  const wrong = v128.and(f64x2.lt(v128.xor(r, v128.and(b, sign)), zero), f64x2.ne(r, zero));
  return f64x2.add(r, v128.and(b, wrong));
}

function remainderLanes(a: v128, b: v128): v128 {
  let r = a;
  r = f32x4.replace_lane(r, 0, remainderOf(f32x4.extract_lane(a, 0), f32x4.extract_lane(b, 0)));
  r = f32x4.replace_lane(r, 1, remainderOf(f32x4.extract_lane(a, 1), f32x4.extract_lane(b, 1)));
  r = f32x4.replace_lane(r, 2, remainderOf(f32x4.extract_lane(a, 2), f32x4.extract_lane(b, 2)));
  return f32x4.replace_lane(r, 3, remainderOf(f32x4.extract_lane(a, 3), f32x4.extract_lane(b, 3)));
}

function remainderOf(a: f32, b: f32): f32 {
  const r = <f64>a % <f64>b;
  return <f32>(r != 0 && r < 0 != b < 0 ? r + b : r);
}

/** a - b · ⌊a / b⌋ in f64, where the whole quotient times b is exact; elsewhere lane by lane. */
// @ts-ignore: decorator
@inline
export function remainder4(a: v128, b: v128): v128 {
  const p = f32x4.abs(a);
  const q = f32x4.abs(b);
  const infinity = f32x4.splat(Infinity);
  const plain = v128.and(
    f32x4.lt(p, f32x4.mul(q, f32x4.splat(1e8))), // a quotient of 27 bits; false for NaN and for b = 0
    v128.and(f32x4.lt(p, infinity), f32x4.lt(q, infinity)),
  );
  const low = remainder2(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(b));
  const r = demote(low, remainder2(highHalf(a), highHalf(b)));
  return i32x4.all_true(plain) ? r : v128.bitselect(r, remainderLanes(a, b), plain);
}
