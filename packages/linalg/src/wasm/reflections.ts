import * as kernels from "../../assembly/kernels.js";
import type { Matrix, Program } from "./program.js";

/** Reflections by blocks, I - V T Vᵀ each: row i of `v` is reflection i, zero before its 1. */
export interface Reflections {
  /** [count, length] */
  readonly v: Matrix;
  /** [count, block]: the T of each block, one below the other. */
  readonly t: Matrix;
  readonly count: number;
  readonly length: number;
  readonly block: number;
}

/** The T of every block of reflections that are there already. */
export function blockFactors(
  program: Program,
  v: Matrix,
  tau: Matrix,
  shape: { count: number; length: number; block: number },
): Reflections {
  const { count, length, block } = shape;
  const t = program.room(count, block);
  const words = [v.at, v.step, v.row, tau.at, tau.step, t.at, t.step, block, count, length, t.row];
  program.run(kernels.BLOCK_FACTORS, words, Math.ceil(count / block), (count * block * length) / 4);
  return { v, t, ...shape };
}

const wordsOf = (c: Matrix, { v, t, count, length, block }: Reflections, j: number, program: Program) => {
  const [vs, ts] = [program.from(v, j, j), program.from(t, j, 0)];
  const size = Math.min(block, count - j);
  return {
    size,
    words: [c.at, c.step, c.row, vs.at, vs.step, vs.row, ts.at, ts.step, size, length - j],
    rowT: ts.row,
  };
};

/** c, whose first row is row j of all: c = H c with the block that begins at reflection j, or Hᵀ c. */
export function reflectLeft(
  program: Program,
  c: Matrix,
  columns: number,
  reflections: Reflections,
  j: number,
  transpose: boolean,
): void {
  const { size, words, rowT } = wordsOf(c, reflections, j, program);
  const width = columns >= 512 ? 128 : 64;
  program.run(
    kernels.REFLECT_LEFT,
    [...words, columns, width, Number(transpose), rowT],
    Math.ceil(columns / width),
    2 * (reflections.length - j) * columns * size,
  );
}

/** c, whose first column is column j of all: c = c H, or c Hᵀ. */
export function reflectRight(
  program: Program,
  c: Matrix,
  rows: number,
  reflections: Reflections,
  j: number,
  transpose: boolean,
): void {
  const { size, words, rowT } = wordsOf(c, reflections, j, program);
  const height = rows >= 512 ? 128 : 64;
  program.run(
    kernels.REFLECT_RIGHT,
    [...words, rows, height, Number(transpose), rowT],
    Math.ceil(rows / height),
    2 * (reflections.length - j) * rows * size,
  );
}
