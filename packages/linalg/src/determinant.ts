import {
  abs,
  broadcastTo,
  customVjp,
  eye,
  log,
  prod,
  sign,
  stopGradient,
  sum,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { choleskyFrom, type SymmetricOptions } from "./cholesky.js";
import { diagonal, scaleColumns } from "./diagonal.js";
import { luFrom } from "./lu.js";
import { asSquare, rowsOf } from "./matrix.js";
import { luSolver } from "./solve.js";
import { svdFrom } from "./svd.js";

/** sign(p) ∏ diag(u) */
function determinant(where: string, a: Tensor): Tensor {
  const { packed, sign: parity } = luFrom(where, a);
  return parity.mul(prod(diagonal(packed), -1));
}

/**
 * The determinant of square matrices [.., n, n] as [..]: the product of the pivots of an LU factorisation. 0 for singular
 * matrices, 1 for 0 × 0. The product of many numbers may overflow: `slogdet` does not.
 *
 * Its gradient is the matrix of cofactors, taken from the singular value decomposition, so that it is right for
 * singular matrices as well.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Determinants
 */
export function det(a: Tensor): Tensor {
  const where = "det";
  return customVjp(
    (x) => determinant(where, x!),
    ({ inputs: [x], dys: [dy] }) => {
      const { u, s, vt } = svdFrom(`gradient of ${where}`, x!);
      // cof(a) = det(u) det(v) u diag(∏_{i ≠ j} s_i) vt
      // Determinants of orthogonal matrices: 1 or -1 up to rounding.
      const turn = determinant(where, stopGradient(u)).mul(determinant(where, stopGradient(vt)));
      const scale = dy!.mul(turn).reshape([...dy!.shape, 1]);
      return [scaleColumns(u, productsOfOthers(s).mul(scale)).matmul(vt)];
    },
  )(asSquare(where, "a", a))[0]!;
}

/** ∏_{i ≠ j} s_i for each j, along the last axis. */
function productsOfOthers(s: Tensor): Tensor {
  const n = s.shape[s.ndim - 1]!;
  const rows = s.reshape([...s.shape.slice(0, -1), 1, n]);
  return prod(select(eye(n, n, { dtype: "bool" }), 1, rows), -1);
}

export interface Slogdet {
  /** -1, 0 or 1, [..]; it has no gradient. */
  sign: Tensor;
  /** log |det a|, [..]; -∞ for singular matrices. */
  logAbsDet: Tensor;
}

/**
 * Sign and logarithm of the magnitude of the determinant of square matrices [.., n, n]: det a = sign · exp(logAbsDet),
 * without overflow. The gradient of logAbsDet is a⁻ᵀ.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity, and from the gradient at singular a
 * @category Determinants
 */
export function slogdet(a: Tensor): Slogdet {
  const where = "slogdet";
  const x = asSquare(where, "a", a);
  const { packed, p, sign: parity } = luFrom(where, x);
  const pivots = diagonal(packed);
  const [logAbsDet] = customVjp(
    () => sum(log(abs(pivots)), -1),
    ({ dys: [dy] }) => {
      const identity = broadcastTo(eye(rowsOf(x), undefined, { dtype: x.dtype }), x.shape);
      const { transposed } = luSolver(`gradient of ${where}`, packed, p);
      return [transposed(identity).mul(dy!.reshape([...dy!.shape, 1, 1]))];
    },
  )(x);
  return { sign: parity.mul(prod(sign(stopGradient(pivots)), -1)), logAbsDet: logAbsDet! };
}

/**
 * log det of symmetric positive definite matrices [.., n, n] as [..], 2 Σ log diag(L) with Cholesky's factor L. The
 * gradient is a⁻¹.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError: which pivot is not positive, not symmetric, NaN, infinity
 * @category Determinants
 */
export function logdet(a: Tensor, options: SymmetricOptions = {}): Tensor {
  return sum(log(diagonal(choleskyFrom("logdet", a, options))), -1).mul(2);
}
