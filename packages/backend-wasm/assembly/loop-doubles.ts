// Loops over blocks of f64 beside those of loop-vectors.ts: functions that are computed one number at a time, where the steps
// of sources are halved to 8 bytes per element or 0, and what turns 4 bytes into 8 or 8 into 4.
import { demote } from "./simd";

/**
 * d = f(a) for `count` f64, an even number. T has a method s. Both numbers of a pair are read before one is written: where a
 * number stands for all, d may be a, and the first pair is what others read.
 */
export function doubles<T>(d: usize, a: usize, sa: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const step = sa >> 1;
  for (let i = 0; i < count; i += 2, a += step << 1, d += 16) {
    const x = t.s(load<f64>(a));
    const y = t.s(load<f64>(a + step));
    store<f64>(d, x);
    store<f64>(d, y, 8);
  }
}

export function doublePairs<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const stepA = sa >> 1;
  const stepB = sb >> 1;
  for (let i = 0; i < count; i += 2, a += stepA << 1, b += stepB << 1, d += 16) {
    const x = t.s(load<f64>(a), load<f64>(b));
    const y = t.s(load<f64>(a + stepA), load<f64>(b + stepB));
    store<f64>(d, x);
    store<f64>(d, y, 8);
  }
}

/** Compares f64 into masks of 32 bits, four at once. T has a method f. */
export function doubleMasks<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    const low = t.f(v128.load(a), v128.load(b));
    const high = t.f(v128.load(a + sa), v128.load(b + sb));
    v128.store(d, v128.shuffle<i32>(low, high, 0, 2, 4, 6));
    a += sa << 1;
    b += sb << 1;
    d += 16;
  } while (d < end);
}

export function doubleWhere(
  d: usize,
  a: usize,
  sa: usize,
  b: usize,
  sb: usize,
  c: usize,
  sc: usize,
  end: usize,
): void {
  do {
    const mask = v128.load(a);
    v128.store(d, v128.bitselect(v128.load(b), v128.load(c), i64x2.extend_low_i32x4_s(mask)));
    v128.store(d, v128.bitselect(v128.load(b + sb), v128.load(c + sc), i64x2.extend_high_i32x4_s(mask)), 16);
    a += sa;
    b += sb << 1;
    c += sc << 1;
    d += 32;
  } while (d < end);
}

/** From 4 bytes to 8, four at once. T has a method f of the lower two lanes. */
export function widen<T>(d: usize, a: usize, sa: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    const v = v128.load(a);
    v128.store(d, t.f(v));
    v128.store(d, t.f(v128.shuffle<i32>(v, v, 2, 3, 2, 3)), 16);
    a += sa;
    d += 32;
  } while (d < end);
}

/** f64 to f32, four at once. */
export function demoteBlock(d: usize, a: usize, sa: usize, end: usize): void {
  do {
    v128.store(d, demote(v128.load(a), v128.load(a + sa)));
    a += sa << 1;
    d += 16;
  } while (d < end);
}

/** From 8 bytes to 4. T has a method s. */
export function narrow<T, To>(d: usize, a: usize, sa: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const step = sa >> 1;
  for (let i = 0; i < count; i++, a += step, d += 4) store<To>(d, t.s(load<f64>(a)));
}

// Each class below is a conversion for `widen` or `narrow`.

@final
export class FtoD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.promote_low_f32x4(x);
  }
}

@final
export class ItoD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.convert_low_i32x4_s(x);
  }
}

@final
export class UtoD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.convert_low_i32x4_u(x);
  }
}

@final
export class BtoD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.neg(f64x2.convert_low_i32x4_s(x));
  }
}

@final
export class DtoI {
  // @ts-ignore: decorator
  @inline
  s(x: f64): i32 {
    return x != x ? 0 : x <= -2147483648.0 ? -2147483648 : x >= 2147483647.0 ? 2147483647 : <i32>x;
  }
}

@final
export class DtoU {
  // @ts-ignore: decorator
  @inline
  s(x: f64): u32 {
    return x >= 4294967295.0 ? 4294967295 : x > 0 ? <u32>x : 0;
  }
}
