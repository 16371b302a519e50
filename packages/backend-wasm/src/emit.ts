import type { DType, KernelGroup, LoopGroup, Operand, Site, Target, Value } from "@lowrank/tensor/backend";
import { bug } from "@lowrank/tensor/backend";
import type { Stretch } from "./loop-code.js";

declare const fixupBrand: unique symbol;

/** An argument word that is an address: known only when the plan runs. */
export interface Fixup {
  readonly [fixupBrand]: true;
}

/** A 32-bit word of an argument block: an integer (wrapped to 32 bits) or an address. */
export type ArgWord = number | Fixup;

/**
 * What an emitter writes to while a plan is prepared. An emitter turns one group into commands; a command is one Wasm
 * kernel, one argument block and a number of chunks. Commands run in the order in which they were emitted, each after
 * the one before has finished on every thread.
 */
export interface EmitContext {
  /**
   * Appends a command.
   *
   * @param kernel id from assembly/ids.ts
   * @param args the words that the kernel finds at `args`
   * @param chunks parts that may run on different threads, at least 1; from shapes only, never from the thread count.
   *   A chunk should be worth 10 to 30 µs: threads that are awake are joined from two chunks on, see `WAKE_CHUNKS` in machine.ts.
   * @param weight such parts that the work amounts to, where it has too few units to be cut into so many. Default: chunks.
   */
  command(kernel: number, args: readonly ArgWord[], chunks: number, weight?: number): void;
  /**
   * The address of a stored value, or of the first element of an operand (its `offset` is included), plus `byteOffset`.
   */
  pointer(of: Value | Operand, byteOffset?: number): Fixup;
  /** The address of a block of constant words, which may hold addresses again (programs, tables). 16-byte aligned. */
  data(words: readonly ArgWord[]): Fixup;
  /**
   * The address of a scalar of the plan, filled before each run: an f64 takes 8 bytes; f32, f16 and bf16 are an f32
   * (already rounded to the dtype); i32, u32, i8, u8 and bool are a 4-byte integer.
   */
  scalar(slot: number): Fixup;
  /**
   * The address of `bytes` of memory (64-byte aligned, not zeroed) that the commands of this emit call share; the next group
   * overwrites it. Several calls in one emit give distinct blocks.
   */
  workspace(bytes: number): Fixup;
  /** The number of the code of a stretch of a loop, or null where the interpreter must do. */
  code(stretch: Stretch): number | null;
  /** An address some bytes further on. */
  offset(address: Fixup, bytes: number): Fixup;
  /**
   * Appends a command for a function of an extension: its `f(args, chunk, chunks, scratch)` finds a number of no meaning
   * and `kernel` in front of `args`. The rest is as for `command`.
   *
   * @throws DeviceError if the engine does not take the extension
   */
  linked(
    extension: Extension,
    kernel: number,
    args: readonly ArgWord[],
    chunks: number,
    weight?: number,
  ): void;
  /**
   * The address of 32 bytes, 16-byte aligned, that are zero when the commands begin. If one of their eight words is not
   * zero at the end of the run, the run fails with what `decode` makes of them.
   */
  status(decode: (words: Int32Array) => Error): Fixup;
  /** Asks that every thread's scratch has at least `bytes` (at least 1 MiB is always there). */
  scratch(bytes: number): void;
}

/**
 * A WebAssembly module with kernels of another package, in two forms: with relaxed SIMD and without. Each imports
 * `env.memory`, shared, has no data of its own, and exports `f(args, chunk, chunks, scratch)`. The object is its identity: a
 * machine links it once.
 */
export type Extension = PackedExtension | { readonly binary: Uint8Array };

export interface PackedExtension {
  /** The relaxed form and then the plain one, packed together by scripts/pack.mjs, in base64. */
  readonly packed: string;
  readonly relaxedBytes: number;
  readonly plainBytes: number;
}

/** An entry of the kernel table, keyed by the name of the op; or what an op's row has as `kernels.wasm`. */
export interface Kernel {
  /** For composites: whether there is a kernel for this site; absent = always. Must not throw. */
  supports?(site: Site): boolean;
  /** Layouts that input `index` may have without a copy; absent = "contiguous". */
  layout?(index: number): ReturnType<Target["layout"]>;
  /** Whether input `index` may come as f16 or bf16 where the op has f32; absent = no. */
  widens?(index: number): boolean;
  /** Input whose memory output 0 may take over; absent = none. */
  readonly inPlace?: number;
  /** Whether the kernel can add the result of `other` to its own; then the inputs of `other` may follow its own. Absent = no. */
  joins?(group: KernelGroup, other: KernelGroup): boolean;
  /** Whether the kernel can run `loop` over each part of its result; then `group.epilogue` has it. Absent = no. */
  fusesEpilogue?(group: KernelGroup, loop: LoopGroup): boolean;
  emit(group: KernelGroup, ctx: EmitContext): void;
}

/** Emits a fused loop. */
export type EmitLoop = (group: LoopGroup, ctx: EmitContext) => void;

/** The stored operand at `index`; a kernel that takes a scalar there asks for `scalarAt`. */
export function operandAt(group: KernelGroup, index: number): Operand {
  const input = group.inputs[index];
  if (!input || !("value" in input)) return bug(`${group.name} has no stored input ${index}`);
  return input;
}

const scratch = /* @__PURE__ */ new DataView(/* @__PURE__ */ new ArrayBuffer(4));

/** The word that holds an f32. */
export function f32Word(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getInt32(0);
}

/** How a dtype is told to the kernels in an argument word: `dtypeId` of the core. */
export const DTYPE_IDS: Record<DType, number> = {
  bool: 0,
  u8: 1,
  i8: 2,
  u32: 3,
  i32: 4,
  bf16: 5,
  f16: 6,
  f32: 7,
  f64: 8,
};

/** Parts to cut `size` elements into, so that each has at least `grain`; a function of the size alone. */
export const chunksOf = (size: number, grain: number, most = 64): number =>
  Math.max(1, Math.min(most, Math.floor(size / grain)));
