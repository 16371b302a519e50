import { customVjp, eq, expandDims, type Tensor, where } from "@lowrank/tensor";
import { scaleColumns, scaleRows } from "../diagonal.js";
import { columnsOf, rowsOf } from "../matrix.js";
import { svdFrom } from "../svd.js";

/** A function of singular values with f(0) = 0. */
export interface OfValues {
  /** f(s), [.., q]. */
  values: Tensor;
  /** (f(s_i) - f(s_j)) / (s_i - s_j), the slope where they are equal, [.., q, q]. */
  slopes: Tensor;
}

/**
 * U diag(f(s)) Vᵀ of a = U diag(s) Vᵀ. With M = Uᵀ G V the derivative along G, which is also its own adjoint, is
 *
 *     U (Γ⁺ ∘ sym M + Γ⁻ ∘ skew M) Vᵀ + (I - U Uᵀ) G V diag(f / s) Vᵀ + U diag(f / s) Uᵀ G (I - V Vᵀ)
 *
 * with Γ⁺ the slopes and Γ⁻_ij = (f_i + f_j) / (s_i + s_j): nothing is divided by the distance of equal values.
 *
 * Source: Noferini 2017, A formula for the Fréchet derivative of a generalized matrix function.
 */
export function spectralFunction(name: string, a: Tensor, of: (s: Tensor) => OfValues): Tensor {
  let backward: ((G: Tensor) => Tensor) | null = null;
  const [result] = customVjp(
    (x) => {
      const { u, s, vt } = svdFrom(name, x!);
      const { values, slopes } = of(s);
      backward = (G) => derivative(u, s, vt, values, slopes, G);
      return scaleColumns(u, values).matmul(vt);
    },
    ({ dys }) => [backward!(dys[0]!)],
  )(a);
  return result!;
}

/** x / y, 0 where y is 0. */
function ratio(x: Tensor, y: Tensor): Tensor {
  const none = eq(y, 0);
  return where(none, 0, x.div(where(none, 1, y)));
}

function derivative(U: Tensor, s: Tensor, Vt: Tensor, f: Tensor, slopes: Tensor, G: Tensor): Tensor {
  const [left, right] = [U.T.matmul(G), G.matmul(Vt.T)];
  const M = left.matmul(Vt.T);
  const both = (x: Tensor) => expandDims(x, -1).add(expandDims(x, -2));
  const means = ratio(both(f), both(s));
  const inner = slopes
    .mul(M.add(M.T))
    .add(means.mul(M.sub(M.T)))
    .mul(0.5);
  let out = U.matmul(inner).matmul(Vt);
  const quotient = ratio(f, s);
  if (rowsOf(U) > columnsOf(U)) out = out.add(scaleColumns(right.sub(U.matmul(M)), quotient).matmul(Vt));
  if (columnsOf(Vt) > rowsOf(Vt)) out = out.add(U.matmul(scaleRows(left.sub(M.matmul(Vt)), quotient)));
  return out;
}
