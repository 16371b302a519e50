import type { DType } from "../dtype.js";
import type { Node } from "../node.js";
import type { OpDef } from "../op.js";
import type { Dims } from "../shape.js";

/** Where the numbers of a value live while a plan runs. */
export type Home =
  | { readonly kind: "leaf"; readonly slot: number }
  | { readonly kind: "root"; readonly slot: number }
  /** Bytes from the start of the plan's arena; 64-byte aligned. */
  | { readonly kind: "temp"; readonly offset: number }
  /** Nowhere: the product of a kernel that hands it to its epilogue part by part. */
  | { readonly kind: "none" };

/** A stored value of a plan: row-major numbers of one dtype. */
export interface Value {
  readonly id: number;
  readonly dtype: DType;
  readonly dims: Dims;
  readonly size: number;
  home: Home;
  /** The node that made it, for names and errors. */
  readonly node: Node;
}

/** Whether two values lie at the same place. */
export function sameHome({ home: a }: Value, { home: b }: Value): boolean {
  if (a.kind === "none") return false;
  if (a.kind === "temp") return b.kind === "temp" && a.offset === b.offset;
  return b.kind === a.kind && a.slot === (b as { slot: number }).slot;
}

/**
 * How a loop reads a stored value: at index i of the loop's space it reads element `offset + Σ strides[d] · i[d]`.
 * Strides may be 0 (broadcast) or negative.
 */
export interface LoadValue {
  readonly kind: "value";
  readonly value: Value;
  readonly offset: number;
  readonly strides: readonly number[];
}

/** The number `offset + Σ strides[d] · i[d]` itself (an index), as `dtype`. */
export interface LoadIota {
  readonly kind: "iota";
  readonly dtype: DType;
  readonly offset: number;
  readonly strides: readonly number[];
}

/** A scalar that is the same for the whole loop, filled at each run. */
export interface LoadScalar {
  readonly kind: "scalar";
  readonly dtype: DType;
  /** Index into the plan's `scalars`. */
  readonly slot: number;
}

export type Load = LoadValue | LoadIota | LoadScalar;

/**
 * One element-wise instruction. Register numbers: loads are 0 .. loads.length-1 in order, instruction j writes register
 * loads.length + j (single assignment). `dtype` is that of the result; sources have `sourceDtypes`. Half types in
 * registers are f32 (a load widens, a store rounds; an instruction whose dtype is f16/bf16 computes in f32 and rounds
 * its result to that type). bool in registers is 0 or 1.
 */
export interface Instr {
  readonly op: OpDef;
  readonly dtype: DType;
  readonly sourceDtypes: readonly DType[];
  readonly sources: readonly number[];
  readonly arg: unknown;
}

/** Writes register `register` at every index of the space, row-major and contiguous over the full space. */
export interface Store {
  readonly register: number;
  readonly value: Value;
}

export type ReduceOp = "sum" | "prod" | "max" | "min";

/** Reduces register `register` over the loop's reduced axes; the result is row-major over the kept axes. */
export interface Reduction {
  readonly op: ReduceOp;
  readonly register: number;
  readonly dtype: DType;
  readonly value: Value;
}

/**
 * A fused loop over `space`. Without reductions it is a map. With reductions, `reduced[d]` tells which axes of the space
 * are reduced (the same for all reductions of the loop); adjacent axes are already merged where every load allows, so
 * that a space has few axes (0 axes: one element). The reduced axes may be leading, trailing or in between.
 * A store may write over a value that the loop also loads only if that load is the identity (contiguous over the space).
 */
export interface LoopGroup {
  readonly kind: "loop";
  readonly name: string;
  readonly space: readonly number[];
  readonly reduced: readonly boolean[];
  readonly loads: readonly Load[];
  readonly code: readonly Instr[];
  readonly stores: readonly Store[];
  readonly reductions: readonly Reduction[];
}

/** An operand of a kernel: a view of a stored value with the node's logical dims. */
export interface Operand {
  readonly value: Value;
  readonly dtype: DType;
  readonly dims: Dims;
  readonly offset: number;
  readonly strides: readonly number[];
}

/** A kernel call: one op with stored operands and results. */
export interface KernelGroup {
  readonly kind: "kernel";
  readonly name: string;
  readonly op: OpDef;
  readonly arg: unknown;
  /**
   * In the order of the op's inputs. A scalar input (0 axes, host-computed) comes as `{ scalarSlot }`. Of two calls that were
   * joined (`Target.joins`), those of the second follow those of the first, and the output is the sum of both.
   */
  readonly inputs: readonly (Operand | { readonly scalarSlot: number; readonly dtype: DType })[];
  readonly outputs: readonly Value[];
  /**
   * A map that is run over each part of the one output while that is in the cache. The output then has no memory: this
   * loop alone reads it, each element at its own index.
   */
  readonly epilogue?: LoopGroup;
}

export type Group = LoopGroup | KernelGroup;

/** A scalar of the plan: a slot filled by the caller, or an element-wise formula of other scalars computed on the host. */
export type ScalarSource =
  /** A number that the meaning of a composite brought along. */
  | { readonly kind: "constant"; readonly value: number; readonly dtype: DType }
  | { readonly kind: "slot"; readonly slot: number; readonly dtype: DType }
  | {
      readonly kind: "formula";
      readonly op: OpDef;
      readonly sources: readonly number[];
      readonly dtype: DType;
      readonly arg: unknown;
    };

export interface Schedule {
  readonly groups: readonly Group[];
  readonly values: readonly Value[];
  /** Scalars in an order in which formulas come after their sources; `LoadScalar.slot` indexes this list. */
  readonly scalars: readonly ScalarSource[];
  /** Size of the arena for temporaries. */
  readonly arenaBytes: number;
  /** Largest sum of temporaries alive at once: no plan can need less. */
  readonly liveBytes: number;
}

/** Cheap facts by which a backend says whether it has a kernel for one site. */
export interface Site {
  readonly op: OpDef;
  readonly arg: unknown;
  readonly inputs: readonly { readonly dtype: DType; readonly dims: Dims }[];
  readonly outputs: readonly { readonly dtype: DType; readonly dims: Dims }[];
}

/** What the scheduler must know of a backend. */
export interface Target {
  /** True if the backend has a kernel for this composite; otherwise its meaning runs. Never throws. */
  supports(site: Site): boolean;
  /**
   * Which layouts input `index` of a kernel may have without a copy: "contiguous" (row-major), "rows" (the last axis has
   * stride 1, the others any), "matrix" (one of the last two axes has stride 1, batch strides any, 0 included), "any".
   */
  layout(op: OpDef, index: number): "contiguous" | "rows" | "matrix" | "any";
  /** True if input `index` of the kernel may be read as f16 or bf16 where the op asks for f32 (a cast is then dropped). */
  widens(op: OpDef, index: number): boolean;
  /** Index of the input whose memory output 0 may take over when this kernel is its last reader, or -1. */
  inPlace(op: OpDef): number;
  /**
   * True if the kernel of `group` can add the result of `other`, another call, to its own: then both may become one call, with
   * the inputs of `other` behind its own. Absent: it never can.
   */
  joins?(group: KernelGroup, other: KernelGroup): boolean;
  /** True if the kernel can run `loop`, a map over its one output, as its epilogue. Absent: it never can. */
  fusesEpilogue?(kernel: KernelGroup, loop: LoopGroup): boolean;
  /** Most distinct values that one loop may touch. */
  readonly maxBindings: number;
  /** Most instructions of one loop. */
  readonly maxInstructions: number;
  /** Bytes to which temporaries are aligned in the arena. Default: 64. */
  readonly alignment?: number;
}
