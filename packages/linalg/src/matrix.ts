import {
  ConfigError,
  type DType,
  DTypeError,
  type Dims,
  isFloat,
  promote,
  ShapeError,
  type Aval,
  type Tensor,
} from "@lowrank/tensor";

export const showDims = (dims: Dims): string => `[${dims.join(", ")}]`;

/** The distance from 1 to the next number of the dtype. */
export const epsOf = (dtype: DType): number => (dtype === "f64" ? 2 ** -52 : 2 ** -23);

/** Rows and columns: the last two axes. */
export const rowsOf = (a: { shape: Dims }): number => a.shape[a.shape.length - 2]!;
export const columnsOf = (a: { shape: Dims }): number => a.shape[a.shape.length - 1]!;

/** The leading axes. */
export const leadOf = (dims: Dims): number[] => dims.slice(0, -2);

/** A tensor of matrices in a dtype that decompositions work in: f32 or f64; f16 and bf16 become f32. */
export function asMatrix(where: string, name: string, a: Tensor): Tensor {
  if (a.ndim < 2) {
    throw new ShapeError({
      where,
      expected: `${name} to be a matrix [.., rows, columns]`,
      got: `shape ${showDims(a.shape)}`,
    });
  }
  return asReal(where, name, a);
}

/** The same for square matrices. */
export function asSquare(where: string, name: string, a: Tensor): Tensor {
  if (a.ndim < 2 || rowsOf(a) !== columnsOf(a)) {
    throw new ShapeError({
      where,
      expected: `${name} to be a square matrix [.., n, n]`,
      got: `shape ${showDims(a.shape)}`,
    });
  }
  return asReal(where, name, a);
}

/** A float tensor as f32 or f64. */
export function asReal(where: string, name: string, a: Tensor): Tensor {
  if (!isFloat(a.dtype)) {
    throw new DTypeError({
      where,
      expected: `${name} of a float dtype`,
      got: a.dtype,
      hint: 'cast with .astype("f32") or .astype("f64")',
    });
  }
  return a.dtype === "f32" || a.dtype === "f64" ? a : a.astype("f32");
}

/** Two operands in their common dtype. */
export function inCommonDtype(a: Tensor, b: Tensor): [Tensor, Tensor] {
  const dtype = promote(a.dtype, b.dtype);
  return [a.dtype === dtype ? a : a.astype(dtype), b.dtype === dtype ? b : b.astype(dtype)];
}

/** The leading axes that two operands broadcast to. */
export function commonLead(where: string, a: Dims, b: Dims): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, d) => {
    const [p, q] = [a[d - rank + a.length] ?? 1, b[d - rank + b.length] ?? 1];
    if (p !== q && p !== 1 && q !== 1) {
      throw new ShapeError({
        where,
        expected: "leading axes that broadcast",
        got: `${showDims(a)} and ${showDims(b)}`,
      });
    }
    return p === 1 ? q : p;
  });
}

/** Rule of the rows: f32 or f64, at least two axes. */
export function expectMatrixAval(where: string, a: Aval): void {
  if (a.dtype !== "f32" && a.dtype !== "f64") {
    throw new DTypeError({ where, expected: "a matrix of f32 or f64", got: a.dtype });
  }
  if (a.dims.length < 2) {
    throw new ShapeError({ where, expected: "a matrix [.., rows, columns]", got: showDims(a.dims) });
  }
}

/** Rule of the rows: square as well. */
export function expectSquareAval(where: string, a: Aval): void {
  expectMatrixAval(where, a);
  const [m, n] = a.dims.slice(-2);
  if (m !== n) throw new ShapeError({ where, expected: "a square matrix [.., n, n]", got: showDims(a.dims) });
}

/** A number that must be finite and at least `least`. */
export function expectNumber(where: string, name: string, value: number, least: number): void {
  if (!(Number.isFinite(value) && value >= least)) {
    throw new ConfigError({ where, expected: `${name} to be a number ≥ ${least}`, got: String(value) });
  }
}
