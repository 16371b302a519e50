// Roots of the secular equation 1 / rho + Σ z_i² / (δ_i - λ) = 0, δ ascending. Poles are d_i, or d_i² for singular values; what is
// computed with are their distances, which are exact to the last digits, and the distance of the root from the nearest pole
// (Gu and Eisenstat 1994, 1995). Each step solves Li's "middle way" (LAPACK working note 89), inside a bracket.

const EPS: f64 = 2.220446049250313e-16;
const ROUNDS = 120;

/** Sums of the last `evaluate`: below and above the root, their derivatives, and the error of the function. */
let below: f64 = 0;
let above: f64 = 0;
let belowSlope: f64 = 0;
let aboveSlope: f64 = 0;

/** Σ z² / (gap - mu) and its derivative over [from, to). */
function sum(z: usize, gap: usize, mu: f64, from: i32, to: i32): f64 {
  let s = f64x2.splat(0);
  let t = s;
  const x = f64x2.splat(mu);
  let i = from;
  for (; i + 2 <= to; i += 2) {
    const at = <usize>i << 3;
    const ratio = f64x2.div(v128.load(z + at), f64x2.sub(v128.load(gap + at), x));
    s = f64x2.add(s, f64x2.mul(ratio, v128.load(z + at)));
    t = f64x2.add(t, f64x2.mul(ratio, ratio));
  }
  let value = f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1);
  slope = f64x2.extract_lane(t, 0) + f64x2.extract_lane(t, 1);
  for (; i < to; i++) {
    const at = <usize>i << 3;
    const ratio = load<f64>(z + at) / (load<f64>(gap + at) - mu);
    value += ratio * load<f64>(z + at);
    slope += ratio * ratio;
  }
  return value;
}
let slope: f64 = 0;

/** Poles up to j are below the root. */
function evaluate(z: usize, gap: usize, k: i32, j: i32, mu: f64, inverse: f64): f64 {
  below = sum(z, gap, mu, 0, j + 1);
  belowSlope = slope;
  above = sum(z, gap, mu, j + 1, k);
  aboveSlope = slope;
  return inverse + below + above;
}

// @ts-ignore: decorator
@inline
function distance(d: usize, i: i32, origin: i32, squared: bool): f64 {
  const x = load<f64>(d + (<usize>i << 3));
  const y = load<f64>(d + (<usize>origin << 3));
  return squared ? (x - y) * (x + y) : x - y;
}

/**
 * Root j of k: gap[i] becomes δ_i - λ; returns λ, or √λ where poles are squares. NaN: no convergence.
 */
export function secularRoot(d: usize, z: usize, k: i32, j: i32, rho: f64, squared: bool, gap: usize): f64 {
  const inverse = 1 / rho;
  let origin = j;
  for (let i = 0; i < k; i++) store<f64>(gap + (<usize>i << 3), distance(d, i, j, squared));
  let lo: f64 = 0;
  let hi: f64;
  let mu: f64;
  if (j < k - 1) {
    hi = load<f64>(gap + (<usize>(j + 1) << 3));
    mu = hi * 0.5;
    if (evaluate(z, gap, k, j, mu, inverse) < 0) {
      // the root is in the upper half
      origin = j + 1;
      for (let i = 0; i < k; i++) store<f64>(gap + (<usize>i << 3), distance(d, i, origin, squared));
      lo = load<f64>(gap + (<usize>j << 3)) * 0.5;
      hi = 0;
      mu = lo;
    } else hi = mu;
  } else {
    let norm: f64 = 0;
    for (let i = 0; i < k; i++) norm += load<f64>(z + (<usize>i << 3)) * load<f64>(z + (<usize>i << 3));
    hi = rho * norm * (1 + 4 * EPS);
    mu = hi * 0.5;
  }
  const pole = load<f64>(gap + (<usize>j << 3));
  const next = j < k - 1 ? load<f64>(gap + (<usize>(j + 1) << 3)) : <f64>0;
  let done = false;
  for (let round = 0; round < ROUNDS; round++) {
    const value = evaluate(z, gap, k, j, mu, inverse);
    const error = inverse + 4 * (abs(below) + abs(above)) + abs(mu) * (belowSlope + aboveSlope);
    if (abs(value) <= EPS * error) {
      done = true;
      break;
    }
    if (value < 0) lo = mu;
    else hi = mu;
    if (hi - lo <= 2 * EPS * abs(mu)) {
      done = true;
      break;
    }
    const p = pole - mu;
    let step: f64;
    if (j < k - 1) {
      const q = next - mu;
      const c = value - p * belowSlope - q * aboveSlope;
      const a = (p + q) * value - p * q * (belowSlope + aboveSlope);
      const b = p * q * value;
      const root = sqrt<f64>(abs(a * a - 4 * b * c));
      step = c == 0 ? b / a : a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root);
    } else {
      // One pole to the left: inverse + r + s / (pole - x) = 0 with the value and slope of the sum.
      const s = belowSlope * p * p;
      const r = value - belowSlope * p;
      step = r > 0 ? p + s / r : hi - mu;
    }
    let to = mu + step;
    if (!(to > lo && to < hi)) {
      // between the ends, by their sizes if they are far apart
      const small = min(abs(lo), abs(hi));
      const large = max(abs(lo), abs(hi));
      const middle = small > 0 && large > 16 * small ? sqrt<f64>(small) * sqrt<f64>(large) : 0.5 * (small + large);
      to = small == 0 ? large * (round > 6 ? 1e-3 : 0.125) : middle;
      if (lo < 0) to = -to;
    }
    if (to == mu) {
      done = true;
      break;
    }
    mu = to;
  }
  for (let i = 0; i < k; i++) {
    const at = gap + (<usize>i << 3);
    store<f64>(at, load<f64>(at) - mu);
  }
  if (!done) return NaN;
  const base = load<f64>(d + (<usize>origin << 3));
  if (!squared) return base + mu;
  return base + mu / (base + sqrt<f64>(max(0, base * base + mu)));
}
