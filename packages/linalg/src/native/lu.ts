import { luKernel } from "../wasm/lu.js";
import * as kernels from "../../assembly/kernels.js";
import type { LuArg } from "../lu.js";
import { nativeKernel, NativeProgram, shapeOf } from "./program.js";

/** getrf on the transpose. */
export const luNative = /* @__PURE__ */ nativeKernel(luKernel, {
  routines: ["getrf"],
  least: 128,
  emit(group, ctx, lapack) {
    const { where } = group.arg as LuArg;
    const [m, n] = shapeOf(group);
    const steps = Math.min(m, n);
    const program = new NativeProgram(group, ctx, lapack, (m * n * steps) / 2);
    const [a, packed, p, sign] = [program.input(0), program.output(0), program.list(1), program.list(2)];
    const [columns, pivots] = [program.matrix(n, m), program.integers(steps)];
    program.inspect(a, m, n);
    program.copy(columns, a, n, m, { transpose: true });
    // Its info tells of a pivot of zero, which is no fault here.
    program.call("getrf", [m, n, columns, program.ld(columns), pivots, program.integers(1)]);
    program.copy(packed, columns, m, n, { transpose: true });
    const words = [pivots.at, pivots.step, p.at, p.step, sign.at, sign.step, m, steps, steps, 1];
    program.run(kernels.LU_FINISH, words);
    program.finish(where);
  },
});
