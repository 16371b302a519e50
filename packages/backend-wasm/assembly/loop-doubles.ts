// Loops over blocks of f64, one number at a time: right first. Steps of sources are halved: 8 bytes per element, or 0.

/** d = f(a) for `count` f64. T has a method s. */
export function doubles<T>(d: usize, a: usize, sa: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const step = sa >> 1;
  for (let i = 0; i < count; i++, a += step, d += 8) store<f64>(d, t.s(load<f64>(a)));
}

export function doublePairs<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const stepA = sa >> 1;
  const stepB = sb >> 1;
  for (let i = 0; i < count; i++, a += stepA, b += stepB, d += 8) {
    store<f64>(d, t.s(load<f64>(a), load<f64>(b)));
  }
}

/** Compares f64 into masks of 32 bits. T has a method c. */
export function doubleMasks<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const stepA = sa >> 1;
  const stepB = sb >> 1;
  for (let i = 0; i < count; i++, a += stepA, b += stepB, d += 4) {
    store<i32>(d, t.c(load<f64>(a), load<f64>(b)) ? -1 : 0);
  }
}

export function doubleWhere(
  d: usize,
  a: usize,
  sa: usize,
  b: usize,
  sb: usize,
  c: usize,
  sc: usize,
  count: i32,
): void {
  const stepA = sa >> 2;
  const stepB = sb >> 1;
  const stepC = sc >> 1;
  for (let i = 0; i < count; i++, a += stepA, b += stepB, c += stepC, d += 8) {
    store<i64>(d, load<i32>(a) ? load<i64>(b) : load<i64>(c));
  }
}

/** From 4 bytes to 8 and from 8 to 4. T has a method s. */
export function widen<T, From>(d: usize, a: usize, sa: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const step = sa >> 2;
  for (let i = 0; i < count; i++, a += step, d += 8) store<f64>(d, t.s(load<From>(a)));
}

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
  s(x: f32): f64 {
    return x;
  }
}

@final
export class ItoD {
  // @ts-ignore: decorator
  @inline
  s(x: i32): f64 {
    return x;
  }
}

@final
export class UtoD {
  // @ts-ignore: decorator
  @inline
  s(x: u32): f64 {
    return x;
  }
}

@final
export class BtoD {
  // @ts-ignore: decorator
  @inline
  s(x: i32): f64 {
    return x ? 1 : 0;
  }
}

@final
export class DtoF {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f32 {
    return <f32>x;
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
