/** Reflections of one matrix in float64, row-major. */
export interface Reflected {
  /** R with the sign of each row changed so that its diagonal is ≥ 0, [min(m, n), n]. */
  readonly r: Float64Array;
  /** Q with the sign of each column changed to suit, [m, columns]. */
  readonly q: Float64Array;
  /** a[:, p] = q r. */
  readonly p: Int32Array;
}

/**
 * Householder QR (Golub and Van Loan, Matrix Computations, 5.2.1), with `pivoted` the column of largest rest first (5.4.2).
 * Q has `columns` columns, from min(m, n) to m.
 */
export function householder(
  input: Float64Array,
  m: number,
  n: number,
  columns: number,
  pivoted = false,
): Reflected {
  const a = input.slice();
  const q = Math.min(m, n);
  const p = Int32Array.from({ length: n }, (_, j) => j);
  const vectors: Float64Array[] = [];
  for (let k = 0; k < q; k++) {
    if (pivoted) bringLargest(a, m, n, k, p);
    const v = reflector(a, m, n, k);
    vectors.push(v);
    if (v.length) reflect(a, n, v, k, k);
    for (let i = k + 1; i < m; i++) a[i * n + k] = 0;
  }
  // Q = H₀ H₁ ⋯ on the first columns of the identity, the last reflection first.
  const Q = new Float64Array(m * columns);
  for (let i = 0; i < Math.min(m, columns); i++) Q[i * columns + i] = 1;
  for (let k = q - 1; k >= 0; k--) if (vectors[k]!.length) reflect(Q, columns, vectors[k]!, k, 0);
  for (let k = 0; k < q; k++) {
    if (a[k * n + k]! >= 0) continue;
    for (let j = k; j < n; j++) a[k * n + j] = -a[k * n + j]!;
    for (let i = 0; i < m; i++) Q[i * columns + k] = -Q[i * columns + k]!;
  }
  return { r: a.slice(0, q * n), q: Q, p };
}

/** √Σ x², of numbers of any size. */
export function length(x: Float64Array): number {
  let largest = 0;
  for (const v of x) largest = Math.max(largest, Math.abs(v));
  if (largest === 0) return 0;
  let sum = 0;
  for (const v of x) sum += (v / largest) ** 2;
  return largest * Math.sqrt(sum);
}

const columnBelow = (a: Float64Array, m: number, n: number, k: number, j: number): Float64Array =>
  Float64Array.from({ length: m - k }, (_, i) => a[(k + i) * n + j]!);

/** The unit vector v with (I - 2 v vᵀ) a[k:, k] = ± ‖a[k:, k]‖ e₀; empty if nothing is to be done. */
function reflector(a: Float64Array, m: number, n: number, k: number): Float64Array {
  const x = columnBelow(a, m, n, k, k);
  if (length(x.subarray(1)) === 0) return new Float64Array(0);
  const size = length(x);
  for (let i = 0; i < x.length; i++) x[i]! /= size;
  x[0]! += x[0]! >= 0 ? 1 : -1;
  const norm = length(x);
  for (let i = 0; i < x.length; i++) x[i]! /= norm;
  return x;
}

/** a[k:, from:] -= 2 v (vᵀ a[k:, from:]) */
function reflect(a: Float64Array, n: number, v: Float64Array, k: number, from: number): void {
  for (let j = from; j < n; j++) {
    let dot = 0;
    for (let i = 0; i < v.length; i++) dot += v[i]! * a[(k + i) * n + j]!;
    for (let i = 0; i < v.length; i++) a[(k + i) * n + j]! -= 2 * dot * v[i]!;
  }
}

/** Swaps the column whose part below row k is longest into place k; the first of equal ones. */
function bringLargest(a: Float64Array, m: number, n: number, k: number, p: Int32Array): void {
  let [best, most] = [k, -1];
  for (let j = k; j < n; j++) {
    const size = length(columnBelow(a, m, n, k, j));
    if (size > most) [best, most] = [j, size];
  }
  if (best === k) return;
  for (let i = 0; i < m; i++) {
    [a[i * n + k], a[i * n + best]] = [a[i * n + best]!, a[i * n + k]!];
  }
  [p[k], p[best]] = [p[best]!, p[k]!];
}
