import { bug, type Group } from "@lowrank/tensor/backend";
import type { EmitContext } from "./emit.js";
import { kernels } from "./kernels/table.js";
import { emitLoop } from "./loop.js";
import { partsOfLoop } from "./loop-parts.js";

/** Emits a group of a schedule. */
export function emitGroup(group: Group, context: EmitContext): void {
  if (group.kind === "loop") {
    for (const part of partsOfLoop(group, context.traits.buffers)) emitLoop(part, context);
  } else (kernels[group.op.name] ?? bug(`webgpu has no kernel for ${group.name}`)).emit(group, context);
}
