import type { DType, Dims, RefArray } from "@lowrank/tensor";
import { notFinite, notSymmetric } from "./faults.js";
import { epsOf } from "./matrix.js";

/** Matrices in float64, row-major, with their leading axes: what the references read. */
export interface Batch {
  readonly lead: Dims;
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly dtype: DType;
  /** A copy of one matrix. */
  matrix(batch: number): Float64Array;
}

export function batchOf({ dims, data, dtype }: RefArray): Batch {
  const lead = dims.slice(0, -2);
  const [rows, columns] = dims.slice(-2) as [number, number];
  const size = rows * columns;
  return {
    lead,
    count: lead.reduce((a, b) => a * b, 1),
    rows,
    columns,
    dtype,
    matrix: (batch) => data.slice(batch * size, (batch + 1) * size),
  };
}

/** Which elements of a matrix are read: the others may hold anything. */
export type Part = "all" | "lower" | "upper";

/** @throws NumericalError at the first element, row-major, that is NaN or infinite */
export function expectFinite(
  where: string,
  { lead, count, rows, columns, matrix }: Batch,
  part: Part = "all",
) {
  for (let b = 0; b < count; b++) {
    const a = matrix(b);
    for (let i = 0; i < rows; i++) {
      const [from, to] = [part === "upper" ? i : 0, part === "lower" ? Math.min(i + 1, columns) : columns];
      for (let j = from; j < to; j++) {
        const x = a[i * columns + j]!;
        if (!Number.isFinite(x)) throw notFinite(where, lead, b, i, j, x);
      }
    }
  }
}

/**
 * Equal up to 20 n eps max|a|.
 *
 * @throws NumericalError that names the pair which differs most
 */
export function expectSymmetric(where: string, { lead, count, rows: n, dtype, matrix }: Batch): void {
  for (let b = 0; b < count; b++) {
    const a = matrix(b);
    let [worst, row, column, largest] = [0, 0, 0, 0];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) {
        const difference = a[i * n + j]! - a[j * n + i]!;
        largest = Math.max(largest, Math.abs(a[i * n + j]!), Math.abs(a[j * n + i]!));
        if (Math.abs(difference) > Math.abs(worst)) [worst, row, column] = [difference, i, j];
      }
    }
    if (Math.abs(worst) > 20 * n * epsOf(dtype) * largest)
      throw notSymmetric(where, lead, b, row, column, worst);
  }
}
