import { CROSS_ENTROPY, CROSS_ENTROPY_BACKWARD } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, type Kernel, operandAt } from "../emit.js";
import { isNarrowFloat } from "./operands.js";

/** Elements worth waking a thread for. */
const GRAIN = 1 << 15;

export const crossEntropyKernel: Kernel = {
  supports: ({ inputs }) => isNarrowFloat(inputs[0]!.dtype),
  emit(group, ctx) {
    const { ignoreIndex } = group.arg as { ignoreIndex: number };
    const logits = operandAt(group, 0);
    const [rows, n] = logits.dims as [number, number];
    ctx.scratch(n * 4);
    ctx.command(
      CROSS_ENTROPY,
      [
        ctx.pointer(logits),
        ctx.pointer(operandAt(group, 1)),
        ctx.pointer(group.outputs[0]!),
        ctx.pointer(group.outputs[1]!),
        rows,
        n,
        ignoreIndex,
        DTYPE_IDS[logits.dtype],
      ],
      chunksOf(rows * n, GRAIN),
    );
  },
};

export const crossEntropyBackwardKernel: Kernel = {
  supports: ({ inputs }) => isNarrowFloat(inputs[0]!.dtype),
  inPlace: 0,
  emit(group, ctx) {
    const { ignoreIndex } = group.arg as { ignoreIndex: number };
    const logits = operandAt(group, 0);
    const [rows, n] = logits.dims as [number, number];
    ctx.scratch(n * 4);
    ctx.command(
      CROSS_ENTROPY_BACKWARD,
      [
        ctx.pointer(logits),
        ctx.pointer(operandAt(group, 1)),
        ctx.pointer(operandAt(group, 2)),
        ctx.pointer(operandAt(group, 3)),
        ctx.pointer(group.outputs[0]!),
        rows,
        n,
        ignoreIndex,
        DTYPE_IDS[logits.dtype],
      ],
      chunksOf(rows * n, GRAIN),
    );
  },
};
