import { cpus, totalmem } from "node:os";
import type { Counts } from "./protocol.js";

/** One library on one row. Field names are those of the printed lines. */
export interface Sample {
  bench: string;
  row: string;
  lib: string;
  /** Threads that were asked for. */
  threads: number;
  median_ms: number | null;
  best_ms: number | null;
  /** A quarter of the runs took at most this long. */
  q1_ms: number | null;
  /** Three quarters of the runs took at most this long. */
  q3_ms: number | null;
  /**
   * The median of what all processors worked in a run, on a GPU and of decompositions. On a software adapter it holds the
   * kernels, and is the steadier measure where the machine does other things too.
   */
  cpu_ms?: number;
  /** Timed runs. */
  samples: number;
  /** Runs that were started at a time, where that is more than one; times are those of one on average. */
  together?: number;
  /** Why there are fewer of them than were asked for. */
  fewer?: string;
  /** The first run in a fresh process: what is compiled, planned or laid out once is in it. */
  first_ms?: number;
  /** Threads that the library used, where it could not take those asked for. */
  threads_used?: number;
  details?: string;
  /** The GPU that it ran on: vendor, architecture, device, driver. */
  adapter?: string;
  /** Share of the copy bandwidth, and of the f32 rate, that `probe` rows of the same run found on the adapter. */
  of_bandwidth?: number;
  of_f32?: number;
  /** What a run asks of a GPU's device. */
  counts?: Counts;
  machine?: string;
  /** The library is not on this machine: why. */
  absent?: string;
  /** The library is there and cannot do this row: why. */
  cannot?: string;
}

export interface Summary {
  bench: string;
  row: string;
  threads: number;
  summary: true;
  /** The fastest other JavaScript library, and how many times as fast ours is. */
  best_js: string | null;
  ratio_best_js: number | null;
  /** The same ratio by `cpu_ms`, over the peer that took least of it. */
  ratio_cpu?: number;
  /** The fastest of numpy and torch, likewise. */
  native: string | null;
  ratio_native: number | null;
  /** How many times as fast ours is as each of the others. */
  ratios: Record<string, number>;
}

/** The machine in a few words, kept with each result. */
export function machine(): string {
  const cores = cpus();
  return `${cores[0]?.model.trim() ?? "unknown processor"}, ${cores.length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}`;
}
