import {
  broadcastTo,
  cast,
  customVjp,
  gt,
  reciprocal,
  ShapeError,
  slice,
  sum,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { scaleColumns, scaleRows } from "./diagonal.js";
import {
  asMatrix,
  columnsOf,
  commonLead,
  epsOf,
  expectNumber,
  inCommonDtype,
  leadOf,
  rowsOf,
  showDims,
} from "./matrix.js";
import { type Svd, svdFrom } from "./svd.js";

export interface RankOptions {
  /** Singular values up to rtol times the largest count as 0. Default max(m, n) eps. */
  rtol?: number;
}

/** Which singular values count, [.., q] bool. */
function kept(where: string, a: Tensor, s: Tensor, rtol: number | undefined): Tensor {
  const tolerance = rtol ?? Math.max(rowsOf(a), columnsOf(a)) * epsOf(s.dtype);
  expectNumber(where, "rtol", tolerance, 0);
  const largest = slice(s, [...s.shape.slice(0, -1).map(() => null), [0, 1]]);
  return gt(s, largest.mul(tolerance));
}

/** 1 / s where it is kept, else 0; never a division by 0. */
const inverted = (s: Tensor, keep: Tensor): Tensor => select(keep, reciprocal(select(keep, s, 1)), 0);

/** x ↦ a⁺ x and x ↦ a⁺ᵀ x without forming a⁺. */
function pseudoInverseOf({ u, vt }: Svd, inverse: Tensor) {
  return {
    apply: (x: Tensor) => vt.T.matmul(scaleRows(u.T.matmul(x), inverse)),
    transposed: (x: Tensor) => u.matmul(scaleRows(vt.matmul(x), inverse)),
  };
}

export interface LeastSquares {
  /** [.., n, k], or [.., n] for b of one axis. */
  x: Tensor;
  /** i32 [..]: how many singular values counted. */
  rank: Tensor;
  /** Those of a, descending, [.., min(m, n)]. */
  singularValues: Tensor;
}

/**
 * The x of least length among those with the least ‖a x - b‖, by singular value decomposition: x = a⁺ b. a is [.., m, n] of
 * any rank, b [.., m, k], or [m]; leading axes broadcast.
 *
 * Gradients are those at constant rank; they have no gaps of singular values in them. With g = a⁺ᵀ xbar: bbar = g,
 * Abar = -g xᵀ + (b - a x) (a⁺ g)ᵀ + (a⁺ᵀ x) (xbar - a⁺ a xbar)ᵀ.
 *
 * Source: Golub and Van Loan, Matrix Computations, 5.5; Golub and Pereyra 1973, The differentiation of pseudo-inverses,
 * equation (4.12).
 *
 * @throws ShapeError, DTypeError, ConfigError; when computed NumericalError for NaN or infinity
 * @category Solving
 */
export function lstsq(a: Tensor, b: Tensor, { rtol }: RankOptions = {}): LeastSquares {
  const where = "lstsq";
  const matrix = asMatrix(where, "a", a);
  if (b.ndim === 1) {
    const { x, ...rest } = lstsq(a, b.reshape([b.size, 1]), rtol === undefined ? {} : { rtol });
    return { x: x.reshape([...leadOf(a.shape), columnsOf(a)]), ...rest };
  }
  const [A, B] = inCommonDtype(matrix, asMatrix(where, "b", b));
  const [m, n] = [rowsOf(A), columnsOf(A)];
  if (rowsOf(B) !== m) {
    throw new ShapeError({
      where,
      expected: `b of shape [.., ${m}, k] to follow a of shape ${showDims(a.shape)}`,
      got: showDims(b.shape),
    });
  }
  const parts = svdFrom(where, A);
  const keep = kept(where, A, parts.s, rtol);
  const pseudo = pseudoInverseOf(parts, inverted(parts.s, keep));
  const lead = commonLead(where, leadOf(A.shape), leadOf(B.shape));
  const [x] = customVjp(
    (_a, y) => pseudo.apply(y!),
    ({ inputs: [p, y], outputs: [solution], dys: [dx] }) => {
      const g = pseudo.transposed(dx!);
      const residual = y!.sub(p!.matmul(solution!));
      const outside = dx!.sub(pseudo.apply(p!.matmul(dx!)));
      const dA = residual
        .matmul(pseudo.apply(g).T)
        .sub(g.matmul(solution!.T))
        .add(pseudo.transposed(solution!).matmul(outside.T));
      return [dA, g];
    },
  )(broadcastTo(A, [...lead, m, n]), broadcastTo(B, [...lead, m, columnsOf(B)]));
  return { x: x!, rank: sum(cast(keep, "i32"), -1), singularValues: parts.s };
}

/**
 * The Moore-Penrose inverse of a [.., m, n] as [.., n, m]: v diag(1/s) uᵀ over the singular values that count.
 *
 * Gradients are those at constant rank (Golub and Pereyra 1973, The differentiation of pseudo-inverses, equation (4.12)):
 * with P = a⁺, Abar = -Pᵀ Pbar Pᵀ + (I - a P) Pbarᵀ P Pᵀ + Pᵀ P Pbarᵀ (I - P a).
 *
 * @throws ShapeError, DTypeError, ConfigError; when computed NumericalError for NaN or infinity
 * @category Solving
 */
export function pinv(a: Tensor, { rtol }: RankOptions = {}): Tensor {
  const where = "pinv";
  const A = asMatrix(where, "a", a);
  const { u, s, vt } = svdFrom(where, A);
  const inverse = inverted(s, kept(where, A, s, rtol));
  return customVjp(
    () => scaleColumns(vt.T, inverse).matmul(u.T),
    ({ inputs: [x], outputs: [P], dys: [dP] }) => {
      const [t, d] = [P!.T, dP!.T];
      const right = d.matmul(P!).matmul(t); // Pbarᵀ P Pᵀ [m, n]
      const left = t.matmul(P!).matmul(d); // Pᵀ P Pbarᵀ [m, n]
      const first = t.matmul(dP!).matmul(t).neg();
      return [first.add(right.sub(x!.matmul(P!.matmul(right)))).add(left.sub(left.matmul(P!).matmul(x!)))];
    },
  )(A)[0]!;
}
