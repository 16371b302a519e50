import { DeviceError, type Group } from "@lowrank/tensor/backend";
import type { EmitContext } from "./emit.js";
import { kernels } from "./kernels/table.js";
import { emitLoop } from "./loop.js";
import { partsOfLoop } from "./loop-parts.js";

/** Emits a group of a schedule. */
export function emitGroup(group: Group, context: EmitContext): void {
  if (group.kind === "loop") {
    for (const part of partsOfLoop(group, context.traits.buffers)) emitLoop(part, context);
  } else (kernels[group.op.name] ?? lacking(group.op.name)).emit(group, context);
}

function lacking(op: string): never {
  throw new DeviceError({
    where: `${op} on webgpu`,
    expected: "an op with a kernel for GPUs",
    got: "one without",
    hint: "withCompanion(backend, await wasm()) lets a backend on the CPU do it",
  });
}
