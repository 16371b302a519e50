import { customVjp, expandDims, gt, reciprocal, type Tensor, where as select } from "@lowrank/tensor";
import { symmetricPart } from "./cholesky.js";
import { scaleColumns, scaleRows } from "./diagonal.js";
import { asMatrix, columnsOf, rowsOf } from "./matrix.js";
import { inverseValues } from "./spectral-gaps.js";
import { svdFrom } from "./svd.js";

export interface Polar {
  /** [.., m, n]: orthonormal columns (m ≥ n) or rows (m < n). */
  u: Tensor;
  /** Symmetric positive semidefinite, [.., n, n]. */
  p: Tensor;
}

/**
 * The polar decomposition
 *
 *     a = u p
 *
 * of a [.., m, n], f32 or f64: u is the nearest matrix with orthonormal columns (or rows), p = (aᵀ a)^(1/2). From the
 * singular value decomposition a = U S Vᵀ: u = U Vᵀ, p = V S Vᵀ.
 *
 * The gradient divides by sums of singular values, never by their distances: it is exact for equal ones, and finite
 * for a of full rank. With E[i, j] = 1 / (s[i] + s[j]) and G = Uᵀ ubar V, that of u is
 *
 *     Abar = U (E ∘ (G - Gᵀ)) Vᵀ + (I - U Uᵀ) ubar V S⁻¹ Vᵀ + U S⁻¹ Uᵀ ubar (I - V Vᵀ)
 *
 * and with H = Vᵀ sym(pbar) that of p is 2 U (S (E ∘ H V) Vᵀ + H (I - V Vᵀ)).
 *
 * Source: Higham 2008, Functions of Matrices, chapter 8.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Factorisations
 */
export function polar(a: Tensor): Polar {
  const x = asMatrix("polar", "a", a);
  const { u: U, s, vt: Vt } = svdFrom("polar", x);
  const V = Vt.T;
  const sums = () => {
    const both = expandDims(s, -2).add(expandDims(s, -1));
    const some = gt(both, 0);
    return select(some, reciprocal(select(some, both, 1)), 0);
  };

  const fromU = (du: Tensor): Tensor => {
    const G = U.T.matmul(du).matmul(V);
    let out = U.matmul(sums().mul(G.sub(G.T))).matmul(Vt);
    if (rowsOf(x) > columnsOf(x)) {
      const beside = du.sub(U.matmul(U.T.matmul(du)));
      out = out.add(scaleColumns(beside.matmul(V), inverseValues(s)).matmul(Vt));
    }
    if (rowsOf(x) < columnsOf(x)) {
      const beside = du.sub(du.matmul(V).matmul(Vt));
      out = out.add(U.matmul(scaleRows(U.T.matmul(beside), inverseValues(s))));
    }
    return out;
  };

  const fromP = (dp: Tensor): Tensor => {
    const H = Vt.matmul(symmetricPart(dp));
    const inside = H.matmul(V);
    let inner = scaleRows(sums().mul(inside), s).matmul(Vt);
    if (rowsOf(x) < columnsOf(x)) inner = inner.add(H.sub(inside.matmul(Vt)));
    return U.matmul(inner).mul(2);
  };

  const [u, p] = customVjp(
    () => [U.matmul(Vt), scaleColumns(V, s).matmul(Vt)],
    ({ dys: [du, dp] }) => {
      const parts = [du && fromU(du), dp && fromP(dp)].filter((t) => t !== null && t !== undefined);
      return [parts.reduce((f, g) => f.add(g))];
    },
  )(x);
  return { u: u!, p: p! };
}
