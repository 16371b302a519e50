import {
  applyMulti,
  argsort,
  type Aval,
  broadcastTo,
  defineOp,
  eye,
  type OpDef,
  ShapeError,
  type Tensor,
  transpose,
} from "@lowrank/tensor";
import { type LuArg, luFrom, luVjp, takeRows } from "./lu.js";
import {
  asMatrix,
  asSquare,
  columnsOf,
  commonLead,
  inCommonDtype,
  leadOf,
  rowsOf,
  showDims,
} from "./matrix.js";
import { solveNative } from "./native/solve.js";
import { applyTriangularSolve } from "./triangular-solve.js";

/**
 * a [.., n, n], b [.., n, k], equal leading axes → x [.., n, k], factors [.., n, n], p i32 [.., n]: what `luOp` gives of a, but
 * the matrix of both factors transposed, which is how LAPACK leaves it.
 */
export const solveOp: OpDef<LuArg> = /* @__PURE__ */ defineOp<LuArg>("solve", {
  kind: "composite",
  infer: ([a, b]): Aval[] => [b!, a!, { dtype: "i32", dims: a!.dims.slice(0, -1) }],
  meaning([a, b], { where }) {
    const { packed, p } = luFrom(where, a!);
    return [luSolver(where, packed, p).forward(b!), transpose(packed), p];
  },
  // bbar = a⁻ᵀ xbar, Abar = -bbar xᵀ (Giles 2008), and what arrives at the factors from a second derivative.
  vjp(_, { outputs: [x, factors, p], dys: [dx, dFactors], arg: { where }, needs: [needsA] }) {
    const packed = transpose(factors!);
    const db = dx ? luSolver(`gradient of ${where}`, packed, p!).transposed(dx) : null;
    if (!needsA) return [null, db];
    const fromX = db?.matmul(x!.T).neg() ?? null;
    const fromFactors = dFactors && luVjp(packed, p!, transpose(dFactors));
    return [fromX && fromFactors ? fromX.add(fromFactors) : (fromX ?? fromFactors), db];
  },
  kernels: { native: solveNative },
});

/**
 * Solves a x = b by LU factorisation with partial pivoting. a is [.., n, n], b [.., n, k], or [n]; leading axes broadcast.
 *
 * Gradients: bbar = a⁻ᵀ xbar, Abar = -bbar xᵀ (Giles 2008), with the same factors.
 *
 * Source: Golub and Van Loan, Matrix Computations, 3.4.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for a singular matrix (which pivot is 0), NaN or infinity
 * @category Solving
 */
export function solve(a: Tensor, b: Tensor): Tensor {
  return solveFrom("solve", a, b);
}

/** The same, with errors in the name of `where`. */
export function solveFrom(where: string, a: Tensor, b: Tensor): Tensor {
  const square = asSquare(where, "a", a);
  const n = columnsOf(square);
  if (b.ndim === 1) return solveFrom(where, a, b.reshape([b.size, 1])).reshape([...leadOf(a.shape), b.size]);
  const [x, y] = inCommonDtype(square, asMatrix(where, "b", b));
  if (rowsOf(y) !== n) {
    throw new ShapeError({
      where,
      expected: `b of shape [.., ${n}, k] to follow a of shape ${showDims(a.shape)}`,
      got: showDims(b.shape),
    });
  }
  const lead = commonLead(where, leadOf(x.shape), leadOf(y.shape));
  const row = [broadcastTo(x, [...lead, n, n]), broadcastTo(y, [...lead, n, columnsOf(y)])];
  return applyMulti(solveOp, row, { where })[0]!;
}

/** y ↦ a⁻¹ y and y ↦ a⁻ᵀ y, given the factors of a; leading axes equal. */
export function luSolver(where: string, packed: Tensor, p: Tensor) {
  const unit = { unitDiagonal: true, where } as const;
  const upper = { lower: false, where } as const;
  return {
    forward: (y: Tensor) =>
      applyTriangularSolve(packed, applyTriangularSolve(packed, takeRows(y, p), unit), upper),
    // aᵀ = uᵀ lᵀ with rows in the order p.
    transposed: (y: Tensor) => {
      const z = applyTriangularSolve(packed, y, { ...upper, transpose: true });
      return takeRows(applyTriangularSolve(packed, z, { ...unit, transpose: true }), argsort(p, -1));
    },
  };
}

/**
 * The inverse of square matrices [.., n, n], by LU factorisation. To solve a x = b, `solve` is faster and more accurate.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for a singular matrix (which pivot is 0), NaN or infinity
 * @category Solving
 */
export function inverse(a: Tensor): Tensor {
  const x = asSquare("inverse", "a", a);
  return solveFrom("inverse", x, eye(rowsOf(x), undefined, { dtype: x.dtype }));
}
