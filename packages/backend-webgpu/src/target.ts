import type { Target } from "@lowrank/tensor/backend";
import { kernels } from "./kernels/table.js";

const entry = (name: string) => (Object.hasOwn(kernels, name) ? kernels[name] : undefined);

/** What the scheduler must know of this backend on a device with these limits. */
export const targetOf = (limits: GPUSupportedLimits): Target => ({
  supports: (site) => {
    const kernel = entry(site.op.name);
    return kernel !== undefined && (kernel.supports?.(site) ?? true);
  },
  layout: (op, index) => entry(op.name)?.layout?.(index) ?? "contiguous",
  widens: (op, index) => entry(op.name)?.widens?.(index) ?? false,
  inPlace: (op) => entry(op.name)?.inPlace ?? -1,
  fusesEpilogue: (kernel, loop) =>
    entry(kernel.op.name)?.fusesEpilogue?.(kernel, loop, limits.maxStorageBuffersPerShaderStage) ?? false,
  maxBindings: limits.maxStorageBuffersPerShaderStage, // later readers may make a loop store more: loop-parts.ts
  maxInstructions: 128,
  // Offsets of bindings keep to the widest alignment that a device may ask for.
  alignment: 256,
});
