import { householder, length } from "./householder.js";
import { signOfColumn } from "./jacobi-eigen.js";

const ROUNDS = 60;
const EPS = 2 ** -52;

export interface Svd {
  /** [m, k]; the element of largest magnitude of each column is positive. */
  readonly u: Float64Array;
  /** Descending. */
  readonly s: Float64Array;
  /** [k', n] */
  readonly vt: Float64Array;
  /** 0, or the largest cosine between two columns if they were not orthogonal after `rounds` sweeps. */
  readonly remainder: number;
  readonly rounds: number;
}

/**
 * One-sided Jacobi in float64: plane rotations from the right make the columns of a orthogonal; their lengths are the
 * singular values (Golub and Van Loan, Matrix Computations, 8.6). With `full`, u is [m, m] and vt [n, n]: the columns
 * beyond the singular values are completed by Householder's reflections.
 */
export function jacobiSvd(input: Float64Array, m: number, n: number, full: boolean): Svd {
  if (m < n) {
    const { u, s, vt, ...rest } = tallSvd(transposed(input, m, n), n, m, full);
    return withSigns(transposed(vt, m, m), s, transposed(u, n, full ? n : m), m, full ? n : m, m, n, rest);
  }
  const { u, s, vt, ...rest } = tallSvd(input, m, n, full);
  return withSigns(u, s, vt, full ? m : n, n, m, n, rest);
}

function tallSvd(input: Float64Array, m: number, n: number, full: boolean): Svd {
  let largest = 0;
  for (const x of input) largest = Math.max(largest, Math.abs(x));
  const unit = largest === 0 ? 1 : 2 ** Math.floor(Math.log2(largest));
  const columns = Array.from({ length: n }, (_, j) =>
    Float64Array.from({ length: m }, (_, i) => input[i * n + j]! / unit),
  );
  const right = Array.from({ length: n }, (_, j) =>
    Float64Array.from({ length: n }, (_, i) => (i === j ? 1 : 0)),
  );
  let worst = 1;
  for (let round = 0; worst > 0 && round < ROUNDS; round++) {
    worst = 0;
    for (let p = 0; p < n; p++)
      for (let q = p + 1; q < n; q++) worst = Math.max(worst, orthogonalize(columns, right, p, q));
  }
  // Rotations are orthogonal up to rounding: what they stretched is divided out of both sides.
  for (const [j, v] of right.entries()) {
    const stretch = length(v);
    for (const x of [v, columns[j]!]) for (let i = 0; i < x.length; i++) x[i]! /= stretch;
  }
  const lengths = columns.map(length);
  const order = lengths.map((_, j) => j).sort((i, j) => lengths[j]! - lengths[i]! || i - j);
  const s = Float64Array.from(order, (j) => lengths[j]! * unit);
  const vt = new Float64Array(n * n);
  for (const [j, from] of order.entries()) vt.set(right[from]!, j * n);
  // Below this the squares of a column have lost their digits.
  const rank = order.filter((j) => lengths[j]! > 2 ** -480).length;
  const width = full ? m : n;
  const u = new Float64Array(m * width);
  const known = new Float64Array(m * rank);
  for (let j = 0; j < rank; j++) {
    const from = order[j]!;
    for (let i = 0; i < m; i++) {
      known[i * rank + j] = u[i * width + j] = columns[from]![i]! / lengths[from]!;
    }
  }
  if (rank < width) {
    // Orthonormal columns are their own Q: what follows them is orthogonal to all.
    const { q } = householder(known, m, rank, m);
    for (let j = rank; j < width; j++) for (let i = 0; i < m; i++) u[i * width + j] = q[i * m + j]!;
  }
  return { u, s, vt, remainder: worst, rounds: ROUNDS };
}

/** Turns two columns so that they are orthogonal; gives the cosine there was, 0 if it was negligible. */
function orthogonalize(
  columns: readonly Float64Array[],
  right: readonly Float64Array[],
  p: number,
  q: number,
): number {
  const [x, y] = [columns[p]!, columns[q]!];
  let [a, b, c] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    a += x[i]! * x[i]!;
    b += y[i]! * y[i]!;
    c += x[i]! * y[i]!;
  }
  if (a === 0 || b === 0 || Math.abs(c) <= Math.sqrt(x.length) * EPS * Math.sqrt(a) * Math.sqrt(b)) return 0;
  const z = (b - a) / (2 * c);
  const t = (z >= 0 ? 1 : -1) / (Math.abs(z) + Math.hypot(z, 1));
  const cs = 1 / Math.sqrt(1 + t * t);
  const sn = cs * t;
  // cs v - sn w as v - sn (w + τ v): a small angle is a small correction.
  const tau = sn / (1 + cs);
  for (const [f, g] of [[x, y] as const, [right[p]!, right[q]!] as const]) {
    for (let i = 0; i < f.length; i++) {
      const [v, w] = [f[i]!, g[i]!];
      f[i] = v - sn * (w + tau * v);
      g[i] = w + sn * (v - tau * w);
    }
  }
  return Math.abs(c) / Math.sqrt(a) / Math.sqrt(b);
}

export function transposed(a: Float64Array, m: number, n: number): Float64Array {
  const t = new Float64Array(a.length);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) t[j * m + i] = a[i * n + j]!;
  return t;
}

/** Flips u_j and v_j together so that u_j's largest element is positive; columns without a partner by their own. */
function withSigns(
  u: Float64Array,
  s: Float64Array,
  vt: Float64Array,
  width: number,
  height: number,
  m: number,
  n: number,
  rest: { remainder: number; rounds: number },
): Svd {
  for (let j = 0; j < width; j++) {
    if (signOfColumn(u, m, width, j) > 0) continue;
    for (let i = 0; i < m; i++) u[i * width + j] = -u[i * width + j]!;
    if (j < s.length) for (let i = 0; i < n; i++) vt[j * n + i] = -vt[j * n + i]!;
  }
  for (let j = s.length; j < height; j++) {
    const row = vt.subarray(j * n, (j + 1) * n);
    if (signOfColumn(row, n, 1, 0) < 0) for (let i = 0; i < n; i++) row[i] = -row[i]!;
  }
  return { u, s, vt, ...rest };
}
