import { ContenderProcess } from "./contender-process.js";
import { median, type Sample, type Summary, summarize } from "./statistics.js";

export const CORE_ROWS = [
  ...[256, 512, 1024, 2048].map((n) => `matmul-${n}`),
  ...[512, 1024, 2048].flatMap((n) => ["tn", "nt", "tt"].map((t) => `matmul-${n}-${t}`)),
  "chain",
  "softmax",
  "layernorm",
  "mlp",
  "decoder",
];
export const CORE_LIBS = ["lowrank-wasm", "jax-js", "tfjs-wasm", "numpy", "torch"];

export interface CoreOptions {
  rows: readonly string[];
  threads: number;
  samples: number;
  /** Warm-up of each contender and row: engines optimise while it lasts. */
  warmUpMs: number;
  onLine: (line: Sample | Summary) => void;
}

/** How far two contenders may be apart: sums are taken in other orders, and some use coarser functions. */
const TOLERANCE = 2e-3;

function expectAgreement(row: string, checks: ReadonlyMap<string, readonly number[]>): void {
  const [reference, values] =
    [...checks].find(([lib]) => lib === "torch" || lib === "numpy") ?? [...checks][0]!;
  for (const [lib, other] of checks) {
    for (const [i, x] of other.entries()) {
      const y = values[i]!;
      if (!(Math.abs(x - y) <= TOLERANCE * Math.max(1, Math.abs(y)))) {
        throw new Error(
          `${row}: ${lib} computes ${x} where ${reference} computes ${y}: they do not do the same thing`,
        );
      }
    }
  }
}

/** Times rows of the core in all libraries: one process each, taking turns, so that drifts of the machine hit all alike. */
export async function benchCore({ rows, threads, samples, warmUpMs, onLine }: CoreOptions): Promise<void> {
  for (const row of rows) {
    const results: Sample[] = [];
    const running: ContenderProcess[] = [];
    const checks = new Map<string, number[]>();
    const absent = (lib: string, reason: string): void => {
      const line: Sample = { bench: "core", row, lib, threads, absent: reason };
      results.push(line);
      onLine(line);
    };
    try {
      for (const lib of CORE_LIBS) {
        const started = await ContenderProcess.start(lib, threads);
        if (typeof started === "string") {
          absent(lib, started);
          continue;
        }
        const ready = await started.ask({ prepare: row });
        if (!("ready" in ready)) {
          absent(lib, "cannot" in ready ? ready.cannot : "no answer");
          await started.stop();
          continue;
        }
        checks.set(lib, ready.ready);
        running.push(started);
      }
      if (checks.size === 0) continue;
      expectAgreement(row, checks);
      const times = new Map<string, number[]>(running.map((c) => [c.lib, []]));
      for (const c of running) {
        const began = performance.now();
        do await c.ask({ run: 1 });
        while (performance.now() - began < warmUpMs);
      }
      for (let i = 0; i < samples; i++) {
        const order = i % 2 ? [...running].reverse() : running;
        for (const c of order) {
          const reply = await c.ask({ run: 1 });
          if (!("ms" in reply)) throw new Error(`${row}: ${c.lib} failed: ${JSON.stringify(reply)}`);
          times.get(c.lib)!.push(...reply.ms);
        }
      }
      for (const c of running) {
        const ms = times.get(c.lib)!;
        const line: Sample = {
          bench: "core",
          row,
          lib: c.lib,
          threads,
          median_ms: Number(median(ms).toPrecision(5)),
          best_ms: Number(Math.min(...ms).toPrecision(5)),
          samples: ms.length,
          details: c.details,
        };
        results.push(line);
        onLine(line);
      }
    } finally {
      await Promise.all(running.map((c) => c.stop()));
    }
    onLine(summarize("core", row, threads, results));
  }
}
