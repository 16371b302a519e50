import type { Target } from "@lowrank/tensor/backend";
import { kernels } from "./kernels/table.js";

const entry = (name: string) => (Object.hasOwn(kernels, name) ? kernels[name] : undefined);

/** What the scheduler must know of this backend, read from the kernel table. */
export const target: Target = {
  supports: (site) => {
    const kernel = entry(site.op.name);
    return kernel !== undefined && (kernel.supports?.(site) ?? true);
  },
  layout: (op, index) => entry(op.name)?.layout?.(index) ?? "contiguous",
  widens: (op, index) => entry(op.name)?.widens?.(index) ?? false,
  inPlace: (op) => entry(op.name)?.inPlace ?? -1,
  fusesEpilogue: (kernel, loop) => entry(kernel.op.name)?.fusesEpilogue?.(kernel, loop) ?? false,
  maxBindings: 64,
  maxInstructions: 256,
};
