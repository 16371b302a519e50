import type { Replaceable } from "@lowrank/backend-wasm/host";
import type { Group } from "@lowrank/tensor/backend";
import { emitMatmul, takesMatmul } from "./matmul.js";

/** Gives products to the library. Those that it would not speed up, and all else, are left to WebAssembly. */
export function useLibrary({ target, emit }: Replaceable, always = false): Replaceable {
  const takes = (group: Group): boolean =>
    group.kind === "kernel" && group.op.name === "matmul" && takesMatmul(group, always);
  return {
    target: {
      ...target,
      fusesEpilogue: (group, loop) => !takes(group) && (target.fusesEpilogue?.(group, loop) ?? false),
    },
    emit(group, ctx) {
      if (group.kind === "kernel" && takes(group)) emitMatmul(group, ctx);
      else emit(group, ctx);
    },
  };
}
