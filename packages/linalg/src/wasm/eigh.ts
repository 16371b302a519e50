import type { Operand } from "@lowrank/tensor/backend";
import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import type { EighArg } from "../eigh.js";
import { type Banded, emitDivide, LEAF } from "./divide.js";
import { type Matrix, Part, Program, transposed } from "./program.js";
import { blockFactors, reflectRight } from "./reflections.js";

/** Columns of a panel. */
const BLOCK = 32;

export const DOMAINS = { positive: 1, nonnegative: 2 } as const;

/** To tridiagonal form by reflections, divide and conquer, and back. */
export const eighKernel: Kernel = {
  emit(group, ctx) {
    if (group.outputs[0]!.size === 0) return;
    const { where, domain } = group.arg as EighArg;
    const program = new Program(group, ctx);
    const n = (group.inputs[0] as Operand).dims.at(-1)!;
    const { banded, v, tau, factor } = emitTridiagonal(program, n, group.arg as EighArg);
    const q = program.room(n, n);
    const { values } = emitDivide(program, banded, false, q, q);
    const reflections = blockFactors(program, v, tau, { count: n - 1, length: n, block: BLOCK });
    for (let j = Math.floor((n - 2) / BLOCK) * BLOCK; j >= 0; j -= BLOCK)
      reflectRight(program, program.from(q, 0, j), n, reflections, j, true);
    const order = emitOrder(program, banded, values, program.list(0), { singular: false, factor, domain });
    const [signs, vectors] = [program.numbers(n), program.output(1)];
    // biome-ignore format: in the order of the words
    const words = [
      q.at, q.step, q.row, vectors.at, vectors.step, vectors.row, n, n, order.at, order.step, n, signs.at, signs.step, 1, n,
    ];
    program.scratch(kernels.FINISHED * n * program.bytes);
    program.run(kernels.FINISH_VECTORS, words, Math.ceil(n / kernels.FINISHED), n * n);
    program.finish(where);
  },
};

/** The values alone, by QL and bisection. */
export const eigvalshKernel: Kernel = {
  emit(group, ctx) {
    if (group.outputs[0]!.size === 0) return;
    const { where, domain } = group.arg as EighArg;
    const program = new Program(group, ctx);
    const n = (group.inputs[0] as Operand).dims.at(-1)!;
    const { banded, factor } = emitTridiagonal(program, n, group.arg as EighArg);
    emitValues(program, banded, program.list(0), { singular: false, factor, domain });
    program.finish(where);
  },
};

/** Writes the values of a banded matrix, found by QR iterations. */
export function emitValues(program: Program, banded: Banded, to: Matrix, how: Handing): void {
  const { diagonal, off, n } = banded;
  const [found, room] = [program.numbers(n), program.numbers(2 * n)];
  const words = [diagonal.at, diagonal.step, off.at, off.step, n, Number(how.singular)];
  program.run(kernels.VALUES, [...words, room.at, room.step, found.at, found.step], 1, 30 * n * n);
  handOut(program, banded, found, to, how);
}

/** Writes values that were found in some order; gives the order of what is written. */
export function emitOrder(
  program: Program,
  banded: Banded,
  values: Matrix,
  to: Matrix,
  how: Handing,
): Matrix {
  const { n } = banded;
  const [order, found] = [program.numbers(n, 4), program.numbers(n)];
  const words = [values.at, values.step, order.at, order.step, n, Number(how.singular)];
  program.run(kernels.ORDER, [...words, found.at, found.step, Number(n > LEAF)]);
  handOut(program, banded, found, to, how);
  return order;
}

interface Handing {
  /** Singular values, descending, rather than eigenvalues, ascending. */
  readonly singular: boolean;
  readonly factor: Matrix;
  readonly domain?: EighArg["domain"];
}

/** Bisection to the last digits, then the scale of the input. */
function handOut(
  program: Program,
  { diagonal, off, n }: Banded,
  found: Matrix,
  to: Matrix,
  { singular, factor, domain }: Handing,
): void {
  const values = program.numbers(n);
  // biome-ignore format: in the order of the words
  const words = [
    diagonal.at, diagonal.step, off.at, off.step, n, Number(singular), found.at, found.step, values.at, values.step,
  ];
  program.run(kernels.BISECT, words, Math.ceil(n / kernels.BISECTED), 30 * n * n);
  const scale = [factor.at, domain ? DOMAINS[domain] : 0];
  program.run(kernels.PUT_VALUES, [values.at, values.step, to.at, to.step, n, Number(singular), ...scale]);
}

/** a = Q T Qᵀ: T, and the reflections of Q, of which reflection i leaves the first i + 1 elements alone. */
function emitTridiagonal(
  program: Program,
  n: number,
  { assumeSymmetric }: EighArg,
): { banded: Banded; v: Matrix; tau: Matrix; factor: Matrix } {
  const factor = program.numbers(1);
  const part = assumeSymmetric ? Part.lower : Part.all;
  program.inspect(program.input(0), n, n, { part, symmetric: !assumeSymmetric, factor });
  const a = program.room(n, n);
  program.copy(a, program.input(0), n, n, { factor });
  const [v, w] = [program.room(n + BLOCK, n), program.room(2 * BLOCK, n)];
  const [diagonal, off, tau] = [program.numbers(n), program.numbers(n), program.numbers(n)];
  const parts = n < 256 ? 1 : 8;
  const sums = program.rows(parts, n * program.bytes);
  const column = (i: number, j0: number, before: number, onlyW: boolean): void => {
    // biome-ignore format: in the order of the words
    const words = [
      a.at, a.step, a.row, v.at, v.step, v.row, w.at, w.step, w.row, n, i, j0, sums.at, sums.step, before,
      diagonal.at, diagonal.step, off.at, off.step, tau.at, tau.step, Number(onlyW),
    ];
    program.run(kernels.TRIDIAGONAL_COLUMN, words, 1, 4 * (i - j0) * (n - i));
  };
  let before = 1;
  for (let j0 = 0; j0 < n; j0 += BLOCK) {
    const j1 = Math.min(j0 + BLOCK, n);
    for (let i = j0; i < j1; i++) {
      column(i, j0, before, false);
      const rest = n - i - 1;
      if (rest === 0) continue;
      before = rest < 256 ? 1 : parts;
      const [from, x, to] = [
        program.from(a, i + 1, i + 1),
        program.from(v, i, i + 1),
        program.from(sums, 0, i + 1),
      ];
      const words = [from.at, from.step, from.row, x.at, x.step, to.at, to.step, n * program.bytes, rest];
      program.run(kernels.SYMMETRIC_VECTOR, words, before, (rest * rest) / 2);
    }
    if (j1 === n) break;
    column(j1, j0, before, true);
    // Rows v, w by rows w, v: one product, and one rounding of what it is subtracted from.
    const [size, rest] = [j1 - j0, n - j1];
    const [vs, ws] = [program.from(v, j0, j1), program.from(w, 0, j1)];
    program.copy(program.from(vs, size, 0), ws, size, rest);
    program.copy(program.from(ws, size, 0), vs, size, rest);
    program.product(program.from(a, j1, j1), transposed(vs), ws, [rest, rest, 2 * size], {
      alpha: -1,
      lower: true,
    });
  }
  return { banded: { diagonal, off, n }, v, tau, factor };
}
