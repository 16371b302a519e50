import { SINGULAR } from "../../assembly/faults.js";
import * as kernels from "../../assembly/kernels.js";
import type { LuArg } from "../lu.js";
import { compositeKernel, NativeProgram, partsOf, shapeOf } from "./program.js";

/** getrf on the transpose, and getrs on the columns of b, which are cut into equal parts if there is one matrix. */
export const solveNative = /* @__PURE__ */ compositeKernel({
  routines: ["getrf", "getrs"],
  least: 64,
  emit(group, ctx, lapack) {
    const { where } = group.arg as LuArg;
    const [n] = shapeOf(group);
    const sides = group.outputs[0]!.dims.at(-1)!;
    const work = n * n * sides;
    const program = new NativeProgram(group, ctx, lapack, n ** 3 / 3 + work);
    const [a, b] = [program.input(0), program.input(1)];
    const [x, factors, p] = [program.output(0), program.output(1), program.list(2)];
    const [pivots, info, sign] = [program.integers(n), program.integers(1), program.numbers(1)];
    program.inspect(a, n, n);
    program.inspect(b, n, sides);
    program.copy(factors, a, n, n, { transpose: true });
    program.call("getrf", [n, n, factors, n, pivots, info]);
    program.check(info, SINGULAR);
    // A column by itself lies as a row does.
    const turned = sides > 1;
    const columns = turned ? program.matrix(sides, n) : { ...x, row: n * program.bytes };
    program.copy(columns, b, turned ? sides : 1, n, { transpose: turned });
    const parts = program.batch > 1 ? 1 : partsOf(sides, work);
    if (parts > 1) {
      const [each, all] = [
        { at: columns.at, step: (sides / parts) * columns.row },
        { at: factors.at, step: 0 },
      ];
      const args = [n, sides / parts, all, n, { at: pivots.at, step: 0 }, each, program.ld(columns)];
      program.callParts("getrs", ["N", ...args, { at: info.at, step: 0 }], parts);
    } else program.call("getrs", ["N", n, sides, factors, n, pivots, columns, program.ld(columns), info]);
    if (turned) program.copy(x, columns, n, sides, { transpose: true });
    program.run(kernels.LU_FINISH, [pivots.at, pivots.step, p.at, p.step, sign.at, sign.step, n, n, n, 1]);
    program.finish(where);
  },
});
