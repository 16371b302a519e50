import {
  customVjp,
  eq,
  exp,
  expandDims,
  expm1,
  gt,
  reciprocal,
  log,
  log1p,
  maximum,
  minimum,
  sqrt,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { type SymmetricOptions, symmetricPart } from "./cholesky.js";
import { scaleColumns } from "./diagonal.js";
import { type EighArg, eighFrom } from "./eigh.js";

interface SpectralFunction {
  readonly where: string;
  readonly domain: EighArg["domain"];
  /** f(w), element by element. */
  value(w: Tensor): Tensor;
  /** (f(x) - f(y)) / (x - y) for x ≥ y, without cancellation, and f'(x) for x = y. */
  slope(x: Tensor, y: Tensor): Tensor;
}

/**
 * f(a) = V diag(f(w)) Vᵀ for symmetric a = V diag(w) Vᵀ. Its gradient needs no gaps:
 *
 *     Abar = V (Γ ∘ (Vᵀ Ybar V)) Vᵀ,   Γ[i, j] = (f(w[i]) - f(w[j])) / (w[i] - w[j]),  f'(w[i]) for equal ones
 *
 * (Daleckii and Krein; Higham, Functions of Matrices, theorem 3.11), so it is exact for equal eigenvalues.
 */
function spectralFunction(f: SpectralFunction, a: Tensor, options: SymmetricOptions): Tensor {
  const { values: w, vectors: V } = eighFrom(f.where, a, options, f.domain);
  const lower = f.domain === "nonnegative" ? maximum(w, 0) : w;
  return customVjp(
    () => scaleColumns(V, f.value(lower)).matmul(V.T),
    ({ dys: [dy] }) => {
      const [row, column] = [expandDims(lower, -2), expandDims(lower, -1)];
      const slopes = f.slope(maximum(row, column), minimum(row, column));
      const inner = V.T.matmul(symmetricPart(dy!)).matmul(V).mul(slopes);
      return [symmetricPart(V.matmul(inner).matmul(V.T))];
    },
  )(a.dtype === V.dtype ? a : a.astype(V.dtype))[0]!;
}

/**
 * The square root of symmetric positive semidefinite matrices [.., n, n]: the symmetric positive semidefinite y with y y = a.
 * Eigenvalues that rounding made negative, down to -max(10, n) eps max w, count as 0. The gradient is exact for equal
 * eigenvalues; where two are 0 it is infinite and 0 is given.
 *
 * Source: Higham 2008, Functions of Matrices, chapter 6 and theorem 3.11.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError: a negative eigenvalue, not symmetric, NaN, infinity
 * @category Matrix functions
 */
export function sqrtm(a: Tensor, options: SymmetricOptions = {}): Tensor {
  return spectralFunction(
    {
      where: "sqrtm",
      domain: "nonnegative",
      value: sqrt,
      // (√x - √y) / (x - y) = 1 / (√x + √y)
      slope: (x, y) => {
        const both = sqrt(x).add(sqrt(y));
        const some = gt(both, 0);
        return select(some, reciprocal(select(some, both, 1)), 0);
      },
    },
    a,
    options,
  );
}

/**
 * The inverse square root of symmetric positive definite matrices [.., n, n]: y a y = I. The gradient is exact for equal
 * eigenvalues.
 *
 * Source: Higham 2008, Functions of Matrices, theorem 3.11.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError: an eigenvalue up to 10 eps max w, not symmetric, NaN,
 * infinity
 * @category Matrix functions
 */
export function invSqrtm(a: Tensor, options: SymmetricOptions = {}): Tensor {
  return spectralFunction(
    {
      where: "invSqrtm",
      domain: "positive",
      value: (w) => reciprocal(sqrt(w)),
      // (1/√x - 1/√y) / (x - y) = -1 / (√x √y (√x + √y))
      slope: (x, y) => {
        const [p, q] = [sqrt(x), sqrt(y)];
        return reciprocal(p.mul(q).mul(p.add(q))).neg();
      },
    },
    a,
    options,
  );
}

/**
 * The logarithm of symmetric positive definite matrices [.., n, n]: the symmetric y with exp(y) = a. The gradient is exact
 * for equal eigenvalues.
 *
 * Source: Higham 2008, Functions of Matrices, chapter 11 and theorem 3.11.
 *
 * @throws as `invSqrtm`
 * @category Matrix functions
 */
export function logm(a: Tensor, options: SymmetricOptions = {}): Tensor {
  return spectralFunction(
    {
      where: "logm",
      domain: "positive",
      value: log,
      // log(x / y) / (x - y) = log1p(t) / t / y with t = (x - y) / y
      slope: (x, y) => {
        const t = x.sub(y).div(y);
        const same = eq(t, 0);
        const safe = select(same, 1, t);
        return select(same, 1, log1p(safe).div(safe)).div(y);
      },
    },
    a,
    options,
  );
}

/**
 * The exponential of symmetric matrices [.., n, n], by eigenvalues; `expm` takes any square matrix. The gradient is exact
 * for equal eigenvalues.
 *
 * Source: Higham 2008, Functions of Matrices, chapter 10 and theorem 3.11.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError: not symmetric, NaN, infinity
 * @category Matrix functions
 */
export function expmSymmetric(a: Tensor, options: SymmetricOptions = {}): Tensor {
  return spectralFunction(
    {
      where: "expmSymmetric",
      domain: null,
      value: exp,
      // (eˣ - eʸ) / (x - y) = eˣ (1 - e⁻ᵈ) / d with d = x - y ≥ 0
      slope: (x, y) => {
        const d = x.sub(y);
        const same = eq(d, 0);
        const safe = select(same, 1, d);
        return exp(x).mul(select(same, 1, expm1(safe.neg()).neg().div(safe)));
      },
    },
    a,
    options,
  );
}
