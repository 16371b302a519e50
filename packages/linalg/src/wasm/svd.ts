import type { Operand } from "@lowrank/tensor/backend";
import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import type { SvdArg } from "../svd.js";
import { type Banded, emitDivide } from "./divide.js";
import { emitOrder, emitValues } from "./eigh.js";
import { type Matrix, Part, Program, transposed } from "./program.js";
import { emitQr } from "./qr.js";
import { blockFactors, reflectRight, type Reflections } from "./reflections.js";

/** Columns of a panel. */
const BLOCK = 32;
/** What a pass over the matrix makes. */
const [X, V] = [1, 2];
/** A matrix taller than so many times its width becomes its R first (Chan 1982). */
const TALL = 1.5;

/** To bidiagonal form by reflections, divide and conquer, and back. A wide matrix is taken transposed. */
export const svdKernel: Kernel = {
  emit(group, ctx) {
    const [rows, columns] = (group.inputs[0] as Operand).dims.slice(-2) as [number, number];
    const { where, full } = group.arg as SvdArg;
    const program = new Program(group, ctx);
    if (program.batch === 0) return;
    const [uOut, vtOut] = [program.output(0), program.output(2)];
    if (rows === 0 || columns === 0) {
      if (!full) return;
      program.inspect(program.input(0), 0, 0);
      program.identity(uOut, rows, rows);
      program.identity(vtOut, columns, columns);
      program.finish(where);
      return;
    }
    const wide = rows < columns;
    const [m, n] = wide ? [columns, rows] : [rows, columns];
    const tall = emitInput(program, m, n, wide);
    const bidiagonal = emitBidiagonal(program, tall.a, tall.m, n);
    // Left vectors as rows of m, of which the inner problem has the first n elements.
    const lefts = full ? m : n;
    const [q, v] = [program.room(lefts, m), program.room(n, n)];
    program.identity(q, lefts, m);
    const { values } = emitDivide(program, bidiagonal.banded, true, q, v);
    const { length } = bidiagonal;
    turn(
      program,
      q,
      lefts,
      blockFactors(program, bidiagonal.u, bidiagonal.tauU, { count: n, length, block: BLOCK }),
    );
    if (tall.reflections) turn(program, q, lefts, tall.reflections);
    if (n > 1)
      turn(
        program,
        v,
        n,
        blockFactors(program, bidiagonal.p, bidiagonal.tauP, { count: n - 1, length: n, block: BLOCK }),
      );
    const how = { singular: true, factor: tall.factor };
    const order = emitOrder(program, bidiagonal.banded, values, program.list(1), how);
    const signs = program.numbers(Math.max(lefts, n));
    const finish = (x: Matrix, to: Matrix, count: number, length: number, asColumns: boolean) => {
      const signed = Math.min(lefts, n);
      // biome-ignore format: in the order of the words
      const words = [
        x.at, x.step, x.row, to.at, to.step, to.row, count, length, order.at, order.step, n, signs.at, signs.step,
        Number(asColumns), signed,
      ];
      program.scratch(kernels.FINISHED * length * program.bytes);
      program.run(kernels.FINISH_VECTORS, words, Math.ceil(count / kernels.FINISHED), count * length);
    };
    // The u of the input is the v of its transpose; its signs are those that are chosen.
    if (wide) {
      finish(v, uOut, n, n, true);
      finish(q, vtOut, lefts, m, false);
    } else {
      finish(q, uOut, lefts, m, true);
      finish(v, vtOut, n, n, false);
    }
    program.finish(where);
  },
};

/** The values alone. */
export const singularValuesKernel: Kernel = {
  emit(group, ctx) {
    if (group.outputs[0]!.size === 0) return;
    const [rows, columns] = (group.inputs[0] as Operand).dims.slice(-2) as [number, number];
    const program = new Program(group, ctx);
    const wide = rows < columns;
    const [m, n] = wide ? [columns, rows] : [rows, columns];
    const tall = emitInput(program, m, n, wide);
    const { banded } = emitBidiagonal(program, tall.a, tall.m, n);
    emitValues(program, banded, program.list(0), { singular: true, factor: tall.factor });
    program.finish((group.arg as { where: string }).where);
  },
};

/** The input at size 1, transposed if it is wide, as its R if it is tall. */
function emitInput(
  program: Program,
  m: number,
  n: number,
  wide: boolean,
): { a: Matrix; m: number; factor: Matrix; reflections?: Reflections } {
  const factor = program.numbers(1);
  program.inspect(program.input(0), wide ? n : m, wide ? m : n, { factor });
  const a = program.room(m, n);
  program.copy(a, program.input(0), m, n, { factor, transpose: wide });
  if (m <= TALL * n) return { a, m, factor };
  const reflections = emitQr(program, a, m, n);
  program.copy(a, a, n, n, { part: Part.upper });
  return { a, m: n, factor, reflections };
}

/** Rows of q = rows of q Hᵀ for all reflections. */
function turn(program: Program, q: Matrix, rows: number, reflections: Reflections): void {
  const { count, block } = reflections;
  for (let j = Math.floor((count - 1) / block) * block; j >= 0; j -= block)
    reflectRight(program, program.from(q, 0, j), rows, reflections, j, true);
}

interface Bidiagonal {
  readonly banded: Banded;
  readonly u: Matrix;
  readonly tauU: Matrix;
  readonly p: Matrix;
  readonly tauP: Matrix;
  readonly length: number;
}

/** a [m, n] = U B Pᵀ, m ≥ n: B, and the reflections of both; those of P leave one element more alone. */
function emitBidiagonal(program: Program, a: Matrix, m: number, n: number): Bidiagonal {
  const [u, p, x, y] = [
    program.room(n + BLOCK, m),
    program.room(n, n),
    program.room(BLOCK, m),
    program.room(2 * BLOCK, n),
  ];
  const [diagonal, off, tauU, tauP] = [
    program.numbers(n),
    program.numbers(n),
    program.numbers(n),
    program.numbers(n),
  ];
  const sums = program.rows(8, n * program.bytes);
  const products = program.numbers(2 * BLOCK, program.bytes);
  // biome-ignore format: in the order of the words
  const wordsOf = (i: number, j0: number) => [
    a.at, a.step, a.row, u.at, u.step, u.row, p.at, p.step, p.row, x.at, x.step, x.row, y.at, y.step, y.row, m, n, i, j0,
    sums.at, sums.step, diagonal.at, diagonal.step, tauU.at, tauU.step, off.at, off.step, tauP.at, tauP.step,
    products.at, products.step,
  ];
  const partsOf = (i: number) => ((m - i) * (n - i) < 1 << 15 ? 1 : 8);
  const pass = (i: number, j0: number, which: number): void => {
    const work = (m - i) * (n - i + 2 * (i - j0)) * (which === 3 ? 2 : 1);
    program.run(kernels.BIDIAGONAL_PASS, [...wordsOf(i, j0), which], partsOf(i), work);
  };
  for (let j0 = 0; j0 < n; j0 += BLOCK) {
    const j1 = Math.min(j0 + BLOCK, n);
    pass(j0, j0, V);
    for (let i = j0; i < j1; i++) {
      const work = 8 * (i - j0) * (m + n - 2 * i);
      program.run(kernels.BIDIAGONAL_ROW, [...wordsOf(i, j0), partsOf(i)], 1, work);
      if (i + 1 < n) pass(i + 1, j0, i + 1 < j1 ? X + V : X);
    }
    if (j1 === n) break;
    // Rows u, x by rows y, p: one product, and one rounding of what it is subtracted from.
    const [size, rows, columns] = [j1 - j0, m - j1, n - j1];
    const [us, ys] = [program.from(u, j0, j1), program.from(y, 0, j1)];
    program.copy(program.from(us, size, 0), program.from(x, 0, j1), size, rows);
    program.copy(program.from(ys, size, 0), program.from(p, j0, j1), size, columns);
    program.product(program.from(a, j1, j1), transposed(us), ys, [rows, columns, 2 * size], { alpha: -1 });
  }
  return { banded: { diagonal, off, n }, u, tauU, p, tauP, length: m };
}
