// What a package above needs to put functions of the host in the place of kernels of this backend: the entry
// `@lowrank/backend-wasm/host`.
import type { Target } from "@lowrank/tensor/backend";
import type { Extension } from "./emit.js";
import type { EmitGroup } from "./emit-group.js";

export { CODE, HOST, THREADS } from "../assembly/layout.js";
export { MATMUL_NARROW, MATMUL_PACK_B, MATMUL_ZERO, QUANTIZED_PACK } from "../assembly/ids.js";
export {
  type ArgWord,
  chunksOf,
  DTYPE_IDS,
  type EmitContext,
  type Fixup,
  type Kernel,
  operandAt,
} from "./emit.js";
export type { EmitGroup } from "./emit-group.js";
export { linker, type Linked, type Linker } from "./linker.js";
export { foldBatch, matrices, type Product, productOf, transposed } from "./kernels/matmul.js";

/**
 * What the extension `callHost` calls on the thread that took a chunk. `args` is the address of the words of the command: two
 * that count for nothing, then those of the emitter. Addresses arrive as signed numbers. What it computes depends on nothing
 * else, so that results do not depend on the threads.
 */
export interface HostCall {
  (args: number, chunk: number, chunks: number, scratch: number): void;
  /** Called on a thread before it runs a list for which it wakes others. */
  lead?: (() => void) | undefined;
}

/**
 * Makes the function of one thread. One that runs lists, and does not only join them, gives the module of the threads; the caller
 * also the address space that the memory may grow to. The text of this function, what `toString` gives, is sent to the threads, so
 * it uses nothing from outside and names no function inside, as in thread-loop.ts.
 */
export type StartHost = (
  memory: WebAssembly.Memory,
  module?: WebAssembly.Module,
  reservedBytes?: number,
) => HostCall;

/** What a package above may replace in a backend before its first plan: what the scheduler is told, and what emits a group. */
export interface Replaceable {
  target: Target;
  emit: EmitGroup;
}

/** A backend of one memory, and what runs its lists of commands there. */
export interface WithMachine extends Replaceable {
  readonly machine: {
    readonly heap: { free(at: number): void };
    /** Gives threads room before a list runs that needs it. */
    ensureScratch(bytes: number): void;
    runList(list: number, count: number, weight: number): void | Promise<void>;
    /** If there, is given the lists to run elsewhere. */
    apart?: ((list: number, count: number) => Promise<void>) | undefined;
    /** Why it works no more. */
    failure: unknown;
  };
}

/**
 * Calls the host's function: a module that exports what it imports,
 *
 *     (module (import "env" "host" (func (param i32 i32 i32 i32))) (export "f" (func 0)))
 */
export const callHost: Extension = {
  // biome-ignore format: a section in each line
  binary: /* @__PURE__ */ Uint8Array.of(
    0, 97, 115, 109, 1, 0, 0, 0,
    1, 8, 1, 96, 4, 127, 127, 127, 127, 0,
    2, 12, 1, 3, 101, 110, 118, 4, 104, 111, 115, 116, 0, 0,
    7, 5, 1, 1, 102, 0, 0,
  ),
};
