import type { EmitContext, Kernel, Replaceable } from "@lowrank/backend-wasm/host";
import type { KernelGroup, OpDef } from "@lowrank/tensor/backend";
import { emitGram, takesGram } from "./gram.js";
import type { Lapack, NativeKernel } from "./lapack.js";
import { BY_SHAPE, type Cut, emitMatmul, takesMatmul } from "./matmul.js";
import { emitCodes, emitHalves, takesCodes, takesHalves } from "./widened.js";

/** What the library does of an op: whether it takes a group, all that it can if `always`, and what emits it. */
type Ways = readonly (readonly [
  takes: (group: KernelGroup, always: boolean, lapack: Lapack) => boolean,
  emit: (group: KernelGroup, ctx: EmitContext, cut: Cut) => void,
])[];

const WAYS: Readonly<Record<string, Ways>> = {
  matmul: [
    [takesGram, emitGram],
    [takesMatmul, emitMatmul],
    [takesHalves, emitHalves],
  ],
  quantizedMatmul: [[takesCodes, emitCodes]],
};

/**
 * Gives products to the library, and ops to the kernels that they bring for it. Products that it would not speed up, and
 * all else, are left to WebAssembly.
 */
export function useLibrary(
  { target, emit }: Replaceable,
  lapack: Lapack,
  always = false,
  cut = BY_SHAPE,
): Replaceable {
  const brought = new Map<OpDef, Kernel | undefined>();
  const kernelOf = (op: OpDef): Kernel | undefined => {
    if (!brought.has(op))
      brought.set(op, (op.kernels?.["native"] as NativeKernel | undefined)?.(lapack, always));
    return brought.get(op);
  };
  const wayOf = (group: KernelGroup) =>
    Object.hasOwn(WAYS, group.op.name)
      ? WAYS[group.op.name]!.find(([takes]) => takes(group, always, lapack))?.[1]
      : kernelOf(group.op)?.emit;
  return {
    target: {
      ...target,
      supports(site) {
        const kernel = kernelOf(site.op);
        return kernel ? (kernel.supports?.(site) ?? true) : target.supports(site);
      },
      layout(op, index) {
        const kernel = kernelOf(op);
        return kernel ? (kernel.layout?.(index) ?? "contiguous") : target.layout(op, index);
      },
      widens: (op, index) => (kernelOf(op) ? false : target.widens(op, index)),
      inPlace: (op) => kernelOf(op)?.inPlace ?? (kernelOf(op) ? -1 : target.inPlace(op)),
      joins: (group, other) => !wayOf(group) && !wayOf(other) && (target.joins?.(group, other) ?? false),
      fusesEpilogue: (group, loop) => !wayOf(group) && (target.fusesEpilogue?.(group, loop) ?? false),
    },
    emit(group, ctx) {
      const way = group.kind === "kernel" ? wayOf(group) : undefined;
      if (way) way(group as KernelGroup, ctx, cut);
      else emit(group, ctx);
    },
  };
}
