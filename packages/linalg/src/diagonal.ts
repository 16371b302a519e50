import { broadcastTo, eye, type Tensor, expandDims, slice, sum } from "@lowrank/tensor";
import { columnsOf, rowsOf } from "./matrix.js";

/** The main diagonal of matrices [.., m, n] as [.., min(m, n)]. */
export function diagonal(a: Tensor): Tensor {
  const q = Math.min(rowsOf(a), columnsOf(a));
  const lead = a.shape.slice(0, -2).map(() => null);
  const square = slice(a, [...lead, [0, q], [0, q]]);
  return sum(square.mul(eye(q, q, { dtype: a.dtype })), -1);
}

/** Matrices [.., n, n] with the given numbers [.., n] on the diagonal. */
export function diagonalMatrix(d: Tensor): Tensor {
  const n = d.shape[d.ndim - 1]!;
  return broadcastTo(expandDims(d, -1), [...d.shape, n]).mul(eye(n, n, { dtype: d.dtype }));
}

/** a diag(d): column j of a [.., m, n] times d[.., j]. */
export const scaleColumns = (a: Tensor, d: Tensor): Tensor => a.mul(expandDims(d, -2));

/** diag(d) a: row i of a [.., m, n] times d[.., i]. */
export const scaleRows = (a: Tensor, d: Tensor): Tensor => a.mul(expandDims(d, -1));
