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

// @ts-ignore: decorator
@inline
export function largestLane<T>(v: v128): T {
  const most = max<T>(v128.extract_lane<T>(v, 0), v128.extract_lane<T>(v, 1));
  if (sizeof<T>() == 8) return most;
  return <T>max<f32>(<f32>most, max<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
}

/** Moves a tile of `lanes` rows and columns to where its rows are columns, each number times the lanes of `factor`. */
// @ts-ignore: decorator
@inline
export function moveTile<T>(from: usize, rowFrom: usize, to: usize, rowTo: usize, factor: v128): void {
  const r0 = v128.mul<T>(v128.load(from), factor);
  const r1 = v128.mul<T>(v128.load(from + rowFrom), factor);
  if (sizeof<T>() == 8) {
    v128.store(to, v128.shuffle<i64>(r0, r1, 0, 2));
    v128.store(to + rowTo, v128.shuffle<i64>(r0, r1, 1, 3));
  } else {
    const r2 = v128.mul<T>(v128.load(from + 2 * rowFrom), factor);
    const r3 = v128.mul<T>(v128.load(from + 3 * rowFrom), factor);
    const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
    const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
    const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
    const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<i64>(low01, low23, 0, 2));
    v128.store(to + rowTo, v128.shuffle<i64>(low01, low23, 1, 3));
    v128.store(to + 2 * rowTo, v128.shuffle<i64>(high01, high23, 0, 2));
    v128.store(to + 3 * rowTo, v128.shuffle<i64>(high01, high23, 1, 3));
  }
}
