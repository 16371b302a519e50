import { triangularSolveKernel } from "../wasm/triangular-solve.js";
import * as kernels from "../../assembly/kernels.js";
import type { TriangularSolveArg } from "../triangular-solve.js";
import { Part } from "../wasm/program.js";
import { nativeKernel, NativeProgram, partsOf, shapeOf } from "./program.js";

const ROW_MAJOR = 101;
const [LEFT, RIGHT] = [141, 142];
const [UPPER, LOWER] = [121, 122];
const [PLAIN, TRANSPOSED] = [111, 112];
const [NON_UNIT, UNIT] = [131, 132];

/** trsm on a copy of b, whose columns (or rows, from the right) are cut into equal parts if there is one matrix. */
export const triangularSolveNative = /* @__PURE__ */ nativeKernel(triangularSolveKernel, {
  routines: ["trsm"],
  least: 32,
  emit(group, ctx, lapack) {
    const { where, lower, transpose, left, unitDiagonal } = group.arg as TriangularSolveArg;
    const [n] = shapeOf(group);
    const [rows, columns] = group.outputs[0]!.dims.slice(-2) as [number, number];
    const sides = left ? columns : rows;
    const work = (n * n * sides) / 2;
    const program = new NativeProgram(group, ctx, lapack, work);
    const [a, b, x] = [program.input(0), program.input(1), program.output(0)];
    program.inspect(a, n, n, { part: lower ? Part.lower : Part.upper });
    program.inspect(b, rows, columns);
    if (!unitDiagonal) program.run(kernels.REGULAR, [a.at, a.step, a.row + a.column, n]);
    program.copy(x, b, rows, columns);
    const parts = program.batch > 1 ? 1 : partsOf(sides, work);
    const size = sides / parts;
    const step = parts === 1 ? x.step : size * (left ? x.column : x.row);
    // biome-ignore format: in the order of the routine
    const args = [
      ROW_MAJOR, left ? LEFT : RIGHT, lower ? LOWER : UPPER, transpose ? TRANSPOSED : PLAIN, unitDiagonal ? UNIT : NON_UNIT,
      left ? n : size, left ? size : n, 1, parts === 1 ? a : { ...a, step: 0 }, n, { ...x, step }, columns,
    ];
    if (parts > 1) program.callParts("trsm", args, parts);
    else program.call("trsm", args);
    program.finish(where);
  },
});
