import {
  apply,
  broadcastTo,
  defineOp,
  eye,
  type OpDef,
  ShapeError,
  sum,
  type Tensor,
  transpose,
  tril,
} from "@lowrank/tensor";
import { diagonal } from "./diagonal.js";
import { batchOf, expectFinite, expectSymmetric } from "./each-matrix.js";
import { notPositiveDefinite } from "./faults.js";
import { asSquare, columnsOf, expectNumber, expectSquareAval, leadOf, rowsOf, showDims } from "./matrix.js";
import { choleskyNative } from "./native/cholesky.js";
import { choleskyKernel } from "./wasm/cholesky.js";
import { applyTriangularSolve, triangularSolve } from "./triangular-solve.js";

export interface SymmetricArg {
  /** The function that errors name. */
  readonly where: string;
  /** Read the lower triangle alone, without looking whether the upper one is equal. */
  readonly assumeSymmetric: boolean;
}

/** a [.., n, n] → L [.., n, n], lower with a positive diagonal, zeros above: a = L Lᵀ. */
export const choleskyOp: OpDef<SymmetricArg> = /* @__PURE__ */ defineOp<SymmetricArg>("cholesky", {
  kind: "kernel",
  infer([a], { where }) {
    expectSquareAval(where, a!);
    return a!;
  },
  // Abar = sym(L⁻ᵀ P L⁻¹), P = tril(Lᵀ Lbar) with half its diagonal: Murray 2016, arXiv:1602.07527.
  vjp: (dL, { outputs: [L] }) => {
    const P = halfDiagonal(tril(L!.T.matmul(dL)));
    const left = applyTriangularSolve(L!, P, { transpose: true, where: "gradient of cholesky" });
    return [symmetricPart(applyTriangularSolve(L!, left, { left: false, where: "gradient of cholesky" }))];
  },
  kernels: { wasm: choleskyKernel, native: choleskyNative },
  reference([x], { where, assumeSymmetric }) {
    const batch = batchOf(x!);
    expectFinite(where, batch, assumeSymmetric ? "lower" : "all");
    if (!assumeSymmetric) expectSymmetric(where, batch);
    const n = batch.rows;
    const out = new Float64Array(batch.count * n * n);
    for (let b = 0; b < batch.count; b++) {
      const a = batch.matrix(b);
      const L = out.subarray(b * n * n, (b + 1) * n * n);
      for (let j = 0; j < n; j++) {
        for (let i = j; i < n; i++) {
          let rest = a[i * n + j]!;
          for (let k = 0; k < j; k++) rest -= L[i * n + k]! * L[j * n + k]!;
          if (i > j) L[i * n + j] = rest / L[j * n + j]!;
          else if (rest > 0) L[j * n + j] = Math.sqrt(rest);
          else throw notPositiveDefinite(where, batch.lead, b, j, rest);
        }
      }
    }
    return out;
  },
});

const halfDiagonal = (x: Tensor): Tensor => {
  const n = rowsOf(x);
  return x.sub(x.mul(eye(n, n, { dtype: x.dtype })).mul(0.5));
};

/** (x + xᵀ) / 2 */
export const symmetricPart = (x: Tensor): Tensor => x.add(transpose(x)).mul(0.5);

export interface SymmetricOptions {
  /**
   * Read the lower triangle alone. By default the matrix is refused if two elements across the diagonal differ by more
   * than 20 n eps max|a|.
   */
  assumeSymmetric?: boolean;
}

export interface CholeskyOptions extends SymmetricOptions {
  /** Adds jitter · mean(diag a) to the diagonal first. Default 0. */
  jitter?: number;
}

/**
 * Cholesky's factor of symmetric positive definite matrices: the lower triangular L with a positive diagonal and
 *
 *     a = L Lᵀ
 *
 * a and L are [.., n, n], f32 or f64. The gradient is that with respect to symmetric a, itself symmetric.
 *
 * Source: Golub and Van Loan, Matrix Computations, 4.2; its gradient: Murray 2016, arXiv:1602.07527.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError: which pivot is not positive and its value, or not
 * symmetric, NaN, infinity
 * @category Factorisations
 */
export function cholesky(a: Tensor, options: CholeskyOptions = {}): Tensor {
  return choleskyFrom("cholesky", a, options);
}

/** The factor, with errors in the name of `where`. */
export function choleskyFrom(
  where: string,
  a: Tensor,
  { jitter = 0, assumeSymmetric = false }: CholeskyOptions,
): Tensor {
  expectNumber(where, "jitter", jitter, 0);
  let x = asSquare(where, "a", a);
  const n = rowsOf(x);
  if (jitter > 0 && n > 0) {
    const mean = sum(diagonal(x), -1, { keepDims: true }).mul(jitter / n);
    const lead = leadOf(x.shape);
    const shift = broadcastTo(mean.reshape([...lead, 1, 1]), [...lead, n, n]);
    x = x.add(shift.mul(eye(n, n, { dtype: x.dtype })));
  }
  return apply(choleskyOp, [x], { where, assumeSymmetric });
}

/**
 * Solves a x = b with a = L Lᵀ, given Cholesky's factor L [.., n, n]: x = L⁻ᵀ (L⁻¹ b). b is [.., n, k], or [n].
 *
 * @throws ShapeError, DTypeError; when computed NumericalError if L has a zero on its diagonal
 * @category Solving
 */
export function choleskySolve(L: Tensor, b: Tensor): Tensor {
  const factor = asSquare("choleskySolve", "L", L);
  if (b.ndim === 1) return choleskySolve(L, b.reshape([b.size, 1])).reshape([...leadOf(L.shape), b.size]);
  if (b.ndim < 2 || rowsOf(b) !== columnsOf(factor)) {
    throw new ShapeError({
      where: "choleskySolve",
      expected: `b of shape [.., ${columnsOf(factor)}, k] to follow L of shape ${showDims(L.shape)}`,
      got: showDims(b.shape),
    });
  }
  return triangularSolve(factor, triangularSolve(factor, b), { transpose: true });
}
