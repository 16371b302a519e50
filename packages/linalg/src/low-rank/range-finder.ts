import { type Key, max, normal, sum, type Tensor } from "@lowrank/tensor";
import { asMatrix, columnsOf, leadOf, rowsOf } from "../matrix.js";
import { qrFrom } from "../qr.js";
import { expectCount, expectKey, expectRank } from "./expect.js";

export interface SketchOptions {
  /** From 1 to min(m, n). */
  rank: number;
  /** Random directions beyond `rank`; together at most min(m, n). Default 10. */
  oversample?: number;
  /** How often a aᵀ is applied: each step makes the values fall off faster. 0 for values that fall fast. Default 2. */
  powerSteps?: number;
  /** Which random numbers: the same key gives the same answer. */
  key: Key;
}

export interface RangeFinderOptions extends SketchOptions {
  /** Random vectors that the bound of the error is made from. Default 10. */
  probes?: number;
}

export interface Range {
  /** An orthonormal basis of rank + oversample columns, [.., m, k]. */
  q: Tensor;
  /**
   * 10 √(2/π) max_i ‖(I - q qᵀ) a w_i‖ over `probes` Gaussian w_i, [..]: it is above ‖(I - q qᵀ) a‖₂ but for a chance of
   * 10^-probes. It is computed only if it is asked for.
   */
  errorBound: Tensor;
}

/** Gaussian columns [.., n, k] for each matrix of a [.., m, n]. */
export const gaussian = (a: Tensor, k: number, key: Key): Tensor =>
  normal([...leadOf(a.shape), columnsOf(a), k], { key, dtype: a.dtype });

/** 10 √(2/π) max ‖(I - q qᵀ) a w‖: Halko, Martinsson and Tropp 2011, lemma 4.1 with α = 10. */
export function probeBound(a: Tensor, q: Tensor, probes: number, key: Key): Tensor {
  const y = a.matmul(gaussian(a, probes, key));
  const rest = y.sub(q.matmul(q.T.matmul(y)));
  return max(sum(rest.mul(rest), -2), -1)
    .sqrt()
    .mul(10 * Math.sqrt(2 / Math.PI));
}

/**
 * An orthonormal basis q of nearly the range of a [.., m, n], from its products with random vectors:
 *
 *     q = qr((a aᵀ)^powerSteps a W),   W Gaussian [n, rank + oversample]
 *
 * with a QR decomposition after every product. For k = rank, p = oversample ≥ 2 and no power steps the expectation of
 * ‖(I - q qᵀ) a‖_F is at most √(1 + k/(p-1)) that of the best rank-k approximation.
 *
 * Source: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithms 4.1 and 4.4, section 4.3, theorem 10.5.
 *
 * @throws ConfigError for a rank that is not from 1 to min(m, n) or without a key; ShapeError, DTypeError; when computed
 * NumericalError for NaN or infinity
 * @category Randomized
 */
export function rangeFinder(a: Tensor, { probes = 10, ...options }: RangeFinderOptions): Range {
  expectCount("rangeFinder", "probes", probes, 1);
  return rangeFrom("rangeFinder", asMatrix("rangeFinder", "a", a), probes, options);
}

/** The same for matrices of f32 or f64, with errors in the name of `where`. */
export function rangeFrom(
  where: string,
  a: Tensor,
  probes: number,
  { rank, oversample = 10, powerSteps = 2, key }: SketchOptions,
): Range {
  const most = Math.min(rowsOf(a), columnsOf(a));
  expectRank(where, rank, most);
  expectCount(where, "oversample", oversample, 0);
  expectCount(where, "powerSteps", powerSteps, 0);
  expectKey(where, key);
  const [sketch, probe] = key.split() as [Key, Key];
  const W = gaussian(a, Math.min(rank + oversample, most), sketch);
  let { q } = qrFrom(where, a.matmul(W));
  for (let step = 0; step < powerSteps; step++) {
    const z = qrFrom(where, a.T.matmul(q)).q;
    q = qrFrom(where, a.matmul(z)).q;
  }
  return { q, errorBound: probeBound(a, q, probes, probe) };
}
