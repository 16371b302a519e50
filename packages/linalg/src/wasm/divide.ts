import type { Fixup } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import type { Matrix, Program } from "./program.js";

/** Largest problem that is solved by QR iterations. */
export const LEAF = 32;

/** A tridiagonal or upper bidiagonal matrix of size n, in f64. */
export interface Banded {
  readonly diagonal: Matrix;
  readonly off: Matrix;
  readonly n: number;
}

export interface Vectors {
  /** Values in f64, not in order. */
  readonly values: Matrix;
  /** Vectors as rows; the left ones of singular values. */
  readonly q: Matrix;
  /** Right singular vectors. */
  readonly v: Matrix;
}

interface Node {
  readonly lo: number;
  readonly mid: number;
  readonly hi: number;
}

/** The nodes of each level, leaves first. Bidiagonal matrices are cut at a row that belongs to neither half. */
function treeOf(n: number, singular: boolean): { leaves: Node[]; levels: Node[][] } {
  const leaves: Node[] = [];
  const levels: Node[][] = [];
  const divide = (lo: number, hi: number): number => {
    const mid = lo + ((hi - lo) >> 1);
    if (hi - lo <= LEAF) {
      leaves.push({ lo, mid, hi });
      return 0;
    }
    const height = Math.max(divide(lo, mid), divide(singular ? mid + 1 : mid, hi));
    (levels[height] ??= []).push({ lo, mid, hi });
    return height + 1;
  };
  if (n > 0) divide(0, n);
  return { leaves, levels };
}

/**
 * Values and vectors of a tridiagonal matrix, or singular values and both kinds of vectors of an upper bidiagonal one, by
 * divide and conquer; see assembly/divide.ts. `q` and `v` may have longer rows and more of them: the first n of n are
 * written.
 */
export function emitDivide(
  program: Program,
  { diagonal, off, n }: Banded,
  singular: boolean,
  q: Matrix,
  v: Matrix,
): Vectors {
  const { leaves, levels } = treeOf(n, singular);
  const values = program.numbers(n);
  const merging = levels.length > 0;
  const size = merging ? n : 0;
  const like = (m: Matrix): Matrix => ({ ...program.rows(size, m.row), row: m.row });
  const room = [like(q), singular ? like(v) : q] as const;
  const [z, poles, zs, facts] = [0, 0, 0, 0].map(() => program.numbers(n)) as [
    Matrix,
    Matrix,
    Matrix,
    Matrix,
  ];
  const [sources, order] = [program.numbers(n, 4), program.numbers(n, 4)];
  const gaps = program.room(size, n, 8);
  const weights = singular ? program.room(size, n, 8) : gaps;
  const run = (kernel: number, table: Fixup, nodes: readonly Node[], parts: number, work: number): void => {
    // biome-ignore format: in the order of the words
    const words = [
      table, parts, Number(singular), n, q.at, q.step, q.row, v.at, v.step, v.row, room[0].at, room[0].step,
      room[1].at, room[1].step, values.at, values.step, diagonal.at, diagonal.step, off.at, off.step, z.at, z.step,
      poles.at, poles.step, zs.at, zs.step, sources.at, sources.step, order.at, order.step, facts.at, facts.step,
      gaps.at, gaps.step, gaps.row, weights.at, weights.step, weights.row,
    ];
    program.run(kernel, words, nodes.length * parts, work);
  };
  const tableOf = (nodes: readonly Node[]) => program.data(nodes.flatMap(({ lo, mid, hi }) => [lo, mid, hi]));
  run(kernels.LEAF, tableOf(leaves), leaves, 1, leaves.length * LEAF ** 3 * 10);
  for (const nodes of levels) {
    const most = Math.max(...nodes.map(({ lo, hi }) => hi - lo));
    const parts = Math.max(1, Math.min(16, Math.floor(most / 128)));
    const table = tableOf(nodes);
    const area = nodes.length * most * most;
    run(kernels.DEFLATE, table, nodes, 1, area);
    run(kernels.GATHER, table, nodes, parts, area / 2);
    run(kernels.SECULAR, table, nodes, parts, area * 12);
    run(kernels.WEIGHTS, table, nodes, parts, area * 2);
    run(kernels.VECTORS, table, nodes, parts, area * 4);
    run(kernels.MERGE, table, nodes, parts, (area * most) / (singular ? 1 : 2));
  }
  return { values, q, v };
}
