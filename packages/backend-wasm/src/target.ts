import type { Target } from "@lowrank/tensor/backend";
import { kernelOf } from "./kernels/table.js";

/** What the scheduler must know of this backend, read from the kernel table. */
export const target: Target = {
  supports: (site) => {
    const kernel = kernelOf(site.op);
    return kernel !== undefined && (kernel.supports?.(site) ?? true);
  },
  layout: (op, index) => kernelOf(op)?.layout?.(index) ?? "contiguous",
  widens: (op, index) => kernelOf(op)?.widens?.(index) ?? false,
  inPlace: (op) => kernelOf(op)?.inPlace ?? -1,
  joins: (group, other) => kernelOf(group.op)?.joins?.(group, other) ?? false,
  fusesEpilogue: (kernel, loop) => kernelOf(kernel.op)?.fusesEpilogue?.(kernel, loop) ?? false,
  maxBindings: 64,
  maxInstructions: 256,
};
