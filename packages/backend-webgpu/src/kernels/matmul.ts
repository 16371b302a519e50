import { sizeOf } from "@lowrank/tensor/backend";
import { type Kernel, operandAt } from "../emit.js";
import { emitElements } from "./elements.js";
import { canFinish } from "./finish.js";
import { emitBest } from "./matmul-variants.js";
import { productOf } from "./product.js";

/** Products of matrices over their last two axes, read with any strides, summed in f32. */
export const matmulKernel: Kernel = {
  layout: () => "any",
  widens: () => true,
  fusesEpilogue(group, loop, buffers) {
    const { dims } = group.outputs[0]!;
    return sizeOf(operandAt(group, 0).dims) > 0 && canFinish(loop, dims.at(-1)!, buffers);
  },
  emit(group, ctx) {
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const a = operandAt(group, 0);
    if (a.dims.at(-1) === 0) {
      emitElements("matmul of nothing", y, ctx, () => "  return 0.0;");
      return;
    }
    emitBest(group, productOf(group), ctx);
  },
};
