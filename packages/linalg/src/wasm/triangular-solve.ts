import type { Operand } from "@lowrank/tensor/backend";
import type { Kernel } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import type { TriangularSolveArg } from "../triangular-solve.js";
import { type Matrix, Part, Program, transposed } from "./program.js";

/** Packed blocks of assembly/triangle.ts, beside those of a product. */
const SCRATCH_BYTES = (1 << 20) - (1 << 16);

/** Substitution by blocks, for some columns at a time. */
export const triangularSolveKernel: Kernel = {
  emit(group, ctx) {
    if (group.outputs[0]!.size === 0) return;
    const { where, lower, transpose, left, unitDiagonal } = group.arg as TriangularSolveArg;
    const program = new Program(group, ctx);
    const n = (group.inputs[0] as Operand).dims.at(-1)!;
    const [rows, columns] = group.outputs[0]!.dims.slice(-2) as [number, number];
    const [a, b, x] = [program.input(0), program.input(1), program.output(0)];
    program.inspect(a, n, n, { part: lower ? Part.lower : Part.upper });
    program.inspect(b, rows, columns);
    if (!unitDiagonal) program.run(kernels.REGULAR, [a.at, a.step, a.row + a.column, n]);
    program.copy(x, b, rows, columns);
    // x op(a) = b is op(a)ᵀ xᵀ = bᵀ.
    const flipped = transpose === left;
    emitTriangular(program, flipped ? transposed(a) : a, left ? x : transposed(x), n, left ? columns : rows, {
      forward: lower !== flipped,
      unit: unitDiagonal,
    });
    program.finish(where);
  },
};

/** x [n, k] becomes a⁻¹ x; `forward`: a is lower triangular, else upper. */
export function emitTriangular(
  program: Program,
  a: Matrix,
  x: Matrix,
  n: number,
  k: number,
  { forward, unit }: { forward: boolean; unit: boolean },
): void {
  program.scratch(SCRATCH_BYTES);
  const columns = k >= 256 ? 64 : k >= 64 ? 32 : 16;
  const words = [a.at, a.step, a.row, a.column, x.at, x.step, x.row, x.column, n, k];
  program.run(
    kernels.TRIANGULAR,
    [...words, Number(forward), Number(unit), columns],
    Math.ceil(k / columns),
    (n * n * k) / 2,
  );
}
