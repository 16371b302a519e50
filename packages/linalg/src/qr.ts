import {
  applyMulti,
  type Aval,
  concat,
  ConfigError,
  defineOp,
  type OpDef,
  slice,
  type Tensor,
  tril,
  triu,
  zerosLike,
} from "@lowrank/tensor";
import { qrNative } from "./native/qr.js";
import { qrKernel } from "./wasm/qr.js";
import { batchOf, expectFinite } from "./each-matrix.js";
import { asMatrix, columnsOf, expectMatrixAval, rowsOf } from "./matrix.js";
import { householder } from "./reference/householder.js";
import { applyTriangularSolve } from "./triangular-solve.js";

export interface QrArg {
  /** The function that errors name. */
  readonly where: string;
  /** q is [m, m] and r [m, n], else q is [m, min(m, n)] and r [min(m, n), n]. */
  readonly full: boolean;
}

/** a [.., m, n] → q [.., m, k], r [.., k, n]; r is upper triangular with a diagonal ≥ 0, a = q r. */
export const qrOp: OpDef<QrArg> = /* @__PURE__ */ defineOp<QrArg>("qr", {
  kind: "kernel",
  infer([a], { where, full }): Aval[] {
    expectMatrixAval(where, a!);
    const { dtype, dims } = a!;
    const lead = dims.slice(0, -2);
    const [m, n] = dims.slice(-2) as [number, number];
    const k = full ? m : Math.min(m, n);
    return [
      { dtype, dims: [...lead, m, k] },
      { dtype, dims: [...lead, k, n] },
    ];
  },
  vjp: (_, { inputs: [a], outputs: [q, r], dys: [dq, dr] }) => {
    const k = Math.min(rowsOf(a!), columnsOf(a!));
    const thin = slice(q!, [...a!.shape.slice(0, -2).map(() => null), null, [0, k]]);
    return [qrGradient(a!, thin, head(r!, k), thinGradient(q!, thin, dq!, k), dr ? head(dr, k) : null)];
  },
  kernels: { wasm: qrKernel, native: qrNative },
  reference([x], { where, full }) {
    const batch = batchOf(x!);
    expectFinite(where, batch);
    const { count, rows: m, columns: n } = batch;
    const thin = Math.min(m, n);
    const k = full ? m : thin;
    const q = new Float64Array(count * m * k);
    const r = new Float64Array(count * k * n);
    for (let b = 0; b < count; b++) {
      const result = householder(batch.matrix(b), m, n, k);
      q.set(result.q, b * m * k);
      r.set(result.r, b * k * n);
    }
    return [q, r];
  },
});

/** The first k rows. */
const head = (x: Tensor, k: number): Tensor =>
  rowsOf(x) === k ? x : slice(x, [...x.shape.slice(0, -2).map(() => null), [0, k]]);

/**
 * What arrives at the first k columns of q. Those beyond are any basis of the complement: they turn with the first by
 * Ω₂₁ᵀ, so that their gradient comes down as -Q₂ Q₂barᵀ Q₁.
 */
function thinGradient(q: Tensor, thin: Tensor, dq: Tensor | null, k: number): Tensor | null {
  if (!dq || columnsOf(q) === k) return dq;
  const lead = q.shape.slice(0, -2).map(() => null);
  const [rest, restGradient] = [q, dq].map((t) => slice(t, [...lead, null, [k, null]])) as [Tensor, Tensor];
  return slice(dq, [...lead, null, [0, k]]).sub(rest.matmul(restGradient.T.matmul(thin)));
}

/**
 * Abar of a = q r, thin. Tall: (Qbar + Q copyltu(M)) R⁻ᵀ with M = R Rbarᵀ - Qbarᵀ Q and copyltu(M) the symmetric matrix of
 * M's lower triangle. Wide, a = [a₁ a₂] = q [r₁ r₂]: q and r₁ are those of a₁, and r₂ = qᵀ a₂.
 * Source: Walter and Lehmann 2013, and Seeger et al. 2017, arXiv:1710.08717; Roberts and Roberts 2020,
 * arXiv:2009.10071, for wide matrices.
 */
export function qrGradient(a: Tensor, q: Tensor, r: Tensor, dq: Tensor | null, dr: Tensor | null): Tensor {
  const [m, n] = [rowsOf(a), columnsOf(a)];
  if (m >= n) return tallGradient(q, r, dq, dr);
  const lead = a.shape.slice(0, -2).map(() => null);
  const left = (t: Tensor) => slice(t, [...lead, null, [0, m]]);
  const right = (t: Tensor) => slice(t, [...lead, null, [m, n]]);
  if (!dr) return concat([tallGradient(q, left(r), dq, null), zerosLike(right(a))], -1);
  const through = right(a).matmul(right(dr).T);
  const first = tallGradient(q, left(r), dq ? dq.add(through) : through, left(dr));
  return concat([first, q.matmul(right(dr))], -1);
}

function tallGradient(q: Tensor, r: Tensor, dq: Tensor | null, dr: Tensor | null): Tensor {
  const fromR = dr ? r.matmul(triu(dr).T) : null;
  const fromQ = dq ? dq.T.matmul(q).neg() : null;
  const M = fromR && fromQ ? fromR.add(fromQ) : (fromR ?? fromQ)!;
  const copied = q.matmul(tril(M).add(tril(M, -1).T));
  return applyTriangularSolve(r, dq ? dq.add(copied) : copied, {
    lower: false,
    transpose: true,
    left: false,
    where: "gradient of qr",
  });
}

export interface QrOptions {
  /**
   * "thin" (default): q [m, k] and r [k, n] with k = min(m, n). "full": q [m, m] and r [m, n]; the columns of q beyond
   * the n-th are some orthonormal basis of the complement.
   */
  mode?: "thin" | "full";
}

/**
 * The QR decomposition a = q r by Householder's reflections: the columns of q are orthonormal, r is upper triangular with
 * a diagonal ≥ 0, which makes both unique for a of full rank. a is [.., m, n], f32 or f64, any m and n.
 *
 * The gradient needs the first min(m, n) columns of a to be independent. With "full" it is right for functions which do
 * not depend on the choice of the basis beyond.
 *
 * Source: Golub and Van Loan, Matrix Computations, 5.2; gradients: Seeger et al. 2017, arXiv:1710.08717, and for wide
 * matrices Roberts and Roberts 2020, arXiv:2009.10071.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Factorisations
 */
export function qr(a: Tensor, { mode = "thin" }: QrOptions = {}): { q: Tensor; r: Tensor } {
  if (mode !== "thin" && mode !== "full") {
    throw new ConfigError({ where: "qr", expected: 'mode "thin" or "full"', got: String(mode) });
  }
  return qrFrom("qr", a, mode === "full");
}

/** The same, with errors in the name of `where`. */
export function qrFrom(where: string, a: Tensor, full = false): { q: Tensor; r: Tensor } {
  const [q, r] = applyMulti(qrOp, [asMatrix(where, "a", a)], { where, full });
  return { q: q!, r: r! };
}
