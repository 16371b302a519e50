// Linux at times wakes a thread on the core of the one that wakes it, and leaves both there while they run, though another core
// is idle: a product of 512³ then takes on two threads what it takes on one.
import type { Koffi } from "./library.js";

/**
 * A thread that joins lists tells its number in the 64 words at `told`: how many have, then the numbers. One that leads gets a
 * function to be called before it wakes them: it leaves them the cores that it may use itself, less the one it is on, if these
 * are enough for all. Undefined
 * where the system has not what that takes.
 *
 * The text of this function is sent to threads: it uses nothing from outside and names no function inside.
 */
export const keepOff = (
  koffi: Koffi,
  memory: WebAssembly.Memory,
  places: { readonly told: number; readonly threads: number },
  leads: boolean,
): (() => void) | undefined => {
  if (process.platform !== "linux") return undefined;
  const system = koffi.load(null);
  try {
    for (const name of ["gettid", "sched_getcpu", "sched_getaffinity", "sched_setaffinity"])
      system.symbol(name);
  } catch {
    return undefined;
  }
  const threads = new Int32Array(memory.buffer, places.threads, 1);
  const words = new Int32Array(memory.buffer, places.told, 64);
  if (!leads) {
    const gettid = system.func("gettid", "int", []);
    Atomics.store(words, Atomics.add(words, 0, 1) + 1, gettid() as number);
    return undefined;
  }
  const getcpu = system.func("sched_getcpu", "int", []);
  const [get, set] = ["sched_getaffinity", "sched_setaffinity"].map((name) =>
    system.func(name, "int", ["int", "size_t", "void *"]),
  );
  const mask = new Uint8Array(128);
  let core = -1;
  let told = 0;
  let looked = Number.NEGATIVE_INFINITY;
  return () => {
    const ms = performance.now();
    if (ms - looked < 5) return; // short products follow each other, and a look costs some 3 µs among them
    looked = ms;
    const now = getcpu() as number;
    const others = Atomics.load(words, 0);
    if (now < 0 || (now === core && told === others)) return;
    core = now;
    told = others;
    if (get!(0, mask.length, mask) !== 0) return;
    let cores = 0;
    for (let byte of mask) for (; byte !== 0; byte &= byte - 1) cores++;
    if (cores < threads[0]!) return;
    mask[core >> 3]! &= ~(1 << (core & 7));
    for (let i = 1; i <= others; i++) {
      const thread = Atomics.load(words, i);
      if (thread === 0)
        told = -1; // it is about to tell
      else set!(thread, mask.length, mask);
    }
  };
};
