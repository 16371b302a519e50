import { broadcastTo, concat, eye, ShapeError, type Tensor, zerosLike } from "@lowrank/tensor";
import { expm } from "../expm.js";
import { asMatrix, columnsOf, inCommonDtype, leadOf, rowsOf, showDims } from "../matrix.js";

/** Points x [.., n, p], n ≥ p, and another matrix of that shape, in one dtype. */
export function pair(where: string, x: Tensor, name: string, other: Tensor): [Tensor, Tensor] {
  const [X, Y] = inCommonDtype(asMatrix(where, "x", x), asMatrix(where, name, other));
  if (columnsOf(X) > rowsOf(X)) {
    throw new ShapeError({
      where,
      expected: "x of shape [.., n, p] with n ≥ p",
      got: showDims(x.shape),
    });
  }
  if (showDims(X.shape) !== showDims(Y.shape)) {
    throw new ShapeError({
      where,
      expected: `${name} of shape ${showDims(x.shape)} to follow x`,
      got: showDims(other.shape),
    });
  }
  return [X, Y];
}

/** Identities [.., n, n] beside matrices x of any size. */
export function identityLike(x: Tensor, n: number): Tensor {
  return broadcastTo(eye(n, n, { dtype: x.dtype }), [...leadOf(x.shape), n, n]);
}

/** [x d] exp([[a, -s], [1, b]]) [1; 0], with blocks of size p; b = null is 0. */
export function curve(x: Tensor, d: Tensor, a: Tensor, s: Tensor, b: Tensor | null): Tensor {
  const p = columnsOf(x);
  const top = concat([a, s.neg()], -1);
  const bottom = concat([identityLike(a, p), b ?? zerosLike(a)], -1);
  const first = expm(concat([top, bottom], -2)).slice([...leadOf(x.shape).map(() => null), null, [0, p]]);
  return concat([x, d], -1).matmul(first);
}
