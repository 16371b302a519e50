import { abs, expandDims, eye, gt, max, ones, type Tensor, where } from "@lowrank/tensor";
import { columnsOf } from "./matrix.js";

/**
 * Gradients of singular and eigenvectors divide by the distance d of two values. Functions that do not depend on the
 * choice of the vectors inside a cluster have finite gradients all the same, but the quotient of two roundings is not.
 * So 1/d is replaced by
 *
 *     d / (d² + δ²),   d relative to the largest value, δ = 1e-12 in f64 and 1e-6 in f32,
 *
 * which is 1/d to all digits where d ≫ δ, and 0 for equal values (Lorentzian broadening: Liao et al. 2019,
 * arXiv:1903.09650).
 */
const broadening = (dtype: string): number => (dtype === "f64" ? 1e-12 : 1e-6);

/** d / (d² + δ²) for numbers relative to 1. */
export const safeInverse = (d: Tensor): Tensor => d.div(d.mul(d).add(broadening(d.dtype) ** 2));

/** The largest magnitude along the last axis, kept with size 1; 1 where all is 0. */
export function scaleOf(values: Tensor): Tensor {
  if (values.shape[values.ndim - 1] === 0)
    return ones([...values.shape.slice(0, -1), 1], { dtype: values.dtype });
  const top = max(abs(values), -1, { keepDims: true });
  return where(gt(top, 0), top, 1);
}

/** safeInverse beside the diagonal, 0 on it: its slope there is 1/δ², which second derivatives must not meet. */
function inverseBesideDiagonal(gaps: Tensor): Tensor {
  const n = columnsOf(gaps);
  const onDiagonal = eye(n, n, { dtype: "bool" });
  return where(onDiagonal, 0, safeInverse(where(onDiagonal, 1, gaps)));
}

/** F[i, j] = 1 / (w[j] - w[i]), broadened; the diagonal is 0. */
export function inverseGaps(w: Tensor): Tensor {
  const scale = scaleOf(w);
  const x = w.div(scale);
  return inverseBesideDiagonal(expandDims(x, -2).sub(expandDims(x, -1))).div(expandDims(scale, -1));
}

/** F[i, j] = 1 / (s[j]² - s[i]²), broadened; the diagonal is 0. */
export function inverseSquareGaps(s: Tensor): Tensor {
  const scale = scaleOf(s);
  const x = s.div(scale);
  const [row, column] = [expandDims(x, -2), expandDims(x, -1)];
  const gaps = row.sub(column).mul(row.add(column));
  return inverseBesideDiagonal(gaps).div(expandDims(scale.mul(scale), -1));
}

/** 1 / s, broadened: 0 where s is 0. */
export function inverseValues(s: Tensor): Tensor {
  const scale = scaleOf(s);
  return safeInverse(s.div(scale)).div(scale);
}
