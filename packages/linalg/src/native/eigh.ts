import { NO_CONVERGENCE } from "../../assembly/faults.js";
import * as kernels from "../../assembly/kernels.js";
import type { EighArg } from "../eigh.js";
import { DOMAINS, eighKernel, eigvalshKernel } from "../wasm/eigh.js";
import { type Matrix, Part } from "../wasm/program.js";
import { BLOCK, nativeKernel, NativeProgram, shapeOf } from "./program.js";

/** syevd: its vectors are columns, which are our rows. */
export const eighNative = /* @__PURE__ */ nativeKernel(eighKernel, {
  routines: ["syevd"],
  least: 16,
  emit(group, ctx, lapack) {
    const [n] = shapeOf(group);
    const program = new NativeProgram(group, ctx, lapack, 4 * n ** 3);
    const vectors = emitEigen(program, group.arg as EighArg, n, true);
    const [to, signs] = [program.output(1), program.numbers(n)];
    // biome-ignore format: in the order of the words
    const words = [
      vectors.at, vectors.step, vectors.row, to.at, to.step, to.row, n, n, signs.at, signs.step, 0, signs.at, signs.step,
      1, 1, n,
    ];
    program.run(kernels.FINISH_VECTORS, words, Math.ceil(n / kernels.FINISHED), n * n);
    program.finish((group.arg as EighArg).where);
  },
});

/** syevd without vectors. */
export const eigvalshNative = /* @__PURE__ */ nativeKernel(eigvalshKernel, {
  routines: ["syevd"],
  least: 8,
  emit(group, ctx, lapack) {
    const [n] = shapeOf(group);
    const program = new NativeProgram(group, ctx, lapack, (2 * n ** 3) / 3);
    emitEigen(program, group.arg as EighArg, n, false);
    program.finish((group.arg as EighArg).where);
  },
});

/** Writes the values; gives the vectors as rows. */
function emitEigen(
  program: NativeProgram,
  { assumeSymmetric, domain }: EighArg,
  n: number,
  withVectors: boolean,
): Matrix {
  const [input, to] = [program.input(0), program.list(0)];
  const [factor, a, info] = [program.numbers(1), program.matrix(n, n), program.integers(1)];
  const part = assumeSymmetric ? Part.lower : Part.all;
  program.inspect(input, n, n, { part, symmetric: !assumeSymmetric, factor });
  program.copy(a, input, n, n, { factor });
  const [found, values] = [program.numbers(n, program.bytes), program.numbers(n)];
  const size = withVectors ? 1 + 6 * n + 2 * n * n + BLOCK * n : 1 + (2 + BLOCK) * n;
  const integers = withVectors ? 3 + 5 * n : 1;
  // biome-ignore format: in the order of the routine
  program.call("syevd", [
    withVectors ? "V" : "N", "U", n, a, program.ld(a), found, program.work(size), size, program.work(integers, 4), integers, info,
  ]);
  program.check(info, NO_CONVERGENCE);
  emitValues(program, found, values, to, n, { descending: false, factor, domain });
  return a;
}

/** Values of a routine, at the scale of the input. */
export function emitValues(
  program: NativeProgram,
  found: Matrix,
  values: Matrix,
  to: Matrix,
  n: number,
  { descending, factor, domain }: { descending: boolean; factor: Matrix; domain: EighArg["domain"] },
): void {
  const order = Number(descending);
  program.run(kernels.WIDEN, [found.at, found.step, values.at, values.step, n, order]);
  const scale = [factor.at, domain ? DOMAINS[domain] : 0];
  program.run(kernels.PUT_VALUES, [values.at, values.step, to.at, to.step, n, order, ...scale]);
}
