import { atan2, flip, max, ShapeError, sum, type Tensor } from "@lowrank/tensor";
import { asMatrix, columnsOf, inCommonDtype, rowsOf, showDims } from "../matrix.js";
import { qrFrom } from "../qr.js";
import { svdFrom } from "../svd.js";
import { spectrumOf } from "./spectrum.js";

/**
 * The coherence (n / r) max_i ‖Qᵀ e_i‖² of the space of the r independent columns of a [.., n, r] with orthonormal basis Q,
 * as [..]: from 1 (spread evenly over the axes) to n / r (it holds an axis).
 *
 * Source: Candès and Recht 2009, arXiv:0805.4471, definition 1.2.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Measures
 */
export function coherence(a: Tensor): Tensor {
  const name = "coherence";
  const x = asMatrix(name, "a", a);
  const [n, r] = [rowsOf(x), columnsOf(x)];
  if (!(r >= 1 && r <= n)) {
    throw new ShapeError({
      where: name,
      expected: "a of shape [.., n, r] with r independent columns, 1 ≤ r ≤ n",
      got: showDims(a.shape),
    });
  }
  const { q } = qrFrom(name, x);
  return max(sum(q.mul(q), -1), -1).mul(n / r);
}

/**
 * The principal angles between the spaces of the columns of a [.., n, p] and b [.., n, q], ascending, in radians from 0 to
 * π/2, as [.., min(p, q)]. Cosines are the singular values of Qaᵀ Qb, sines those of (I - Qa Qaᵀ) Qb; both together give
 * small and large angles to all digits. Columns must be independent.
 *
 * Source: Björck and Golub 1973, Numerical methods for computing angles between linear subspaces.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Measures
 */
export function principalAngles(a: Tensor, b: Tensor): Tensor {
  const name = "principalAngles";
  const [x, y] = inCommonDtype(asMatrix(name, "a", a), asMatrix(name, "b", b));
  const n = rowsOf(x);
  if (rowsOf(y) !== n || columnsOf(x) > n || columnsOf(y) > n) {
    throw new ShapeError({
      where: name,
      expected: "a [.., n, p] and b [.., n, q] with p, q ≤ n",
      got: `${showDims(a.shape)} and ${showDims(b.shape)}`,
    });
  }
  const [wide, narrow] = columnsOf(x) >= columnsOf(y) ? [x, y] : [y, x];
  const [Q, P] = [qrFrom(name, wide).q, qrFrom(name, narrow).q];
  const along = Q.T.matmul(P);
  const cosines = svdFrom(name, along).s;
  const sines = flip(spectrumOf(name, P.sub(Q.matmul(along))), -1);
  return atan2(sines, cosines);
}
