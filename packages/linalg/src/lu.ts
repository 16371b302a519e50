import {
  applyMulti,
  argsort,
  type Aval,
  concat,
  defineOp,
  eye,
  type OpDef,
  slice,
  takeAlongAxis,
  type Tensor,
  tril,
  triu,
  expandDims,
  broadcastTo,
} from "@lowrank/tensor";
import { luNative } from "./native/lu.js";
import { luKernel } from "./wasm/lu.js";
import { batchOf, expectFinite } from "./each-matrix.js";
import { asMatrix, columnsOf, expectMatrixAval, rowsOf } from "./matrix.js";
import { applyTriangularSolve, type TriangularSolveOptions } from "./triangular-solve.js";

export interface LuArg {
  /** The function that errors name. */
  readonly where: string;
}

/**
 * a [.., m, n] → packed [.., m, n], p i32 [.., m], sign [..]: row i of packed is that of a[p] = l u, u on and above the
 * diagonal, l below it (its diagonal is 1). sign is 1 or -1, the determinant of the permutation. A column without a
 * pivot is left as it is: singular matrices are factored too.
 */
export const luOp: OpDef<LuArg> = /* @__PURE__ */ defineOp<LuArg>("lu", {
  kind: "kernel",
  infer([a], { where }): Aval[] {
    expectMatrixAval(where, a!);
    const { dtype, dims } = a!;
    return [a!, { dtype: "i32", dims: dims.slice(0, -1) }, { dtype, dims: dims.slice(0, -2) }];
  },
  vjp: (_, { outputs: [packed, p], dys: [d] }) => [d ? luVjp(packed!, p!, d) : null],
  kernels: { wasm: luKernel, native: luNative },
  reference([x], { where }) {
    const batch = batchOf(x!);
    expectFinite(where, batch);
    const { count, rows: m, columns: n } = batch;
    const packed = new Float64Array(count * m * n);
    const p = new Float64Array(count * m);
    const sign = new Float64Array(count);
    for (let b = 0; b < count; b++) {
      const a = batch.matrix(b);
      const order = Float64Array.from({ length: m }, (_, i) => i);
      sign[b] = eliminate(a, order, m, n);
      packed.set(a, b * m * n);
      p.set(order, b * m);
    }
    return [packed, p, sign];
  },
});

/** Gaussian elimination in place with the largest pivot of each column, the first of equal ones; gives the sign. */
function eliminate(a: Float64Array, order: Float64Array, m: number, n: number): number {
  let sign = 1;
  for (let k = 0; k < Math.min(m, n); k++) {
    let best = k;
    for (let i = k + 1; i < m; i++) if (Math.abs(a[i * n + k]!) > Math.abs(a[best * n + k]!)) best = i;
    if (best !== k) {
      for (let j = 0; j < n; j++) [a[k * n + j], a[best * n + j]] = [a[best * n + j]!, a[k * n + j]!];
      [order[k], order[best]] = [order[best]!, order[k]!];
      sign = -sign;
    }
    const pivot = a[k * n + k]!;
    if (pivot === 0) continue;
    for (let i = k + 1; i < m; i++) {
      const factor = (a[i * n + k]! /= pivot);
      for (let j = k + 1; j < n; j++) a[i * n + j]! -= factor * a[k * n + j]!;
    }
  }
  return sign;
}

/** Rows of x [.., m, n] in the order p [.., m]; leading axes equal. */
export const takeRows = (x: Tensor, p: Tensor): Tensor =>
  takeAlongAxis(x, broadcastTo(expandDims(p, -1), [...p.shape, columnsOf(x)]), -2);

/** What arrives at a, given what arrives at its packed factors. */
export const luVjp = (packed: Tensor, p: Tensor, d: Tensor): Tensor =>
  takeRows(luGradient(packed, d), argsort(p, -1));

/**
 * What arrives at a[p], given what arrives at l and u packed in one matrix. With L₁ and U₁ the leading square parts, tril
 * strict and triu with the diagonal:
 *
 *     m ≤ n:  L₁⁻ᵀ [U₁bar + tril(Lᵀ Lbar - Ubar Uᵀ) U₁⁻ᵀ | U₂bar]
 *     m > n:  [L₁bar + L₁⁻ᵀ triu(Ubar Uᵀ - Lᵀ Lbar) ; L₂bar] U₁⁻ᵀ
 */
function luGradient(packed: Tensor, d: Tensor): Tensor {
  const [m, n] = [rowsOf(packed), columnsOf(packed)];
  const q = Math.min(m, n);
  const block = (x: Tensor, rows: readonly [number, number], columns: readonly [number, number]) =>
    slice(x, [...x.shape.slice(0, -2).map(() => null), rows, columns]);
  const solve = (a: Tensor, b: Tensor, options: TriangularSolveOptions) =>
    applyTriangularSolve(a, b, { ...options, transpose: true, where: "gradient of lu" });
  const square = block(packed, [0, q], [0, q]);
  const L1 = tril(square, -1).add(eye(q, q, { dtype: packed.dtype }));
  const U1 = triu(square);
  const dSquare = block(d, [0, q], [0, q]);
  const [dL1, dU1] = [tril(dSquare, -1), triu(dSquare)];
  // Lᵀ Lbar over all rows of l, Ubar Uᵀ over all columns of u.
  let fromL = L1.T.matmul(dL1);
  let fromU = dU1.matmul(U1.T);
  const [below, right] = [m > q, n > q];
  const [L2, dL2] = below ? [packed, d].map((x) => block(x, [q, m], [0, q])) : [];
  const [U2, dU2] = right ? [packed, d].map((x) => block(x, [0, q], [q, n])) : [];
  if (below) fromL = fromL.add(L2!.T.matmul(dL2!));
  if (right) fromU = fromU.add(dU2!.matmul(U2!.T));
  return below ? tall() : wide();

  function wide(): Tensor {
    const inner = tril(fromL.sub(fromU), -1);
    const first = dU1.add(solve(U1, inner, { lower: false, left: false }));
    const all = right ? concat([first, dU2!], -1) : first;
    return solve(square, all, { unitDiagonal: true });
  }

  function tall(): Tensor {
    const inner = triu(fromU.sub(fromL));
    const first = dL1.add(solve(square, inner, { unitDiagonal: true }));
    return solve(U1, concat([first, dL2!], -2), { lower: false, left: false });
  }
}

export interface Lu {
  /** Lower triangular (trapezoidal) with ones on the diagonal, [.., m, k], k = min(m, n). */
  l: Tensor;
  /** Upper triangular (trapezoidal), [.., k, n]. */
  u: Tensor;
  /** i32 [.., m]: row i of l u is row p[i] of a. */
  p: Tensor;
}

/**
 * The LU factorisation with partial pivoting:
 *
 *     a[p] = l u
 *
 * a is [.., m, n], f32 or f64, any m and n. Singular matrices are factored too: u then has zeros on its diagonal.
 * Gradients need the leading min(m, n) columns of a[p] to be invertible; the permutation is a constant.
 *
 * Source: Golub and Van Loan, Matrix Computations, 3.4; gradient: de Hoog, Anderssen and Lukas 2011, Differentiation of
 * matrix functionals using triangular factorization, for square a, and the same steps for others.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Factorisations
 */
export function lu(a: Tensor): Lu {
  const { packed, p } = luFrom("lu", a);
  const [m, n] = [rowsOf(a), columnsOf(a)];
  const q = Math.min(m, n);
  const lead = packed.shape.slice(0, -2).map(() => null);
  const l = tril(slice(packed, [...lead, null, [0, q]]), -1).add(eye(m, q, { dtype: packed.dtype }));
  return { l, u: triu(slice(packed, [...lead, [0, q]])), p };
}

/** Both factors in one matrix, as `luOp` says, with errors in the name of `where`. */
export function luFrom(where: string, a: Tensor): { packed: Tensor; p: Tensor; sign: Tensor } {
  const [packed, p, sign] = applyMulti(luOp, [asMatrix(where, "a", a)], { where });
  return { packed: packed!, p: p!, sign: sign! };
}
