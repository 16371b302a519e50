import { numbers } from "./inputs.js";
import type { DecompositionSpec } from "./rows/decomposition.js";

/** The matrix that a row decomposes, row-major in float64. */
export function matrixOf({ a, what }: DecompositionSpec): { n: number; data: Float64Array } {
  const n = a.shape[0]!;
  const data = Float64Array.from(numbers(a));
  if (what !== "eigh" && what !== "cholesky") return { n, data };
  const even = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      even[i * n + j] = (data[i * n + j]! + data[j * n + i]!) / 2 + (what === "cholesky" && i === j ? n : 0);
  return { n, data: even };
}

/** The absolute diagonal of a row-major matrix: that of r does not depend on the choice of signs. */
export const diagonalOf = (r: ArrayLike<number>, n: number): number[] =>
  Array.from({ length: n }, (_, i) => Math.abs(r[i * n + i]!));

export const ascending = (values: ArrayLike<number>): number[] => Array.from(values).sort((a, b) => a - b);
