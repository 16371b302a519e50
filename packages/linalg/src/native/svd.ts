import { svdKernel, singularValuesKernel } from "../wasm/svd.js";
import { NO_CONVERGENCE } from "../../assembly/faults.js";
import * as kernels from "../../assembly/kernels.js";
import type { SvdArg } from "../svd.js";
import type { Matrix } from "../wasm/program.js";
import { emitValues } from "./eigh.js";
import { BLOCK, nativeKernel, NativeProgram, shapeOf } from "./program.js";

/** gesdd on the transpose as it lies there: aᵀ = V S Uᵀ, whose V by columns is our vᵀ by rows and whose Uᵀ is our u. */
export const svdNative = /* @__PURE__ */ nativeKernel(svdKernel, {
  routines: ["gesdd"],
  least: 16,
  emit(group, ctx, lapack) {
    const { where, full } = group.arg as SvdArg;
    const [m, n] = shapeOf(group);
    const q = Math.min(m, n);
    const program = new NativeProgram(group, ctx, lapack, 8 * m * n * q);
    const [u, vt] = [program.output(0), program.output(2)];
    const columns = full ? m : q;
    emitSingular(program, m, n, full ? "A" : "S", u, columns, vt);
    const room = program.numbers(2 * columns);
    // biome-ignore format: in the order of the words
    const words = [
      u.at, u.step, u.row, m, columns, vt.at, vt.step, vt.row, q, n, room.at, room.step,
    ];
    program.run(kernels.SVD_SIGNS, words, 1, 2 * m * columns + q * n);
    program.finish(where);
  },
});

/** gesdd without vectors. */
export const singularValuesNative = /* @__PURE__ */ nativeKernel(singularValuesKernel, {
  routines: ["gesdd"],
  least: 8,
  emit(group, ctx, lapack) {
    const [m, n] = shapeOf(group);
    const program = new NativeProgram(group, ctx, lapack, 2 * m * n * Math.min(m, n));
    const none = program.numbers(1);
    emitSingular(program, m, n, "N", none, 1, none);
    program.finish((group.arg as { where: string }).where);
  },
});

/** Writes singular values, and where asked u, whose rows have `columns`, and vᵀ. */
function emitSingular(
  program: NativeProgram,
  m: number,
  n: number,
  job: "A" | "S" | "N",
  u: Matrix,
  columns: number,
  vt: Matrix,
): void {
  const [q, most] = [Math.min(m, n), Math.max(m, n)];
  const [factor, a, info] = [program.numbers(1), program.matrix(m, n), program.integers(1)];
  program.inspect(program.input(0), m, n, { factor });
  program.copy(a, program.input(0), m, n, { factor });
  const [found, values] = [program.numbers(q, program.bytes), program.numbers(q)];
  const size = (job === "N" ? 0 : 4 * q * q) + 10 * q + most + BLOCK * (m + n);
  // biome-ignore format: in the order of the routine
  program.call("gesdd", [
    job, n, m, a, program.ld(a), found, vt, n, u, columns, program.work(size), size, program.work(8 * q, 4), info,
  ]);
  program.check(info, NO_CONVERGENCE);
  emitValues(program, found, values, program.list(job === "N" ? 0 : 1), q, {
    descending: true,
    factor,
    domain: null,
  });
}
