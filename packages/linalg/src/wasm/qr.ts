import type { Operand } from "@lowrank/tensor/backend";
import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import { type Matrix, Part, Program } from "./program.js";
import { blockFactors, type Reflections, reflectLeft } from "./reflections.js";

/** Reflections of a block. */
const BLOCK = 32;

/** Blocked Householder QR in the compact WY form: LAPACK's geqrf and orgqr. */
export const qrKernel: Kernel = {
  emit(group, ctx) {
    const [m, n] = (group.inputs[0] as Operand).dims.slice(-2) as [number, number];
    const { where, full } = group.arg as { where: string; full: boolean };
    const program = new Program(group, ctx);
    if (program.batch === 0 || m === 0) return;
    const k = Math.min(m, n);
    const factor = program.numbers(1);
    program.inspect(program.input(0), m, n, { factor });
    const w = program.room(m, n);
    program.copy(w, program.input(0), m, n, { factor });
    const reflections = emitQr(program, w, m, n);
    finishQr(program, w, reflections, { m, n, columns: full ? m : k, factor, transpose: false });
    program.finish(where);
  },
};

/** The same with the column of largest rest first, one reflection at a time: LAPACK's geqp3 without its blocks. */
export const qrPivotedKernel: Kernel = {
  emit(group, ctx) {
    const [m, n] = (group.inputs[0] as Operand).dims.slice(-2) as [number, number];
    const { where } = group.arg as { where: string };
    const program = new Program(group, ctx);
    if (program.batch === 0) return;
    const k = Math.min(m, n);
    const factor = program.numbers(1);
    program.inspect(program.input(0), m, n, { factor });
    const columns = program.room(n, m);
    program.copy(columns, program.input(0), n, m, { transpose: true, factor });
    const v = program.room(k, m);
    const [tau, norms, p] = [program.numbers(k), program.numbers(2 * n), program.list(2)];
    // biome-ignore format: in the order of the words
    const words = [
      columns.at, columns.step, columns.row, v.at, v.step, v.row, tau.at, tau.step, p.at, p.step, m, n, norms.at, norms.step,
    ];
    program.run(kernels.QR_PIVOTED, words, 1, 2 * m * n * k);
    const reflections = blockFactors(program, v, tau, { count: k, length: m, block: BLOCK });
    finishQr(program, columns, reflections, { m, n, columns: k, factor, transpose: true });
    program.finish(where);
  },
};

/** R on and above the diagonal of w [m, n]; its reflections. */
export function emitQr(program: Program, w: Matrix, m: number, n: number): Reflections {
  const k = Math.min(m, n);
  const v = program.room(k, m);
  const t = program.room(k, BLOCK);
  const tau = program.numbers(k);
  const reflections = { v, t, count: k, length: m, block: BLOCK };
  for (let j = 0; j < k; j += BLOCK) {
    const size = Math.min(BLOCK, k - j);
    const [corner, vs] = [program.from(w, j, j), program.from(v, j, j)];
    const [ts, taus] = [program.from(t, j, 0), program.from(tau, 0, j)];
    // biome-ignore format: in the order of the words
    const words = [
      corner.at, corner.step, corner.row, vs.at, vs.step, vs.row, ts.at, ts.step, ts.row, m - j, size, taus.at, taus.step,
    ];
    program.run(kernels.QR_PANEL, words, 1, 2 * (m - j) * size * size);
    const rest = program.from(w, j, j + size);
    reflectLeft(program, rest, n - j - size, reflections, j, true);
  }
  return reflections;
}

/** Q and R from the reflections and w, which holds R, or Rᵀ with `transpose`. */
function finishQr(
  program: Program,
  w: Matrix,
  reflections: Reflections,
  shape: { m: number; n: number; columns: number; factor: Matrix; transpose: boolean },
): void {
  const { m, n, columns, factor, transpose } = shape;
  const [q, r] = [program.output(0), program.output(1)];
  const { count, block } = reflections;
  const rows = Math.min(columns, m);
  const used = Math.min(rows, count);
  program.copy(r, w, transpose ? used : rows, n, { part: Part.upper, factor, inverse: true, transpose });
  program.identity(q, m, columns);
  for (let j = Math.floor((count - 1) / block) * block; j >= 0; j -= block)
    reflectLeft(program, program.from(q, j, j), columns - j, reflections, j, false);
  // biome-ignore format: in the order of the words
  const words = [
    q.at, q.step, q.row, m, columns, r.at, r.step, r.row, rows, n, w.at, w.step, w.row + w.column, count,
  ];
  program.run(kernels.QR_FINISH, words, Math.max(1, Math.ceil(m / 64)), m * columns);
}
