import type { Library } from "./libraries.js";
import { type RaceOptions, race } from "./race.js";
import type { Sample, Summary } from "./result.js";
import type { Row } from "./rows/row.js";
import { significant } from "./statistics.js";
import { type Work, workOf } from "./work.js";

const FILL_MS = 5;

/** What the adapter reached, each a millisecond: 0 until it is measured. */
export type Limits = Work;

export interface GpuRaceOptions {
  rows: readonly Row[];
  libraries: readonly Library[];
  turns: number;
  quick: boolean;
  onRow?: (name: string) => void;
  onLine: (line: Sample | Summary) => void;
}

/** The line of a probe, taken into the limits. */
function raised({ bytes, flops }: Limits, work: Work, ms: number): Limits {
  return { bytes: Math.max(bytes, work.bytes / ms), flops: Math.max(flops, work.flops / ms) };
}

/** The line of a library with its shares of the limits. */
function shared(line: Sample, work: Work, limits: Limits): Sample {
  const { median_ms: ms } = line;
  if (ms === null) return line;
  const share = (amount: number, limit: number): number | null =>
    amount > 0 && limit > 0 ? significant(amount / ms / limit, 3) : null;
  const [bandwidth, f32] = [share(work.bytes, limits.bytes), share(work.flops, limits.flops)];
  return {
    ...line,
    ...(bandwidth === null ? {} : { of_bandwidth: bandwidth }),
    ...(f32 === null ? {} : { of_f32: f32 }),
  };
}

/** Times rows on the GPU in all libraries. Rows of the adapter come first: the others are told as shares of them. */
export async function raceOnGpu(options: GpuRaceOptions): Promise<(Sample | Summary)[]> {
  const { rows, libraries, turns, quick, onRow, onLine } = options;
  // Mesa keeps what it compiled on disk, and first runs of processes are to be first.
  process.env["MESA_SHADER_CACHE_DISABLE"] ??= "true";
  const how: RaceOptions = {
    bench: "webgpu",
    libraries,
    threads: 1,
    turns,
    turnMs: 30,
    warmUpMs: quick ? 100 : 600,
    budgetMs: quick ? 2000 : 12_000,
    fewest: quick ? 3 : 5,
    firstCounts: false,
  };
  // A training step waits for its loss, and the next one for its weights.
  const inTurn = ["probe", "mlp", "decoder"];
  let limits: Limits = { bytes: 0, flops: 0 };
  const lines: (Sample | Summary)[] = [];
  for (const row of rows) {
    onRow?.(row.name);
    const work = workOf(row.spec);
    for (const line of await race(row, { ...how, fillMs: inTurn.includes(row.spec.kind) ? 0 : FILL_MS })) {
      if ("summary" in line) {
        if (row.spec.kind === "probe") continue; // there is nobody to compare with
        lines.push(line);
      } else {
        // The best run: a limit is what can be reached.
        if (row.spec.kind === "probe" && line.best_ms !== null) limits = raised(limits, work, line.best_ms);
        lines.push(row.spec.kind === "probe" ? line : shared(line, work, limits));
      }
      onLine(lines.at(-1)!);
    }
  }
  return lines;
}
