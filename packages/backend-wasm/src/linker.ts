import type { HostCall } from "./host.js";

/** What is linked to one instance of the kernels. */
export interface Linked {
  /** Its function table, known once the instance is there. */
  table: WebAssembly.Table | null;
  /** For modules that call the host. */
  readonly host: HostCall | undefined;
}

export type Linker = (memory: WebAssembly.Memory, code: number, linked: Linked) => () => number;

/**
 * The import `link` of one instance of the kernels. It brings the code of loops, which the machine puts into memory while
 * it runs, into the function table of the instance, and returns the length of the table; the kernels call it when they
 * meet a number beyond that. At `code` lie the address of the code (modules one after the other, each behind its length,
 * 4-byte aligned) and the number of modules. Its text is also sent to threads, so it uses nothing from outside and names
 * no function inside, as in thread-loop.ts. A length below zero is that of an extension, whose address follows.
 */
export const linker: Linker = (memory, code, linked) => {
  let at = 0;
  let count = 0;
  return () => {
    const table = linked.table!;
    const words = new Int32Array(memory.buffer); // anew, for the memory may have grown
    at ||= words[code >> 2]!;
    for (; count < words[(code >> 2) + 1]!; count++) {
      const length = words[at >> 2]!;
      const bytes = Math.abs(length);
      const binary = new Uint8Array(bytes);
      const from = length < 0 ? words[(at + 4) >> 2]! >>> 0 : at + 4;
      binary.set(new Uint8Array(memory.buffer, from, bytes));
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary), {
        e: { m: memory },
        env: { memory, host: linked.host! },
      });
      table.set(table.grow(1), exports.f);
      at += length < 0 ? 8 : 4 + ((bytes + 3) & ~3);
    }
    return table.length;
  };
};
