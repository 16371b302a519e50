import { broadcastTo, ShapeError, type Tensor } from "@lowrank/tensor";
import {
  asMatrix,
  asReal,
  columnsOf,
  commonLead,
  inCommonDtype,
  leadOf,
  rowsOf,
  showDims,
} from "./matrix.js";

/**
 * The Kronecker product of a [.., m, n] and b [.., p, q]: the matrix [.., m p, n q] of blocks a[i, j] b. Leading axes broadcast.
 *
 * Source: Golub and Van Loan, Matrix Computations, 12.3.
 *
 * @throws ShapeError, DTypeError
 * @category Kronecker products
 */
export function kron(a: Tensor, b: Tensor): Tensor {
  const [x, y] = inCommonDtype(asMatrix("kron", "a", a), asMatrix("kron", "b", b));
  const lead = commonLead("kron", leadOf(x.shape), leadOf(y.shape));
  const [m, n, p, q] = [rowsOf(x), columnsOf(x), rowsOf(y), columnsOf(y)];
  const left = x.reshape([...leadOf(x.shape), m, 1, n, 1]);
  const right = y.reshape([...leadOf(y.shape), 1, p, 1, q]);
  return left.mul(right).reshape([...lead, m * p, n * q]);
}

/**
 * (a ⊗ b) x without forming the product: with the rows of x [.., n q, k] as [n, q],
 *
 *     y[i p + r, :] = Σ a[i, j] b[r, s] x[j q + s, :]
 *
 * in two products of 2 k (n p q + m n p) operations instead of 2 k m n p q. a is [.., m, n], b [.., p, q], x [.., n q, k] or
 * [n q]; the result is [.., m p, k] or [.., m p]; leading axes broadcast.
 *
 * Source: Golub and Van Loan, Matrix Computations, 12.3.
 *
 * @throws ShapeError, DTypeError
 * @category Kronecker products
 */
export function kronApply(a: Tensor, b: Tensor, x: Tensor): Tensor {
  const where = "kronApply";
  const [first, second] = inCommonDtype(asMatrix(where, "a", a), asMatrix(where, "b", b));
  const [A, X] = inCommonDtype(first, asReal(where, "x", x));
  const B = inCommonDtype(second, X)[0];
  const [m, n, p, q] = [rowsOf(A), columnsOf(A), rowsOf(B), columnsOf(B)];
  const lead = commonLead(where, leadOf(A.shape), leadOf(B.shape));
  if (X.ndim === 1) return kronApply(a, b, X.reshape([X.size, 1])).reshape([...lead, m * p]);
  if (X.ndim < 2 || rowsOf(X) !== n * q) {
    throw new ShapeError({
      where,
      expected: `x of shape [.., ${n * q}, k] to follow ${showDims(a.shape)} and ${showDims(b.shape)}`,
      got: showDims(x.shape),
    });
  }
  const k = columnsOf(X);
  const all = commonLead(where, lead, leadOf(X.shape));
  const blocks = broadcastTo(X, [...all, n * q, k]).reshape([...all, n, q, k]);
  // b on each of the n blocks, then a across them.
  const inner = B.reshape([...leadOf(B.shape), 1, p, q])
    .matmul(blocks)
    .reshape([...all, n, p * k]);
  return A.matmul(inner).reshape([...all, m * p, k]);
}
