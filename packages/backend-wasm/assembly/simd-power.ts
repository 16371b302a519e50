// Powers of four f32 at once, computed in f64: 2^(y log2 x). Polynomials as in simd-math.ts.
import { HostMath } from "./host-math";
import { demote, highHalf } from "./simd";

// @ts-ignore: decorator
@inline
function k64(table: usize, at: usize): v128 {
  return v128.load64_splat(table + at);
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
  return HostMath.pow(x, y);
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
  const infinity = f32x4.splat(Infinity);
  const zero = f32x4.splat(0);
  const plain = v128.and(
    v128.and(f32x4.gt(a, zero), f32x4.lt(a, infinity)),
    f32x4.lt(f32x4.abs(y), infinity),
  );
  const low = pow2(f64x2.promote_low_f32x4(a), f64x2.promote_low_f32x4(y));
  let r = demote(low, pow2(highHalf(a), highHalf(y)));
  const negative = f32x4.lt(x, zero);
  if (v128.any_true(negative)) {
    // a negative base: the sign of an odd power, NaN for a fraction
    const whole = f32x4.eq(f32x4.trunc(y), y);
    const half = f32x4.mul(y, f32x4.splat(0.5));
    const odd = v128.and(f32x4.ne(f32x4.trunc(half), half), whole);
    const signed = v128.xor(r, v128.and(v128.and(negative, odd), i32x4.splat(0x80000000)));
    r = v128.or(signed, v128.andnot(negative, whole));
  }
  // lane by lane, so that no lane depends on its neighbours
  return i32x4.all_true(plain) ? r : v128.bitselect(r, powLanes(x, y), plain);
}
