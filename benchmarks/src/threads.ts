import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import { setDefaultBackend } from "@lowrank/tensor";
import { machine } from "./result.js";
import { median, significant } from "./statistics.js";
import { type Run, THREAD_OPS } from "./thread-jobs.js";

/**
 * How the runs of a sample follow each other: without a pause, so that the other threads are still awake, or each after
 * a rest in which they have gone to sleep.
 */
export type Pace = "busy" | "rested";

/** One operation at one size: a backend of one thread beside one of several, in one process, in alternating order. */
export interface ThreadCell {
  bench: "threads";
  row: string;
  size: number;
  pace: Pace;
  threads: number;
  one_ms: number;
  many_ms: number;
  /** Time of several threads over time of one: the median of the pairs, and the interval that holds half of them. */
  ratio: number;
  quarter: number;
  three_quarters: number;
  pairs: number;
}

export interface ThreadVerdict {
  bench: "threads";
  threads: number;
  summary: true;
  cells: number;
  worst: Pick<ThreadCell, "row" | "size" | "pace" | "ratio" | "quarter" | "three_quarters">;
  /** Cells whose ratio is above the limit. */
  slower: number;
  limit: number;
  machine: string;
}

export interface ThreadSweep {
  rows: readonly string[];
  threads: number;
  /** Pairs of samples of a cell. */
  pairs: number;
  onCell: (cell: ThreadCell) => void;
}

/** Several threads may cost so much more than one. */
const LIMIT = 1.05;
/** A sample of short runs is filled up to this time. */
const SAMPLE_MS = 1.5;
/** Long enough for every idle thread to fall asleep. */
const REST_MS = 0.5;
/** A cell above the limit is measured again, so often at most, and all its pairs count. */
const REPEATS = 3;

/** Three sizes a decade from 1 to `most`. */
export function sizesUpTo(most: number): number[] {
  const sizes: number[] = [];
  for (let i = 0; ; i++) {
    const size = Math.round(10 ** (i / 3));
    if (size > most) return sizes;
    sizes.push(size);
  }
}

function wait(ms: number): void {
  const began = performance.now();
  while (performance.now() - began < ms); // the clock of the core stays up
}

/** Milliseconds of a run: the middle of a sample. */
async function sample(backend: WasmBackend, run: Run, pace: Pace, runs: number): Promise<number> {
  setDefaultBackend(backend);
  const ms: number[] = [];
  for (let i = 0; i < runs; i++) {
    if (pace === "rested") wait(REST_MS);
    const began = performance.now();
    await run();
    ms.push(performance.now() - began);
  }
  return median(ms);
}

interface Pair {
  one: number;
  many: number;
}

/** What half of the pairs agree on. */
export function judgeCell(pairs: readonly Pair[]): Pick<ThreadCell, "ratio" | "quarter" | "three_quarters"> {
  const ratios = pairs.map(({ one, many }) => many / one).sort((a, b) => a - b);
  const at = (share: number): number => significant(ratios[Math.round(share * (ratios.length - 1))]!);
  return { ratio: significant(median(ratios)), quarter: at(0.25), three_quarters: at(0.75) };
}

/** Runs the operations at all sizes and says where several threads are slowest against one. */
export async function sweepThreads({ rows, threads, pairs, onCell }: ThreadSweep): Promise<ThreadVerdict> {
  const [one, many] = [await wasm({ threads: 1 }), await wasm({ threads })];
  const cells: ThreadCell[] = [];
  try {
    for (const row of rows) {
      const { make, most } = THREAD_OPS[row]!;
      for (const size of sizesUpTo(most)) {
        setDefaultBackend(one);
        const alone = make(size);
        await alone();
        setDefaultBackend(many);
        const together = make(size);
        await together();
        // Warm, and how many runs fill a sample.
        await sample(one, alone, "busy", 5);
        await sample(many, together, "busy", 5);
        const once = await sample(one, alone, "busy", 3);
        const runs = Math.max(1, Math.min(50, Math.round(SAMPLE_MS / once)));
        await sample(many, together, "busy", runs);
        for (const pace of ["busy", "rested"] as const) {
          const found: Pair[] = [];
          let judged: ReturnType<typeof judgeCell>;
          const measure = async (): Promise<void> => {
            for (let i = 0; i < pairs; i++) {
              const first = i % 2 === 0;
              const before = first ? await sample(one, alone, pace, runs) : 0;
              const b = await sample(many, together, pace, runs);
              found.push({ one: first ? before : await sample(one, alone, pace, runs), many: b });
            }
            judged = judgeCell(found);
          };
          await measure();
          for (let i = 0; i < REPEATS && judged!.ratio > LIMIT; i++) await measure();
          const cell: ThreadCell = {
            bench: "threads",
            row,
            size,
            pace,
            threads,
            one_ms: significant(median(found.map((p) => p.one))),
            many_ms: significant(median(found.map((p) => p.many))),
            ...judged!,
            pairs: found.length,
          };
          cells.push(cell);
          onCell(cell);
        }
      }
    }
  } finally {
    one.dispose();
    many.dispose();
  }
  return verdictOf(cells, threads);
}

export function verdictOf(cells: readonly ThreadCell[], threads: number): ThreadVerdict {
  const [first] = [...cells].sort((a, b) => b.ratio - a.ratio);
  const { row, size, pace, ratio, quarter, three_quarters } = first!;
  return {
    bench: "threads",
    threads,
    summary: true,
    cells: cells.length,
    worst: { row, size, pace, ratio, quarter, three_quarters },
    slower: cells.filter((cell) => cell.ratio > LIMIT).length,
    limit: LIMIT,
    machine: machine(),
  };
}

/** The ratios, a line an operation and pace, a column a size. */
export function threadTable(cells: readonly ThreadCell[], verdict: ThreadVerdict): string {
  const lines: string[] = [];
  for (const row of new Set(cells.map((cell) => cell.row))) {
    lines.push(`${row}, ${THREAD_OPS[row]?.size ?? "size"}: ms on one thread, × busy, × rested`);
    for (const { size, one_ms, ratio } of cells.filter((c) => c.row === row && c.pace === "busy")) {
      const rested = cells.find((c) => c.row === row && c.size === size && c.pace === "rested");
      lines.push(
        `  ${String(size).padStart(9)}${one_ms.toPrecision(3).padStart(10)}${ratio.toFixed(3).padStart(8)}${(rested?.ratio.toFixed(3) ?? "").padStart(8)}`,
      );
    }
  }
  const { worst, slower, limit, threads } = verdict;
  lines.push(
    `${slower} of ${verdict.cells} cells above ${limit}; the worst on ${threads} threads: ${worst.row} of ${worst.size}, ${worst.pace}: ${worst.ratio} (${worst.quarter} to ${worst.three_quarters})`,
  );
  return lines.join("\n");
}
