import { apply, type Tensor, zeros } from "@lowrank/tensor";
import { asMatrix, columnsOf, leadOf, rowsOf } from "../matrix.js";
import { singularValuesOp } from "../svd.js";

/** Singular values as the measures read them: those of a matrix without elements are one 0. */
export function spectrumOf(where: string, a: Tensor): Tensor {
  const x = asMatrix(where, "a", a);
  if (rowsOf(x) === 0 || columnsOf(x) === 0) return zeros([...leadOf(x.shape), 1], { dtype: x.dtype });
  return apply(singularValuesOp, [x], { where });
}
