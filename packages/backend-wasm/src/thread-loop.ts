import type { StartHost } from "./host.js";
import type { Linked, Linker } from "./linker.js";

/** What a further thread gets. */
export interface ThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly thread: number;
  /** Addresses by which a thread that dies tells the others. */
  readonly active: number;
  readonly poison: number;
  /** Where the code of loops is told. */
  readonly code: number;
}

/**
 * The life of a further thread: tells that it is up, then joins jobs until it is told to quit. Its text is also sent to
 * places where no file of ours can be found, so it uses nothing from outside and names no function inside, which some
 * compilers would wrap.
 */
export const threadLoop = (
  { module, memory, thread, active, poison, code }: ThreadData,
  tellUp: () => void,
  linker: Linker,
  startHost?: StartHost,
): void => {
  const linked: Linked = { table: null, host: startHost?.(memory) };
  const { exports } = new WebAssembly.Instance(module, {
    env: { memory, link: linker(memory, code, linked) },
    Math: Math as unknown as WebAssembly.ModuleImports,
  });
  linked.table = exports.table as WebAssembly.Table;
  tellUp();
  try {
    (exports.work as (thread: number) => void)(thread);
  } catch (error) {
    // A kernel trapped, inside a job: the caller must not wait for this thread.
    const words = new Int32Array(memory.buffer);
    Atomics.store(words, poison >> 2, 1);
    Atomics.sub(words, active >> 2, 1);
    Atomics.notify(words, active >> 2);
    throw error;
  }
};
