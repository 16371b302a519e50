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

// Constants are read from memory: engines build a vector constant anew at each use, which costs more than a load.
// prettier-ignore
const HALF: usize = memory.data<u32>([
  0x8fffe000, 0x77800000, 0x47800000, 0x7f800000, // f16 to f32: sign and magnitude, 2^112, 65536, infinity
  0x8000, 1, 0x38000000 - 0xfff, 0x3f000000, 0x7e00, 0x1ff, 0x38800000, 0x7c00, 0x477ff000, // f32 to f16
  0x7fff, 0x40, // f32 to bf16
]);

// @ts-ignore: decorator
@inline
function k(at: usize): v128 {
  return v128.load32_splat(HALF + at);
}

/** Four f16 in the lower 16 bits of the lanes to f32. */
// @ts-ignore: decorator
@inline
export function f16x4ToF32(bits: v128): v128 {
  // Sign and magnitude at their places in an f32, the exponent still that of the half.
  const placed = v128.and(i32x4.shr_s(i32x4.shl(bits, 16), 3), k(0));
  const scaled = f32x4.mul(placed, k(4));
  return v128.or(scaled, v128.and(f32x4.ge(f32x4.abs(scaled), k(8)), k(12)));
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
  const sign = v128.and(i32x4.shr_u(value, 16), k(16));
  const abs = f32x4.abs(value);
  const odd = v128.and(i32x4.shr_u(abs, 13), k(20));
  const normal = i32x4.shr_u(i32x4.add(i32x4.sub(abs, k(24)), odd), 13);
  const tiny = i32x4.sub(f32x4.add(abs, k(28)), k(28)); // adding 0.5, whose bits are then taken away
  const nan = v128.or(k(32), v128.and(i32x4.shr_u(abs, 13), k(36)));
  let out = v128.bitselect(tiny, normal, i32x4.lt_s(abs, k(40)));
  out = v128.bitselect(k(44), out, i32x4.ge_s(abs, k(48)));
  out = v128.bitselect(nan, out, i32x4.gt_s(abs, k(12)));
  return v128.or(sign, out);
}

/** Four f32 to bf16 bits in the lower halves of the lanes. */
// @ts-ignore: decorator
@inline
export function f32x4ToBf16(value: v128): v128 {
  const odd = v128.and(i32x4.shr_u(value, 16), k(20));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(value, k(52)), odd), 16);
  const nan = v128.or(i32x4.shr_u(value, 16), k(56));
  return v128.bitselect(nan, rounded, i32x4.gt_s(f32x4.abs(value), k(12)));
}
