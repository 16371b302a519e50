const ROUNDS = 60;
const EPS = 2 ** -52;

export interface Eigen {
  /** Ascending. */
  readonly values: Float64Array;
  /** Columns, each with its element of largest magnitude positive. */
  readonly vectors: Float64Array;
  /** 0, or what is left beside the diagonal relative to the matrix if it did not vanish in `rounds` sweeps. */
  readonly remainder: number;
  readonly rounds: number;
}

/**
 * Cyclic Jacobi on a symmetric matrix in float64 of which the lower triangle is read: plane rotations make one pair of
 * elements 0 after another until all are negligible (Golub and Van Loan, Matrix Computations, 8.5).
 */
export function jacobiEigen(input: Float64Array, n: number): Eigen {
  let largest = 0;
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) largest = Math.max(largest, Math.abs(input[i * n + j]!));
  const unit = largest === 0 ? 1 : 2 ** Math.floor(Math.log2(largest));
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = input[i * n + j]! / unit;
  const v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;

  let rotated = true;
  for (let round = 0; rotated && round < ROUNDS; round++) {
    rotated = false;
    // What a sweep adds to the diagonal is small next to it: it is summed by itself.
    const diagonal = Float64Array.from({ length: n }, (_, i) => a[i * n + i]!);
    const added = new Float64Array(n);
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        const shift = rotate(a, v, n, p, q);
        if (shift === 0) continue;
        rotated = true;
        added[p]! -= shift;
        added[q]! += shift;
        a[p * n + p] = diagonal[p]! + added[p]!;
        a[q * n + q] = diagonal[q]! + added[q]!;
      }
    }
  }
  let beside = 0;
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) beside = Math.max(beside, Math.abs(a[i * n + j]!));

  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[i * n + i]! - a[j * n + j]! || i - j);
  const values = Float64Array.from(order, (i) => a[i * n + i]! * unit);
  const vectors = new Float64Array(n * n);
  for (const [to, from] of order.entries()) {
    const sign = signOfColumn(v, n, n, from);
    for (let i = 0; i < n; i++) vectors[i * n + to] = sign * v[i * n + from]!;
  }
  return { values, vectors, remainder: rotated ? beside : 0, rounds: ROUNDS };
}

/** Makes a[p, q] zero, except for the diagonal: gives what a[p, p] loses and a[q, q] gains, 0 if nothing is to be done. */
function rotate(a: Float64Array, v: Float64Array, n: number, p: number, q: number): number {
  const x = a[p * n + q]!;
  const [app, aqq] = [a[p * n + p]!, a[q * n + q]!];
  const size = Math.abs(x);
  // The matrix is scaled to 1: what is below eps² is nothing, even beside zeros.
  if (size <= EPS * EPS || size <= (EPS / 4) * Math.min(Math.abs(app), Math.abs(aqq))) return 0;
  const theta = (aqq - app) / (2 * x);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.sqrt(1 + t * t);
  const s = t * c;
  // c x - s y as x - s (y + τ x): a small angle is a small correction.
  const tau = s / (1 + c);
  for (let k = 0; k < n; k++) {
    const [y, z] = [a[k * n + p]!, a[k * n + q]!];
    a[k * n + p] = a[p * n + k] = y - s * (z + tau * y);
    a[k * n + q] = a[q * n + k] = z + s * (y - tau * z);
    const [f, g] = [v[k * n + p]!, v[k * n + q]!];
    v[k * n + p] = f - s * (g + tau * f);
    v[k * n + q] = g + s * (f - tau * g);
  }
  a[p * n + q] = a[q * n + p] = 0;
  return t * x;
}

/** -1 if the element of largest magnitude of a column (the first of equal ones) is negative, else 1. */
export function signOfColumn(x: Float64Array, m: number, n: number, j: number): number {
  let [most, sign] = [0, 1];
  for (let i = 0; i < m; i++) {
    const value = x[i * n + j]!;
    if (Math.abs(value) > most) [most, sign] = [Math.abs(value), value < 0 ? -1 : 1];
  }
  return sign;
}
