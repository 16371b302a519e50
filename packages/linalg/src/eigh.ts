import { apply, applyMulti, type Aval, type DType, defineOp, type OpDef, type Tensor } from "@lowrank/tensor";
import { type SymmetricArg, type SymmetricOptions, symmetricPart } from "./cholesky.js";
import { diagonalMatrix, scaleColumns } from "./diagonal.js";
import { type Batch, batchOf, expectFinite, expectSymmetric } from "./each-matrix.js";
import { noConvergence, notInDomain } from "./faults.js";
import { asSquare, epsOf, expectSquareAval } from "./matrix.js";
import { type Eigen, jacobiEigen } from "./reference/jacobi-eigen.js";
import { inverseGaps } from "./spectral-gaps.js";
import { eighNative, eigvalshNative } from "./native/eigh.js";
import { eighKernel, eigvalshKernel } from "./wasm/eigh.js";

export interface EighArg extends SymmetricArg {
  /**
   * What the smallest eigenvalue must be: "positive", above the limit of `leastEigenvalue`; "nonnegative", not below it;
   * null, anything.
   */
  readonly domain: "positive" | "nonnegative" | null;
}

/**
 * The limit of the smallest eigenvalue relative to the largest magnitude. Eigenvalues are known to 10 eps of the latter: a
 * positive one must be above that. Below 0 it may be as much, or n eps, which is what rounding makes of a Gram matrix.
 */
export const leastEigenvalue = (domain: "positive" | "nonnegative", n: number, dtype: DType): number =>
  domain === "positive" ? 10 * epsOf(dtype) : -Math.max(10, n) * epsOf(dtype);

function inferValues({ dims, dtype }: Aval): Aval {
  return { dtype, dims: dims.slice(0, -1) };
}

/** a [.., n, n] symmetric → values [.., n] ascending, vectors [.., n, n] as columns: a = V diag(w) Vᵀ. */
export const eighOp: OpDef<EighArg> = /* @__PURE__ */ defineOp<EighArg>("eigh", {
  kind: "kernel",
  infer([a], { where }) {
    expectSquareAval(where, a!);
    return [inferValues(a!), a!];
  },
  vjp: (_, { outputs: [w, V], dys: [dw, dV] }) => [eighGradient(w!, V!, dw!, dV!)],
  kernels: { wasm: eighKernel, native: eighNative },
  reference([x], arg) {
    const batch = batchOf(x!);
    const n = batch.rows;
    const values = new Float64Array(batch.count * n);
    const vectors = new Float64Array(batch.count * n * n);
    for (const [b, eigen] of eigensOf(batch, arg).entries()) {
      values.set(eigen.values, b * n);
      vectors.set(eigen.vectors, b * n * n);
    }
    return [values, vectors];
  },
});

/** The eigenvalues alone. Their gradient V diag(wbar) Vᵀ has no gaps in it: it is safe for equal values. */
export const eigvalshOp: OpDef<EighArg> = /* @__PURE__ */ defineOp<EighArg>("eigvalsh", {
  kind: "kernel",
  infer([a], { where }) {
    expectSquareAval(where, a!);
    return inferValues(a!);
  },
  vjp: (dw, { inputs: [a], arg }) => {
    const [w, V] = applyMulti(eighOp, [a!], arg);
    return [eighGradient(w!, V!, dw, null)];
  },
  kernels: { wasm: eigvalshKernel, native: eigvalshNative },
  reference([x], arg) {
    const batch = batchOf(x!);
    const values = new Float64Array(batch.count * batch.rows);
    for (const [b, eigen] of eigensOf(batch, arg).entries()) values.set(eigen.values, b * batch.rows);
    return values;
  },
});

function eigensOf(batch: Batch, { where, assumeSymmetric, domain }: EighArg): Eigen[] {
  expectFinite(where, batch, assumeSymmetric ? "lower" : "all");
  if (!assumeSymmetric) expectSymmetric(where, batch);
  return Array.from({ length: batch.count }, (_, b) => {
    const n = batch.rows;
    const eigen = jacobiEigen(batch.matrix(b), n);
    if (eigen.remainder > 0) throw noConvergence(where, batch.lead, b, eigen.rounds, eigen.remainder);
    if (domain && n > 0) {
      const [low, high] = [eigen.values[0]!, eigen.values[n - 1]!];
      const limit = leastEigenvalue(domain, n, batch.dtype) * Math.max(Math.abs(low), Math.abs(high));
      if (domain === "positive" ? !(low > limit) : !(low >= limit))
        throw notInDomain(where, batch.lead, b, domain, 0, low);
    }
    return eigen;
  });
}

/**
 * Abar = sym(V (diag(wbar) + F ∘ (Vᵀ Vbar)) Vᵀ), F[i, j] = 1 / (w[j] - w[i]) (broadened, see `inverseGaps`).
 * Source: Giles 2008.
 */
function eighGradient(w: Tensor, V: Tensor, dw: Tensor | null, dV: Tensor | null): Tensor {
  if (!dV) return scaleColumns(V, dw!).matmul(V.T);
  const turned = V.T.matmul(dV).mul(inverseGaps(w));
  const inner = dw ? turned.add(diagonalMatrix(dw)) : turned;
  return symmetricPart(V.matmul(inner).matmul(V.T));
}

export interface Eigh {
  /** The eigenvalues w, ascending, [.., n]. */
  values: Tensor;
  /** The eigenvectors as columns, [.., n, n]; the element of largest magnitude of each is positive. */
  vectors: Tensor;
}

/**
 * The eigen-decomposition of symmetric matrices
 *
 *     a = V diag(w) Vᵀ
 *
 * with ascending w and orthonormal columns of V. a is [.., n, n], f32 or f64. The gradient is that with respect to
 * symmetric a, itself symmetric.
 *
 * Gradients of V divide by the distances of eigenvalues; they are right for functions that do not depend on signs or on
 * the basis inside a cluster of equal values. Distances below 1e-12 (f64) or 1e-6 (f32) of the largest value are
 * broadened; second derivatives divide by the squares of distances. Gradients of w alone are safe everywhere, and so are
 * those of `sqrtm`, `logm` and the like.
 *
 * Source: Golub and Van Loan, Matrix Computations, chapter 8; gradient: Giles 2008, with the broadening of
 * Liao et al. 2019, arXiv:1903.09650.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for a matrix that is not symmetric, NaN or infinity
 * @category Factorisations
 */
export function eigh(a: Tensor, options: SymmetricOptions = {}): Eigh {
  return eighFrom("eigh", a, options);
}

/** The same, with errors in the name of `where`, for functions of eigenvalues in some domain. */
export function eighFrom(
  where: string,
  a: Tensor,
  { assumeSymmetric = false }: SymmetricOptions = {},
  domain: EighArg["domain"] = null,
): Eigh {
  const [values, vectors] = applyMulti(eighOp, [asSquare(where, "a", a)], { where, assumeSymmetric, domain });
  return { values: values!, vectors: vectors! };
}

/**
 * The eigenvalues of symmetric matrices, ascending, [.., n]: cheaper than `eigh`, and its gradient V diag(wbar) Vᵀ is safe
 * for equal values.
 *
 * @throws as `eigh`
 * @category Factorisations
 */
export function eigvalsh(a: Tensor, { assumeSymmetric = false }: SymmetricOptions = {}): Tensor {
  const where = "eigvalsh";
  return apply(eigvalshOp, [asSquare(where, "a", a)], { where, assumeSymmetric, domain: null });
}
