import { dtypeBytes } from "@lowrank/tensor/backend";
import { SOFTMAX, SOFTMAX_BACKWARD } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, type Kernel, operandAt } from "../emit.js";
import { isNarrowFloat, rowsOf } from "./operands.js";

/** Elements worth waking a thread for. */
const GRAIN = 1 << 15;

export const softmaxKernel: Kernel = {
  supports: ({ inputs }) => isNarrowFloat(inputs[0]!.dtype),
  inPlace: 0,
  emit(group, ctx) {
    const x = operandAt(group, 0);
    const { rows, n } = rowsOf(x.dims);
    ctx.scratch(n * 4);
    ctx.command(
      SOFTMAX,
      [ctx.pointer(x), ctx.pointer(group.outputs[0]!), rows, n, DTYPE_IDS[x.dtype]],
      chunksOf(rows * n, GRAIN),
    );
  },
};

export const softmaxBackwardKernel: Kernel = {
  supports: ({ inputs }) => isNarrowFloat(inputs[0]!.dtype),
  inPlace: 1,
  emit(group, ctx) {
    const y = operandAt(group, 0);
    const { rows, n } = rowsOf(y.dims);
    ctx.scratch(n * 8);
    ctx.command(
      SOFTMAX_BACKWARD,
      [
        ctx.pointer(y),
        ctx.pointer(operandAt(group, 1)),
        ctx.pointer(group.outputs[0]!),
        rows,
        n,
        DTYPE_IDS[y.dtype],
      ],
      chunksOf(rows * n * dtypeBytes(y.dtype), GRAIN * 8),
    );
  },
};
