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
  // A quarter is held back: the scheduler counts the values that a loop stores when it joins loops, and later readers may
  // make it store more.
  maxBindings: limits.maxStorageBuffersPerShaderStage - (limits.maxStorageBuffersPerShaderStage >> 2),
  maxInstructions: 128,
  // Offsets of bindings keep to the widest alignment that a device may ask for.
  alignment: 256,
});
