import { abs, eq, expandDims, gt, lt, maximum, relu, type Tensor, tensor, where } from "@lowrank/tensor";
import { asMatrix, columnsOf, expectNumber, rowsOf } from "../matrix.js";
import { safeInverse, scaleOf } from "../spectral-gaps.js";
import { expectRank } from "./expect.js";
import { spectralFunction } from "./spectral-function.js";

/**
 * The nearest matrix of rank r to a [.., m, n] in every unitarily invariant norm, U_r diag(s_r) V_rᵀ: the projection onto
 * matrices of rank r. The gradient is safe for equal values on one side of the cut; where s_r = s_{r+1} the projection
 * is not unique, and the gradient across is broadened as that of `svd` is.
 *
 * Source: Eckart and Young 1936; gradient: Noferini 2017, A formula for the Fréchet derivative of a
 * generalized matrix function.
 *
 * @throws ConfigError for a rank that is not from 1 to min(m, n); otherwise as `svd`
 * @category Low rank
 */
export function bestRank(a: Tensor, rank: number): Tensor {
  const name = "bestRank";
  const x = asMatrix(name, "a", a);
  const q = Math.min(rowsOf(x), columnsOf(x));
  expectRank(name, rank, q);
  const kept = Float64Array.from({ length: q }, (_, j) => (j < rank ? 1 : 0));
  return spectralFunction(name, x, (s) => {
    const mask = tensor(kept, { dtype: s.dtype });
    const values = s.mul(mask);
    const [row, column] = [expandDims(mask, -2), expandDims(mask, -1)];
    // Across the cut s_i / (s_i - s_j); 1 between kept values, 0 between the others.
    const scale = scaleOf(s);
    const y = s.div(scale);
    const gaps = expandDims(y, -1).sub(expandDims(y, -2));
    const across = row.sub(column).abs();
    const top = maximum(expandDims(y.mul(mask), -1), expandDims(y.mul(mask), -2));
    const quotient = top.mul(safeInverse(where(eq(across, 0), 1, abs(gaps))));
    return { values, slopes: row.mul(column).add(across.mul(quotient)) };
  });
}

/**
 * Soft thresholding of singular values, U diag(max(s - lambda, 0)) Vᵀ of a [.., m, n]: the proximal map of the nuclear
 * norm,
 *
 *     argmin_Z ½ ‖Z - a‖_F² + lambda ‖Z‖_*
 *
 * The gradient is safe for equal values.
 *
 * Source: Cai, Candès and Shen 2010, arXiv:0810.3286, theorem 2.1; gradient: Noferini 2017, A formula for the Fréchet derivative of a
 * generalized matrix function.
 *
 * @throws ConfigError for a negative lambda; otherwise as `svd`
 * @category Low rank
 */
export function singularValueThreshold(a: Tensor, lambda: number): Tensor {
  const name = "singularValueThreshold";
  expectNumber(name, "lambda", lambda, 0);
  return spectralFunction(name, asMatrix(name, "a", a), (s) => {
    const values = relu(s.sub(lambda));
    const both = (x: Tensor, combine: (a: Tensor, b: Tensor) => Tensor) =>
      combine(expandDims(x, -1), expandDims(x, -2));
    const gaps = abs(both(s, (a, b) => a.sub(b)));
    const rises = abs(both(values, (a, b) => a.sub(b)));
    const above = gt(s, lambda).astype(s.dtype);
    // Only a pair on both sides of lambda has another slope than 1 or 0, and it is apart.
    const mixed = lt(
      both(above, (a, b) => a.mul(b)),
      both(above, maximum),
    );
    const quotient = rises.div(where(mixed, gaps, 1));
    return {
      values,
      slopes: where(
        mixed,
        quotient,
        both(above, (a, b) => a.mul(b)),
      ),
    };
  });
}
