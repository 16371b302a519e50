import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import { type Matrix, Part, Program, transposed } from "./program.js";
import { emitTriangular } from "./triangular-solve.js";

/** Columns that are factored at once. */
const BLOCK = 64;

/** Blocked, right-looking: LAPACK's potrf (Golub and Van Loan, Matrix Computations, 4.2.9). */
export const choleskyKernel: Kernel = {
  emit(group, ctx) {
    if (group.outputs[0]!.size === 0) return;
    const { where, assumeSymmetric } = group.arg as { where: string; assumeSymmetric: boolean };
    const program = new Program(group, ctx);
    const n = group.outputs[0]!.dims.at(-1)!;
    const [a, L] = [program.input(0), program.output(0)];
    program.inspect(a, n, n, { part: assumeSymmetric ? Part.lower : Part.all, symmetric: !assumeSymmetric });
    program.copy(L, a, n, n);
    emitCholesky(program, L, n);
    program.copy(L, L, n, n, { part: Part.lower }); // products by blocks have written above the diagonal
    program.finish(where);
  },
};

/** L in place of the lower triangle. */
function emitCholesky(program: Program, L: Matrix, n: number): void {
  for (let k = 0; k < n; k += BLOCK) {
    const size = Math.min(BLOCK, n - k);
    const rest = n - k - size;
    const corner = program.from(L, k, k);
    if (k === 0)
      program.run(kernels.CHOLESKY_BLOCK, [corner.at, corner.step, corner.row, size, k], 1, size ** 3 / 6);
    if (rest === 0) break;
    const below = program.from(L, k + size, k);
    emitTriangular(program, corner, transposed(below), size, rest, { forward: true, unit: false });
    const end = program.from(L, k + size, k + size);
    program.product(end, below, transposed(below), [rest, rest, size], {
      alpha: -1,
      lower: true,
      kernel: kernels.CHOLESKY_UPDATE,
      more: [Math.min(BLOCK, rest), k + size],
    });
  }
}
