// Vectors of f32 or f64 by the type argument: four lanes or two.

/** Elements of a vector. */
// @ts-ignore: decorator
@inline
export function lanes<T>(): i32 {
  return 16 / sizeof<T>();
}

/** a * b + c per lane: one rounding where relaxed SIMD is compiled in, two otherwise. */
// @ts-ignore: decorator
@inline
export function madd<T>(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (sizeof<T>() == 8) return f64x2.relaxed_madd(a, b, c);
    return f32x4.relaxed_madd(a, b, c);
  } else {
    return v128.add<T>(v128.mul<T>(a, b), c);
  }
}

// @ts-ignore: decorator
@inline
export function loadSplat<T>(at: usize): v128 {
  if (sizeof<T>() == 8) return v128.load64_splat(at);
  return v128.load32_splat(at);
}

/** Sum of the lanes, in a fixed order. */
// @ts-ignore: decorator
@inline
export function sumLanes<T>(v: v128): T {
  if (sizeof<T>() == 8) return <T>(f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1));
  return <T>(
    (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3)))
  );
}
