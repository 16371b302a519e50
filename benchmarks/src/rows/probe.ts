import type { Row } from "./row.js";

/**
 * What the adapter can do at most, by WGSL of our own that does nothing else: bytes copied from buffer to buffer by the
 * queue's copy command or by a kernel, and chained f32 multiply-adds in registers.
 */
export interface ProbeSpec {
  kind: "probe";
  what: "copy" | "copy-kernel" | "fma";
  /** Bytes of the array that is copied; threads that multiply and add. */
  size: number;
}

const COPIED = 2 ** 26; // no cache of a processor holds it, and half of the guaranteed binding limit
const THREADS = 2 ** 18;
/** Independent chains of multiply-adds in a thread, and how long each is. */
export const [FMA_CHAINS, FMA_STEPS] = [12, 128];

const row = (what: ProbeSpec["what"], size: number): Row => ({
  name: what,
  tolerance: 0,
  spec: { kind: "probe", what, size },
});

export const probeRows: Row[] = [row("copy", COPIED), row("copy-kernel", COPIED), row("fma", THREADS)];
