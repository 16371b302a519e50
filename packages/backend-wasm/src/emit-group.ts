import { bug, type Group } from "@lowrank/tensor/backend";
import type { EmitContext } from "./emit.js";
import { emitLoop } from "./emit-loop.js";
import { kernelOf } from "./kernels/table.js";

export type EmitGroup = (group: Group, context: EmitContext) => void;

/** Emits a group through its kernel, or as a loop. */
export function emitGroup(group: Group, context: EmitContext): void {
  if (group.kind === "loop") emitLoop(group, context);
  else (kernelOf(group.op) ?? bug(`wasm has no kernel for ${group.op.name}`)).emit(group, context);
}
