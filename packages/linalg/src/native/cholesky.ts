import { NOT_POSITIVE } from "../../assembly/faults.js";
import type { SymmetricArg } from "../cholesky.js";
import { choleskyKernel } from "../wasm/cholesky.js";
import { Part } from "../wasm/program.js";
import { nativeKernel, NativeProgram, shapeOf } from "./program.js";

/** potrf on the result: the lower triangle by rows is the upper one by columns. */
export const choleskyNative = /* @__PURE__ */ nativeKernel(choleskyKernel, {
  routines: ["potrf"],
  least: 32,
  emit(group, ctx, lapack) {
    const { where, assumeSymmetric } = group.arg as SymmetricArg;
    const [n] = shapeOf(group);
    const program = new NativeProgram(group, ctx, lapack, n ** 3 / 6);
    const [a, L, info] = [program.input(0), program.output(0), program.integers(1)];
    program.inspect(a, n, n, { part: assumeSymmetric ? Part.lower : Part.all, symmetric: !assumeSymmetric });
    program.copy(L, a, n, n, { part: Part.lower });
    program.call("potrf", ["U", n, L, n, info]);
    program.check(info, NOT_POSITIVE, L);
    program.finish(where);
  },
});
