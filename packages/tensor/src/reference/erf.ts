const TWO_OVER_SQRT_PI = 2 / Math.sqrt(Math.PI);

/** The error function in float64, to about 1e-15. */
export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const a = Math.abs(x);
  return a < 2.5 ? erfSeries(x) : Math.sign(x) * (1 - erfcFraction(a));
}

/** 1 − erf(x) without cancellation for large x. */
export function erfc(x: number): number {
  if (x < 2.5) return 1 - erf(x);
  return erfcFraction(x);
}

// erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!, whose terms all have one sign (Abramowitz & Stegun 7.1.6).
function erfSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return TWO_OVER_SQRT_PI * Math.exp(-x * x) * sum;
}

// √π e^(x²) erfc x = 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))) (Abramowitz & Stegun 7.1.14), from the inside out.
function erfcFraction(x: number): number {
  if (x > 27) return 0; // below the smallest double
  let f = x;
  for (let k = 60; k >= 1; k--) f = x + k / 2 / f;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * f);
}

/** The inverse of erf in float64: a rough start, then Halley's steps on erf, or on erfc near the ends. */
export function erfinv(y: number): number {
  const a = Math.abs(y);
  if (!(a < 1)) return a === 1 ? y * Number.POSITIVE_INFINITY : Number.NaN;
  if (y === 0) return y;
  // Winitzki's formula, good to 0.2 %.
  const l = Math.log1p(-a * a);
  const p = 2 / (Math.PI * 0.147) + l / 2;
  let x = Math.sqrt(Math.sqrt(p * p - l / 0.147) - p);
  for (let i = 0; i < 4; i++) {
    const error = a < 0.9 ? erf(x) - a : 1 - a - erfc(x);
    const step = error / (TWO_OVER_SQRT_PI * Math.exp(-x * x));
    x -= step / (1 + x * step);
  }
  return y < 0 ? -x : x;
}
