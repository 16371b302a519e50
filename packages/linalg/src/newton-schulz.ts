import {
  abs,
  ConfigError,
  gt,
  max,
  minimum,
  sqrt,
  square,
  sum,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { asMatrix, columnsOf, leadOf, rowsOf } from "./matrix.js";

export interface NewtonSchulzOptions {
  /** How many iterations. Default 20: singular values down to about 0.001 of the bound come to 1. */
  steps?: number;
}

/**
 * Orthogonalises matrices by products alone: x₀ = a / bound ‖a‖₂, then
 *
 *     x ← 1.5 x - 0.5 x xᵀ x
 *
 * which moves every singular value s < √3 to 1: small ones by a factor of 1.5 in each step, those near 1 quadratically.
 * The limit is the factor u of `polar`. The bound is the smaller of ‖a‖_F and √(‖a‖₁ ‖a‖_∞). Singular values that are 0 stay
 * 0, and a zero matrix stays zero.
 *
 * Source: Higham 2008, Functions of Matrices, chapter 8; Bernstein and Newhouse 2024, arXiv:2409.20325.
 *
 * @throws ShapeError, DTypeError, ConfigError
 * @category Matrix functions
 */
export function newtonSchulz(a: Tensor, { steps = 20 }: NewtonSchulzOptions = {}): Tensor {
  if (!Number.isInteger(steps) || steps < 0) {
    throw new ConfigError({
      where: "newtonSchulz",
      expected: "steps to be an integer ≥ 0",
      got: String(steps),
    });
  }
  const start = asMatrix("newtonSchulz", "a", a);
  if (start.size === 0) return start;
  // The smaller Gram matrix is formed.
  const wide = rowsOf(start) < columnsOf(start);
  let x = start.div(normBound(start));
  for (let i = 0; i < steps; i++) {
    const cubed = wide ? x.matmul(x.T).matmul(x) : x.matmul(x.T.matmul(x));
    x = x.mul(1.5).sub(cubed.mul(0.5));
  }
  return x;
}

/** min(‖a‖_F, √(‖a‖₁ ‖a‖_∞)) as [.., 1, 1], 1 for a zero matrix. Scaled by max |a| first: squares do not overflow. */
function normBound(a: Tensor): Tensor {
  const lead = [...leadOf(a.shape), 1, 1];
  const magnitude = abs(a);
  const top = max(magnitude, [-2, -1]).reshape(lead);
  const safe = select(gt(top, 0), top, 1);
  // Ones for a zero matrix: the slope of a root is not asked for at 0.
  const unit = select(gt(top, 0), magnitude.div(safe), 1);
  const frobenius = sqrt(sum(square(unit), [-2, -1]).reshape(lead));
  const columns = max(sum(unit, -2), -1).reshape(lead);
  const rows = max(sum(unit, -1), -1).reshape(lead);
  const bound = minimum(frobenius, sqrt(columns.mul(rows)));
  return select(gt(top, 0), bound, 1).mul(safe);
}
