import { gt, type Key, normal, relu, sum, type Tensor, where as select } from "@lowrank/tensor";
import { choleskyFrom, symmetricPart } from "../cholesky.js";
import type { Eigh } from "../eigh.js";
import { asSquare, epsOf, leadOf, rowsOf } from "../matrix.js";
import { qrFrom } from "../qr.js";
import { svdFrom } from "../svd.js";
import { applyTriangularSolve } from "../triangular-solve.js";
import { expectCount, expectKey, expectRank } from "./expect.js";
import { leading } from "./truncation.js";

export interface NystromOptions {
  /** From 1 to n. */
  rank: number;
  /** Random directions beyond `rank`, together at most n. Default 10. */
  oversample?: number;
  /** Which random numbers: the same key gives the same answer. */
  key: Key;
}

/**
 * The approximation of symmetric positive semidefinite a [.., n, n] by Nyström's method from its product with random
 * orthonormal W [n, rank + oversample],
 *
 *     a ≈ (a W) (Wᵀ a W)⁻¹ (a W)ᵀ ≈ vectors diag(values) vectorsᵀ,
 *
 * cut to the `rank` largest eigenvalues, descending (`eigh` has them ascending). What is left out is positive
 * semidefinite up to rounding, and its trace before the cut is expected to be at most 1 + k/(p-1) times that of the
 * best approximation of rank k = rank, p = oversample ≥ 2. A shift of 2 eps ‖a W‖_F, taken off at the end, keeps
 * Cholesky's factorisation of Wᵀ a W stable; it costs an error of about that size in every direction, so that f32 has
 * about five digits.
 *
 * Source: Tropp, Yurtsever, Udell and Cevher 2017, arXiv:1706.05736, algorithm 3 and theorem 4.1; a shift of this kind:
 * Frangella, Tropp and Udell 2023, arXiv:2110.02820, algorithm 2.1.
 *
 * @throws ConfigError for a rank that is not from 1 to n or without a key; ShapeError, DTypeError; when computed
 * NumericalError where a negative eigenvalue of a shows in Wᵀ a W, for NaN or infinity
 * @category Randomized
 */
export function nystrom(a: Tensor, { rank, oversample = 10, key }: NystromOptions): Eigh {
  const name = "nystrom";
  const x = asSquare(name, "a", a);
  const n = rowsOf(x);
  expectRank(name, rank, n);
  expectCount(name, "oversample", oversample, 0);
  expectKey(name, key);
  const k = Math.min(rank + oversample, n);
  const lead = leadOf(x.shape);
  const W = qrFrom(name, normal([...lead, n, k], { key, dtype: x.dtype })).q;
  const sketch = x.matmul(W);
  const size = sum(sketch.mul(sketch), [-2, -1], { keepDims: true }).sqrt();
  // 1e-30: where a is 0 there must be something to factor.
  const shift = select(gt(size, 0), size.mul(2 * epsOf(x.dtype)), 1e-30);
  const shifted = sketch.add(W.mul(shift));
  const L = choleskyFrom(name, symmetricPart(W.T.matmul(shifted)), { assumeSymmetric: true });
  const root = applyTriangularSolve(L, shifted, { where: name, left: false, transpose: true });
  const { u, s } = leading(svdFrom(name, root), rank);
  const values = relu(s.mul(s).sub(shift.reshape([...lead, 1])));
  return { values, vectors: u };
}
