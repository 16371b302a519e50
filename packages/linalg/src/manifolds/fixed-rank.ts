import { concat, ShapeError, type Tensor } from "@lowrank/tensor";
import { diagonalMatrix } from "../diagonal.js";
import { asFactors, type Factors } from "../low-rank/factored.js";
import { svdOfProduct } from "../low-rank/svd-of-product.js";
import { leading } from "../low-rank/truncation.js";
import { asMatrix, columnsOf, rowsOf, showDims } from "../matrix.js";
import type { Svd } from "../svd.js";

/** A tangent vector u m vt + up vt + u vpᵀ at u diag(s) vt, with uᵀ up = 0 and vt vp = 0. */
export interface FixedRankTangent {
  /** [.., r, r] */
  m: Tensor;
  /** [.., m, r] */
  up: Tensor;
  /** [.., n, r] */
  vp: Tensor;
}

/**
 * The orthogonal projection of g [.., m, n] onto the tangent space at a point: u uᵀ g + g v vᵀ - u uᵀ g v vᵀ. g may be given
 * by factors, which are never multiplied out.
 */
function project({ u, vt }: Svd, g: Tensor | Factors): FixedRankTangent {
  const where = "fixedRank.project";
  const { left, right } = "left" in g ? asFactors(where, g) : { left: null, right: asMatrix(where, "g", g) };
  const rows = rowsOf(left ?? right);
  if (rows !== rowsOf(u) || columnsOf(right) !== columnsOf(vt)) {
    throw new ShapeError({
      where,
      expected: `g of shape [.., ${rowsOf(u)}, ${columnsOf(vt)}] to follow the point`,
      got: showDims([...right.shape.slice(0, -2), rows, columnsOf(right)]),
    });
  }
  const V = vt.T;
  const gV = left ? left.matmul(right.matmul(V)) : right.matmul(V);
  const gtU = left ? right.T.matmul(left.T.matmul(u)) : right.T.matmul(u);
  const m = u.T.matmul(gV);
  return { m, up: gV.sub(u.matmul(m)), vp: gtU.sub(V.matmul(m.T)) };
}

/** The tangent vector as factors of rank 2r: [u m + up, u] · [vt; vpᵀ]. */
function embed({ u, vt }: Svd, { m, up, vp }: FixedRankTangent): Factors {
  return { left: concat([u.matmul(m).add(up), u], -1), right: concat([vt, vp.T], -2) };
}

/**
 * The matrix of rank r nearest to the point plus a tangent vector, from a decomposition of size 2r: the metric projection,
 * which agrees with the geodesic to second order.
 */
function retract(point: Svd, tangent: FixedRankTangent): Svd {
  const moved = embed(point, { ...tangent, m: tangent.m.add(diagonalMatrix(point.s)) });
  return leading(svdOfProduct("fixedRank.retract", moved), columnsOf(point.u));
}

/**
 * The manifold of matrices [.., m, n] of rank r, each given by its decomposition u diag(s) vt as `truncatedSvd` returns it, f32 or
 * f64, batched. No matrix [m, n] is formed.
 *
 * Source: Vandereycken 2013, arXiv:1209.3834, sections 2 and 3; Absil and Malick 2012, Projection-like retractions on matrix
 * manifolds, for the order of the retraction.
 *
 * @example
 * ```ts
 * const tangent = fixedRank.project(point, gradient);
 * const next = fixedRank.retract(point, { m: tangent.m.mul(-t), up: tangent.up.mul(-t), vp: tangent.vp.mul(-t) });
 * ```
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Manifolds
 */
export const fixedRank = { project, embed, retract } as const;
