import {
  applyMulti,
  argsort,
  type Aval,
  broadcastTo,
  defineOp,
  expandDims,
  type OpDef,
  takeAlongAxis,
  type Tensor,
} from "@lowrank/tensor";
import { qrPivotedNative } from "./native/qr.js";
import { qrPivotedKernel } from "./wasm/qr.js";
import { batchOf, expectFinite } from "./each-matrix.js";
import { asMatrix, expectMatrixAval, rowsOf } from "./matrix.js";
import { qrGradient } from "./qr.js";
import { householder } from "./reference/householder.js";

/** a [.., m, n] → q [.., m, k], r [.., k, n], p i32 [.., n] with k = min(m, n): a[:, p] = q r, the diagonal of r falling. */
export const qrPivotedOp: OpDef<{ readonly where: string }> = /* @__PURE__ */ defineOp<{
  readonly where: string;
}>("qrPivoted", {
  kind: "kernel",
  infer([a], { where }): Aval[] {
    expectMatrixAval(where, a!);
    const { dtype, dims } = a!;
    const lead = dims.slice(0, -2);
    const [m, n] = dims.slice(-2) as [number, number];
    const k = Math.min(m, n);
    return [
      { dtype, dims: [...lead, m, k] },
      { dtype, dims: [...lead, k, n] },
      { dtype: "i32", dims: [...lead, n] },
    ];
  },
  // The permutation is a constant: the gradient of qr(a[:, p]), its columns put back.
  vjp: (_, { inputs: [a], outputs: [q, r, p], dys: [dq, dr] }) =>
    dq || dr ? [takeColumns(qrGradient(takeColumns(a!, p!), q!, r!, dq!, dr!), argsort(p!, -1))] : [null],
  kernels: { wasm: qrPivotedKernel, native: qrPivotedNative },
  reference([x], { where }) {
    const batch = batchOf(x!);
    expectFinite(where, batch);
    const { count, rows: m, columns: n } = batch;
    const k = Math.min(m, n);
    const q = new Float64Array(count * m * k);
    const r = new Float64Array(count * k * n);
    const p = new Float64Array(count * n);
    for (let b = 0; b < count; b++) {
      const result = householder(batch.matrix(b), m, n, k, true);
      q.set(result.q, b * m * k);
      r.set(result.r, b * k * n);
      p.set(result.p, b * n);
    }
    return [q, r, p];
  },
});

/** Columns of x [.., m, n] in the order p [.., n]; leading axes equal. */
export const takeColumns = (x: Tensor, p: Tensor): Tensor =>
  takeAlongAxis(
    x,
    broadcastTo(expandDims(p, -2), [...p.shape.slice(0, -1), rowsOf(x), p.shape[p.ndim - 1]!]),
    -1,
  );

export interface PivotedQr {
  /** Orthonormal columns, [.., m, k], k = min(m, n). */
  q: Tensor;
  /** Upper triangular, [.., k, n], its diagonal ≥ 0 and not rising. */
  r: Tensor;
  /** i32 [.., n]: column j of q r is column p[j] of a. */
  p: Tensor;
}

/**
 * The QR decomposition with column pivoting:
 *
 *     a[:, p] = q r
 *
 * At each step the column with the longest rest comes next, so that the diagonal of r falls and shows the rank. a is
 * [.., m, n], f32 or f64, any m and n. Gradients as `qr`; the permutation is a constant.
 *
 * Source: Golub and Van Loan, Matrix Computations, 5.4.2.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Factorisations
 */
export function qrPivoted(a: Tensor): PivotedQr {
  const where = "qrPivoted";
  const [q, r, p] = applyMulti(qrPivotedOp, [asMatrix(where, "a", a)], { where });
  return { q: q!, r: r!, p: p! };
}
