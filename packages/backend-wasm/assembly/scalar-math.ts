// Element-wise functions in f64, one number at a time: what f64 tensors compute with, and f32 where speed does not matter.

const TWO_OVER_SQRT_PI: f64 = 1.1283791670955126;
const SQRT_PI: f64 = 1.7724538509055159;

/** erf x, to about 1e-15. */
export function erf64(x: f64): f64 {
  const a = abs(x);
  if (a < 2.5) return erfSeries(x);
  if (x != x) return x;
  return copysign<f64>(1 - erfcFraction(a), x);
}

/** 1 - erf x without cancellation for large x. */
function erfc64(x: f64): f64 {
  return x < 2.5 ? 1 - erf64(x) : erfcFraction(x);
}

// erf x = 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!, whose terms all have one sign (Abramowitz & Stegun 7.1.6).
function erfSeries(x: f64): f64 {
  let term = x;
  let sum = x;
  for (let n = 1; abs(term) > 1e-18 * abs(sum); n++) {
    term *= (2 * x * x) / <f64>(2 * n + 1);
    sum += term;
  }
  return TWO_OVER_SQRT_PI * NativeMath.exp(-x * x) * sum;
}

// √π e^(x²) erfc x as a continued fraction (Abramowitz & Stegun 7.1.14), from the inside out.
function erfcFraction(x: f64): f64 {
  if (x > 27) return 0;
  let f = x;
  for (let k = 60; k >= 1; k--) f = x + (<f64>k * 0.5) / f;
  return NativeMath.exp(-x * x) / (SQRT_PI * f);
}

/** The x with erf x = y: Winitzki's rough formula, then Halley's steps on erf, or on erfc near the ends. */
export function erfinv64(y: f64): f64 {
  const a = abs(y);
  if (!(a < 1)) return a == 1 ? y * Infinity : NaN;
  if (y == 0) return y;
  const l = NativeMath.log1p(-a * a);
  const p = 2 / (NativeMath.PI * 0.147) + l / 2;
  let x = sqrt(sqrt(p * p - l / 0.147) - p);
  for (let i = 0; i < 4; i++) {
    const error = a < 0.9 ? erf64(x) - a : 1 - a - erfc64(x);
    const step = error / (TWO_OVER_SQRT_PI * NativeMath.exp(-x * x));
    x -= step / (1 + x * step);
  }
  return copysign<f64>(x, y);
}

/** x^y as JavaScript has it, but 1^y = 1. */
export function pow64(x: f64, y: f64): f64 {
  if (y == 0 || x == 1) return 1;
  if (y != y) return y;
  if (abs(x) == 1 && abs(y) == Infinity) return NaN;
  return NativeMath.pow(x, y);
}

/** The remainder with the sign of the divisor. */
export function remainder64(x: f64, y: f64): f64 {
  const r = NativeMath.mod(x, y);
  return r != 0 && r < 0 != y < 0 ? r + y : r;
}

export function sign64(x: f64): f64 {
  return x > 0 ? 1 : x < 0 ? -1 : x;
}

export function sigmoid64(x: f64): f64 {
  return 1 / (1 + NativeMath.exp(-x));
}

/** The remainder of integers with the sign of the divisor; 0 for a divisor of 0. */
export function remainderI(x: i32, y: i32): i32 {
  if (y == 0 || y == -1) return 0;
  const r = x % y;
  return r != 0 && r < 0 != y < 0 ? r + y : r;
}

/** The quotient of integers, cut towards zero; 0 for a divisor of 0. */
export function divideI(x: i32, y: i32): i32 {
  return y == 0 ? 0 : y == -1 ? -x : x / y;
}

/** Word 0 of Threefry-2x32 with 20 rounds (Salmon et al. 2011). */
export function threefry1(k0: u32, k1: u32, c0: u32, c1: u32): u32 {
  const k2 = k0 ^ k1 ^ 0x1bd11bda;
  let x = c0 + k0;
  let y = c1 + k1;
  for (let g: u32 = 0; g < 5; g++) {
    const odd = (g & 1) != 0;
    x += y;
    y = rotl<u32>(y, odd ? 17 : 13) ^ x;
    x += y;
    y = rotl<u32>(y, odd ? 29 : 15) ^ x;
    x += y;
    y = rotl<u32>(y, odd ? 16 : 26) ^ x;
    x += y;
    y = rotl<u32>(y, odd ? 24 : 6) ^ x;
    const s = g % 3;
    x += s == 0 ? k1 : s == 1 ? k2 : k0;
    y += (s == 0 ? k2 : s == 1 ? k0 : k1) + g + 1;
  }
  return x;
}
