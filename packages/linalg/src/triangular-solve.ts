import {
  apply,
  broadcastTo,
  ConfigError,
  defineOp,
  DTypeError,
  type OpDef,
  ShapeError,
  type Tensor,
  tril,
  triu,
} from "@lowrank/tensor";
import { triangularSolveNative } from "./native/triangular-solve.js";
import { triangularSolveKernel } from "./wasm/triangular-solve.js";
import { batchOf, expectFinite } from "./each-matrix.js";
import { singular } from "./faults.js";
import {
  asMatrix,
  asSquare,
  columnsOf,
  commonLead,
  expectMatrixAval,
  expectSquareAval,
  inCommonDtype,
  leadOf,
  rowsOf,
  showDims,
} from "./matrix.js";

export interface TriangularSolveArg {
  /** The function that errors name. */
  readonly where: string;
  /** The triangle of `a` that is read; what stands in the other is not looked at. */
  readonly lower: boolean;
  /** Solve with aᵀ. */
  readonly transpose: boolean;
  /** op(a) x = b, else x op(a) = b. */
  readonly left: boolean;
  /** Take the diagonal for ones, whatever stands there. */
  readonly unitDiagonal: boolean;
}

/** a [.., n, n], b [.., n, k] (left) or [.., k, n], equal leading axes → x of b's shape. */
export const triangularSolveOp: OpDef<TriangularSolveArg> = /* @__PURE__ */ defineOp<TriangularSolveArg>(
  "triangularSolve",
  {
    kind: "kernel",
    infer([a, b], { where, left }) {
      expectSquareAval(where, a!);
      expectMatrixAval(where, b!);
      const n = a!.dims[a!.dims.length - 1]!;
      const lead = leadOf(a!.dims);
      if (showDims(lead) !== showDims(leadOf(b!.dims)) || b!.dims[b!.dims.length - (left ? 2 : 1)] !== n) {
        throw new ShapeError({
          where,
          expected: `b of shape ${showDims(lead)} then ${left ? `[${n}, k]` : `[k, ${n}]`} to follow a of shape ${showDims(a!.dims)}`,
          got: showDims(b!.dims),
        });
      }
      if (a!.dtype !== b!.dtype) {
        throw new DTypeError({ where, expected: `b of dtype ${a!.dtype}`, got: b!.dtype });
      }
      return b!;
    },
    // Bbar = op(A)⁻ᵀ Xbar; Abar = -(Bbar Xᵀ) on the triangle, transposed if op is: Giles 2008.
    vjp: (dx, { inputs: [a], outputs: [x], arg, needs }) => {
      const db = apply(triangularSolveOp, [a!, dx], { ...arg, transpose: !arg.transpose });
      if (!needs[0]) return [null, db];
      const full = arg.left
        ? arg.transpose
          ? x!.matmul(db.T)
          : db.matmul(x!.T)
        : arg.transpose
          ? db.T.matmul(x!)
          : x!.T.matmul(db);
      const inner = arg.unitDiagonal ? 1 : 0;
      return [(arg.lower ? tril(full, -inner) : triu(full, inner)).neg(), db];
    },
    kernels: { wasm: triangularSolveKernel, native: triangularSolveNative },
    reference([a, b], arg) {
      const [A, B] = [batchOf(a!), batchOf(b!)];
      expectFinite(arg.where, A, arg.lower ? "lower" : "upper");
      expectFinite(arg.where, B);
      const { rows, columns } = B;
      const out = new Float64Array(B.count * rows * columns);
      for (let i = 0; i < B.count; i++) {
        const [t, x] = [A.matrix(i), B.matrix(i)];
        const zero = solveTriangular(t, A.rows, x, rows, columns, arg);
        if (zero >= 0 && x.length > 0) throw singular(arg.where, A.lead, i, zero);
        out.set(x, i * rows * columns);
      }
      return out;
    },
  },
);

/** Substitution in place; gives the index of a zero on the diagonal, or -1. */
function solveTriangular(
  a: Float64Array,
  n: number,
  x: Float64Array,
  rows: number,
  columns: number,
  { lower, transpose, left, unitDiagonal }: TriangularSolveArg,
): number {
  if (!unitDiagonal) for (let i = 0; i < n; i++) if (a[i * n + i] === 0) return i;
  // x op(a) = b is op(a)ᵀ xᵀ = bᵀ: the same substitution along rows instead of columns.
  const flipped = transpose === left;
  const at = (i: number, j: number) => (flipped ? a[j * n + i]! : a[i * n + j]!);
  const forward = lower !== flipped;
  const [count, step, stride] = left ? [columns, 1, columns] : [rows, columns, 1];
  for (let c = 0; c < count; c++) {
    for (let k = 0; k < n; k++) {
      const i = forward ? k : n - 1 - k;
      let rest = x[c * step + i * stride]!;
      for (let l = 0; l < k; l++) {
        const j = forward ? l : n - 1 - l;
        rest -= at(i, j) * x[c * step + j * stride]!;
      }
      x[c * step + i * stride] = unitDiagonal ? rest : rest / at(i, i);
    }
  }
  return -1;
}

export interface TriangularSolveOptions {
  /** Which triangle of `a` is read; the other may hold anything. Default true. */
  lower?: boolean;
  /** Solve with aᵀ. Default false. */
  transpose?: boolean;
  /** a x = b (true, the default) or x a = b. */
  left?: boolean;
  /** Take the diagonal of `a` for ones. Default false. */
  unitDiagonal?: boolean;
}

/** The row itself, for operands that fit already. */
export const applyTriangularSolve = (
  a: Tensor,
  b: Tensor,
  {
    where,
    lower = true,
    transpose = false,
    left = true,
    unitDiagonal = false,
  }: TriangularSolveOptions & { where: string },
): Tensor => apply(triangularSolveOp, [a, b], { where, lower, transpose, left, unitDiagonal });

/**
 * Solves op(a) x = b, or x op(a) = b with `left: false`, for triangular a by substitution; op is the transpose with
 * `transpose: true`. a is [.., n, n], b [.., n, k] (or [.., k, n] from the right, or [n] from the left); leading axes
 * broadcast.
 *
 * Source: Golub and Van Loan, Matrix Computations, 3.1; its gradient: Giles 2008, An extended collection of matrix
 * derivative results for forward and reverse mode algorithmic differentiation.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for a zero on the diagonal (which), NaN or infinity
 * @category Solving
 */
export function triangularSolve(a: Tensor, b: Tensor, options: TriangularSolveOptions = {}): Tensor {
  const where = "triangularSolve";
  const left = options.left ?? true;
  const square = asSquare(where, "a", a);
  const n = columnsOf(square);
  if (b.ndim === 1) {
    if (!left) {
      throw new ConfigError({
        where,
        expected: "b with two axes from the right",
        got: `shape ${showDims(b.shape)}`,
      });
    }
    return triangularSolve(a, b.reshape([b.size, 1]), options).reshape([...leadOf(a.shape), b.size]);
  }
  const [x, y] = inCommonDtype(square, asMatrix(where, "b", b));
  if ((left ? rowsOf(y) : columnsOf(y)) !== n) {
    throw new ShapeError({
      where,
      expected: `b of shape ${left ? `[.., ${n}, k]` : `[.., k, ${n}]`} to follow a of shape ${showDims(a.shape)}`,
      got: showDims(b.shape),
    });
  }
  const lead = commonLead(where, leadOf(x.shape), leadOf(y.shape));
  return applyTriangularSolve(
    broadcastTo(x, [...lead, n, n]),
    broadcastTo(y, [...lead, rowsOf(y), columnsOf(y)]),
    { ...options, where },
  );
}
