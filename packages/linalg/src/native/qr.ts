import { qrKernel, qrPivotedKernel } from "../wasm/qr.js";
import * as kernels from "../../assembly/kernels.js";
import type { QrArg } from "../qr.js";
import { type Matrix, Part } from "../wasm/program.js";
import { BLOCK, nativeKernel, NativeProgram, shapeOf } from "./program.js";

/** geqrf on the transpose, and orgqr. */
export const qrNative = /* @__PURE__ */ nativeKernel(qrKernel, {
  routines: ["geqrf", "orgqr"],
  least: 32,
  emit(group, ctx, lapack) {
    const { where, full } = group.arg as QrArg;
    const [m, n] = shapeOf(group);
    const k = Math.min(m, n);
    const program = new NativeProgram(group, ctx, lapack, 2 * m * n * k);
    const { columns, factor, tau, info } = begin(program, m, n);
    const size = BLOCK * n;
    program.call("geqrf", [m, n, columns, program.ld(columns), tau, program.work(size), size, info]);
    finish(program, { m, n, count: full ? m : k, columns, factor, tau, info });
    program.finish(where);
  },
});

/** geqp3 on the transpose, and orgqr. */
export const qrPivotedNative = /* @__PURE__ */ nativeKernel(qrPivotedKernel, {
  routines: ["geqp3", "orgqr"],
  least: 32,
  emit(group, ctx, lapack) {
    const { where } = group.arg as { where: string };
    const [m, n] = shapeOf(group);
    const k = Math.min(m, n);
    const program = new NativeProgram(group, ctx, lapack, 2 * m * n * k);
    const { columns, factor, tau, info } = begin(program, m, n);
    const [pivots, p] = [program.integers(n), program.list(2)];
    const size = 2 * n + (n + 1) * BLOCK;
    program.run(kernels.FREE_COLUMNS, [pivots.at, pivots.step, n]);
    program.call("geqp3", [m, n, columns, program.ld(columns), pivots, tau, program.work(size), size, info]);
    program.run(kernels.FROM_ONE, [pivots.at, pivots.step, p.at, p.step, n]);
    finish(program, { m, n, count: k, columns, factor, tau, info });
    program.finish(where);
  },
});

/** The columns of the input at size 1. */
function begin(program: NativeProgram, m: number, n: number) {
  const [factor, columns] = [program.numbers(1), program.matrix(n, m)];
  program.inspect(program.input(0), m, n, { factor });
  program.copy(columns, program.input(0), n, m, { transpose: true, factor });
  return { columns, factor, tau: program.numbers(Math.min(m, n), program.bytes), info: program.integers(1) };
}

/** `count` columns of Q, and R at the scale of the input with a diagonal ≥ 0. */
function finish(
  program: NativeProgram,
  {
    m,
    n,
    count,
    columns,
    factor,
    tau,
    info,
  }: { m: number; n: number; count: number } & Record<"columns" | "factor" | "tau" | "info", Matrix>,
): void {
  const [q, r] = [program.output(0), program.output(1)];
  const k = Math.min(m, n);
  const vectors = program.matrix(count, m);
  const size = BLOCK * count;
  program.copy(r, columns, count, n, { transpose: true, part: Part.upper, factor, inverse: true });
  program.copy(vectors, columns, k, m);
  program.call("orgqr", [m, count, k, vectors, program.ld(vectors), tau, program.work(size), size, info]);
  program.copy(q, vectors, m, count, { transpose: true });
  // biome-ignore format: in the order of the words
  const words = [
    q.at, q.step, q.row, m, count, r.at, r.step, r.row, count, n,
    columns.at, columns.step, columns.row + columns.column, k,
  ];
  program.run(kernels.QR_FINISH, words, Math.max(1, Math.ceil(m / 64)), m * count);
}
