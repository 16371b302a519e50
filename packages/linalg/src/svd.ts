import { apply, applyMulti, type Aval, defineOp, type OpDef, slice, type Tensor } from "@lowrank/tensor";
import { diagonalMatrix, scaleColumns, scaleRows } from "./diagonal.js";
import { type Batch, batchOf, expectFinite } from "./each-matrix.js";
import { noConvergence } from "./faults.js";
import { asMatrix, columnsOf, expectMatrixAval, rowsOf } from "./matrix.js";
import { jacobiSvd, type Svd as SvdArrays } from "./reference/jacobi-svd.js";
import { inverseSquareGaps, inverseValues } from "./spectral-gaps.js";
import { singularValuesNative, svdNative } from "./native/svd.js";
import { singularValuesKernel, svdKernel } from "./wasm/svd.js";

export interface SvdArg {
  /** The function that errors name. */
  readonly where: string;
  /** u is [m, m] and vt [n, n], else [m, q] and [q, n] with q = min(m, n). */
  readonly full: boolean;
}

/** a [.., m, n] → u, s [.., q] descending, vt: a = u[:, :q] diag(s) vt[:q]. */
export const svdOp: OpDef<SvdArg> = /* @__PURE__ */ defineOp<SvdArg>("svd", {
  kind: "kernel",
  infer([a], { where, full }): Aval[] {
    expectMatrixAval(where, a!);
    const { dtype, dims } = a!;
    const lead = dims.slice(0, -2);
    const [m, n] = dims.slice(-2) as [number, number];
    const q = Math.min(m, n);
    return [
      { dtype, dims: [...lead, m, full ? m : q] },
      { dtype, dims: [...lead, q] },
      { dtype, dims: [...lead, full ? n : q, n] },
    ];
  },
  vjp: (_, { outputs: [u, s, vt], dys: [du, ds, dvt] }) => {
    const q = s!.shape[s!.ndim - 1]!;
    const V = vt!.T;
    const dV = dvt ? dvt.T : null;
    const thin = (x: Tensor) => columns(x, 0, q);
    return [
      svdGradient(thin(u!), s!, thin(V), du && thinGradient(u!, du, q), ds!, dV && thinGradient(V, dV, q)),
    ];
  },
  kernels: { wasm: svdKernel, native: svdNative },
  reference([x], { where, full }) {
    const batch = batchOf(x!);
    const { count, rows: m, columns: n } = batch;
    const q = Math.min(m, n);
    const [width, height] = full ? [m, n] : [q, q];
    const u = new Float64Array(count * m * width);
    const s = new Float64Array(count * q);
    const vt = new Float64Array(count * height * n);
    for (const [b, parts] of svdsOf(where, batch, full).entries()) {
      u.set(parts.u, b * m * width);
      s.set(parts.s, b * q);
      vt.set(parts.vt, b * height * n);
    }
    return [u, s, vt];
  },
});

/** The singular values alone. Their gradient U diag(sbar) Vᵀ has no gaps in it: it is safe for equal values. */
export const singularValuesOp: OpDef<{ readonly where: string }> = /* @__PURE__ */ defineOp<{
  readonly where: string;
}>("singularValues", {
  kind: "kernel",
  infer([a], { where }) {
    expectMatrixAval(where, a!);
    const { dtype, dims } = a!;
    const [m, n] = dims.slice(-2) as [number, number];
    return { dtype, dims: [...dims.slice(0, -2), Math.min(m, n)] };
  },
  vjp: (ds, { inputs: [a], arg: { where } }) => {
    const [u, s, vt] = applyMulti(svdOp, [a!], { where, full: false });
    return [svdGradient(u!, s!, vt!.T, null, ds, null)];
  },
  kernels: { wasm: singularValuesKernel, native: singularValuesNative },
  reference([x], { where }) {
    const batch = batchOf(x!);
    const q = Math.min(batch.rows, batch.columns);
    const s = new Float64Array(batch.count * q);
    for (const [b, parts] of svdsOf(where, batch, false).entries()) s.set(parts.s, b * q);
    return s;
  },
});

function svdsOf(where: string, batch: Batch, full: boolean): SvdArrays[] {
  expectFinite(where, batch);
  return Array.from({ length: batch.count }, (_, b) => {
    const parts = jacobiSvd(batch.matrix(b), batch.rows, batch.columns, full);
    if (parts.remainder > 0) throw noConvergence(where, batch.lead, b, parts.rounds, parts.remainder);
    return parts;
  });
}

const columns = (x: Tensor, from: number, to: number): Tensor =>
  from === 0 && to === columnsOf(x)
    ? x
    : slice(x, [...x.shape.slice(0, -2).map(() => null), null, [from, to]]);

/** What arrives at the first q columns of a square orthogonal x: the others turn with them, -X₂ X₂barᵀ X₁. */
function thinGradient(x: Tensor, dx: Tensor, q: number): Tensor {
  const k = columnsOf(x);
  if (k === q) return dx;
  return columns(dx, 0, q).sub(columns(x, q, k).matmul(columns(dx, q, k).T.matmul(columns(x, 0, q))));
}

/**
 * Abar = U [(J + Jᵀ) S + S (K + Kᵀ) + diag(sbar)] Vᵀ + (I - U Uᵀ) Ubar S⁻¹ Vᵀ + U S⁻¹ Vbarᵀ (I - V Vᵀ),
 * J = F ∘ (Uᵀ Ubar), K = F ∘ (Vᵀ Vbar), F[i, j] = 1 / (s[j]² - s[i]²).
 * Source: Townsend 2016, Differentiating the singular value decomposition.
 */
function svdGradient(
  U: Tensor,
  s: Tensor,
  V: Tensor,
  dU: Tensor | null,
  ds: Tensor | null,
  dV: Tensor | null,
): Tensor {
  const Vt = V.T;
  if (!dU && !dV) return scaleColumns(U, ds!).matmul(Vt);
  const F = inverseSquareGaps(s);
  const inverse = inverseValues(s);
  let inner = ds ? diagonalMatrix(ds) : null;
  const plus = (x: Tensor) => {
    inner = inner ? inner.add(x) : x;
  };
  let outer: Tensor | null = null;
  if (dU) {
    const along = U.T.matmul(dU);
    const J = F.mul(along);
    plus(scaleColumns(J.add(J.T), s));
    if (rowsOf(U) > columnsOf(U)) outer = scaleColumns(dU.sub(U.matmul(along)), inverse).matmul(Vt);
  }
  if (dV) {
    const along = Vt.matmul(dV);
    const K = F.mul(along);
    plus(scaleRows(K.add(K.T), s));
    if (rowsOf(V) > columnsOf(V)) {
      const beside = U.matmul(scaleColumns(dV.sub(V.matmul(along)), inverse).T);
      outer = outer ? outer.add(beside) : beside;
    }
  }
  const main = U.matmul(inner!).matmul(Vt);
  return outer ? main.add(outer) : main;
}

export interface SvdOptions {
  /** u [m, m] and vt [n, n] instead of [m, q] and [q, n], q = min(m, n). Default false. */
  full?: boolean;
}

export interface Svd {
  /** Left singular vectors as columns; the element of largest magnitude of each is positive. */
  u: Tensor;
  /** Singular values, descending, ≥ 0, [.., min(m, n)]. */
  s: Tensor;
  /** Right singular vectors as rows. */
  vt: Tensor;
}

/**
 * The singular value decomposition
 *
 *     a = u diag(s) vt
 *
 * of a [.., m, n], f32 or f64, any m and n. The signs are fixed by u, so that every backend gives the same vectors where
 * the values are distinct.
 *
 * Gradients of u and vt divide by the distances of squared singular values; they are right for functions that do not
 * depend on signs, on the basis inside a cluster of equal values, or with `full` on the basis of the complement.
 * Distances below 1e-12 (f64) or 1e-6 (f32) of the largest are broadened; second derivatives divide by the squares of
 * distances. Gradients of s alone are safe everywhere, and so are those of `polar` and `pinv`.
 *
 * Source: Golub and Van Loan, Matrix Computations, 8.6; gradient: Townsend 2016, Differentiating the singular value
 * decomposition, with the broadening of Liao et al. 2019, arXiv:1903.09650.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Factorisations
 */
export function svd(a: Tensor, { full = false }: SvdOptions = {}): Svd {
  return svdFrom("svd", a, full);
}

/** The same, with errors in the name of `where`. */
export function svdFrom(where: string, a: Tensor, full = false): Svd {
  const [u, s, vt] = applyMulti(svdOp, [asMatrix(where, "a", a)], { where, full });
  return { u: u!, s: s!, vt: vt! };
}

/**
 * The singular values of a [.., m, n], descending, [.., min(m, n)]: cheaper than `svd`, and its gradient U diag(sbar) Vᵀ is
 * safe for equal values.
 *
 * @throws as `svd`
 * @category Factorisations
 */
export function singularValues(a: Tensor): Tensor {
  const where = "singularValues";
  return apply(singularValuesOp, [asMatrix(where, "a", a)], { where });
}
