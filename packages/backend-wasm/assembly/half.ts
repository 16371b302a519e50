// Conversions of half types. Arithmetic is in f32; NaN stays NaN; rounding is to nearest, ties to even.

// @ts-ignore: decorator
@inline
export function bf16ToF32(bits: u32): f32 {
  return reinterpret<f32>(bits << 16);
}

// @ts-ignore: decorator
@inline
export function f32ToBf16(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) & 0xffff;
}

// The exponent is rebased by a multiplication, which also gets subnormals right; infinities and NaN are set apart.
// @ts-ignore: decorator
@inline
export function f16ToF32(bits: u32): f32 {
  const sign = (bits & 0x8000) << 16;
  const rest = (bits & 0x7fff) << 13;
  if (rest >= 0x0f800000) return reinterpret<f32>(sign | 0x7f800000 | (rest & 0x7fffff));
  return reinterpret<f32>(sign | reinterpret<u32>(reinterpret<f32>(rest) * reinterpret<f32>(0x77800000)));
}

// @ts-ignore: decorator
@inline
export function f32ToF16(value: f32): u32 {
  const bits = reinterpret<u32>(value);
  const sign = (bits >> 16) & 0x8000;
  const abs = bits & 0x7fffffff;
  if (abs > 0x7f800000) return sign | 0x7e00 | ((abs >> 13) & 0x1ff);
  if (abs >= 0x477ff000) return sign | 0x7c00;
  if (abs < 0x38800000) {
    // Subnormal half: adding 0.5 puts the half's last place at the last place of the f32, and the adder rounds.
    return sign | (reinterpret<u32>(reinterpret<f32>(abs) + 0.5) - 0x3f000000);
  }
  return sign | ((abs - 0x38000000 + 0xfff + ((abs >> 13) & 1)) >> 13);
}

/** Four f16 in the lower 16 bits of the lanes to f32. */
// @ts-ignore: decorator
@inline
export function f16x4ToF32(bits: v128): v128 {
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  const rest = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const scaled = f32x4.mul(rest, i32x4.splat(0x77800000));
  const special = v128.or(i32x4.splat(0x7f800000), v128.and(rest, i32x4.splat(0x7fffff)));
  const isSpecial = i32x4.ge_s(rest, i32x4.splat(0x0f800000));
  return v128.or(sign, v128.bitselect(special, scaled, isSpecial));
}

/** Loads four f16 as f32. */
// @ts-ignore: decorator
@inline
export function loadF16x4(at: usize): v128 {
  return f16x4ToF32(v128.load16x4_u(at));
}

/** Loads four bf16 as f32. */
// @ts-ignore: decorator
@inline
export function loadBf16x4(at: usize): v128 {
  return i32x4.shl(v128.load16x4_u(at), 16);
}

/** Four f32 to f16 bits in the lower halves of the lanes. */
// @ts-ignore: decorator
@inline
export function f32x4ToF16(value: v128): v128 {
  const sign = v128.and(i32x4.shr_u(value, 16), i32x4.splat(0x8000));
  const abs = v128.and(value, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(abs, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.sub(abs, i32x4.splat(0x38000000 - 0xfff)), odd), 13);
  const tiny = i32x4.sub(f32x4.add(abs, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  const nan = v128.or(i32x4.splat(0x7e00), v128.and(i32x4.shr_u(abs, 13), i32x4.splat(0x1ff)));
  let out = v128.bitselect(tiny, normal, i32x4.lt_s(abs, i32x4.splat(0x38800000)));
  out = v128.bitselect(i32x4.splat(0x7c00), out, i32x4.ge_s(abs, i32x4.splat(0x477ff000)));
  out = v128.bitselect(nan, out, i32x4.gt_s(abs, i32x4.splat(0x7f800000)));
  return v128.or(sign, out);
}

/** Four f32 to bf16 bits in the lower halves of the lanes. */
// @ts-ignore: decorator
@inline
export function f32x4ToBf16(value: v128): v128 {
  const abs = v128.and(value, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(value, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(value, i32x4.splat(0x7fff)), odd), 16);
  const nan = v128.or(i32x4.shr_u(value, 16), i32x4.splat(0x40));
  return v128.bitselect(nan, rounded, i32x4.gt_s(abs, i32x4.splat(0x7f800000)));
}
