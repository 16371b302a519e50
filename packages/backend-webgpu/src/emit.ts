import type { DType, KernelGroup, LoopGroup, Operand, Site, Target } from "@lowrank/tensor/backend";
import { bug } from "@lowrank/tensor/backend";
import type { Traits } from "./emit-traits.js";
import type { Dispatch, Scratch } from "./shader.js";
import type { Tuner } from "./tuner.js";

/** What an emitter writes to while a plan is prepared: dispatches run in their order, each seeing what came before. */
export interface EmitContext {
  readonly traits: Traits;
  /** Knows the fastest ways to form products, or null: each is formed as `variantFor` says. */
  readonly tuner: Pick<Tuner, "choose"> | null;
  dispatch(dispatch: Dispatch): void;
  /** Memory for the dispatches of this group. */
  scratch(bytes: number): Scratch;
}

/** An entry of the kernel table, keyed by the name of the op. */
export interface Kernel {
  /** For composites: whether there is a kernel for this site; absent = always. Must not throw. */
  supports?(site: Site): boolean;
  /** Layouts that input `index` may have without a copy; absent = "contiguous". */
  layout?(index: number): ReturnType<Target["layout"]>;
  /** Whether input `index` may come as f16 or bf16 where the op has f32; absent = no. */
  widens?(index: number): boolean;
  /** Input whose memory output 0 may take over; absent = none. */
  readonly inPlace?: number;
  /** Whether the kernel can run `loop` on its results; then `group.epilogue` has it. Absent = no. */
  fusesEpilogue?(group: KernelGroup, loop: LoopGroup, buffers: number): boolean;
  emit(group: KernelGroup, ctx: EmitContext): void;
}

/** The stored operand at `index`. */
export function operandAt(group: KernelGroup, index: number): Operand {
  const input = group.inputs[index];
  if (!input || !("value" in input)) return bug(`${group.name} has no stored input ${index}`);
  return input;
}

/** The slot of a scalar operand. */
export function scalarAt(group: KernelGroup, index: number): { slot: number; dtype: DType } {
  const input = group.inputs[index];
  if (!input || !("scalarSlot" in input)) return bug(`${group.name} has no scalar input ${index}`);
  return { slot: input.scalarSlot, dtype: input.dtype };
}
