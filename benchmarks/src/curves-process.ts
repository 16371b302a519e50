/** Times the steps of one series and prints a point a line: `curves-process.ts SERIES THREADS LIMIT_BYTES LIMIT_MS`. */
import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import { setDefaultBackend } from "@lowrank/tensor";
import { SERIES, type SeriesName, type TrainingStep } from "./curve-series.js";
import type { CurveEnd, CurvePoint } from "./curves.js";
import { median, significant } from "./statistics.js";

const row = process.argv[2] as SeriesName;
const [threads, limitBytes, limitMs] = process.argv.slice(3).map(Number) as [number, number, number];
const series = SERIES[row];
const print = (line: CurvePoint | CurveEnd): void => console.log(JSON.stringify(line));

/** Steps of a point: at least so many, and more while they take less than so long together. */
const [LEAST, MOST, TOGETHER_MS] = [5, 50, 500];

async function timed(step: TrainingStep): Promise<number> {
  const began = performance.now();
  await step();
  return performance.now() - began;
}

async function measure(size: number, backend: WasmBackend): Promise<CurvePoint> {
  const step = series.make(size);
  const first = await timed(step);
  await step(); // places and code are settled
  backend.resetPeak();
  const times: number[] = [];
  let together = 0;
  while (times.length < LEAST || (times.length < MOST && together < TOGETHER_MS)) {
    times.push(await timed(step));
    together += times.at(-1)!;
  }
  const [best, middle] = [Math.min(...times), median(times)].map((ms) => significant(ms)) as [number, number];
  return {
    bench: "curves",
    row,
    threads,
    size,
    best_ms: best,
    median_ms: middle,
    steps: times.length,
    first_ms: significant(first),
    peak_bytes: backend.memory().peakBytes,
  };
}

/** A backend of its own for each size: nothing is left from the one before. */
async function onBackend<T>(profile: boolean, work: (backend: WasmBackend) => Promise<T>): Promise<T> {
  const backend = await wasm({ threads, maxMemoryBytes: limitBytes, profile });
  setDefaultBackend(backend);
  try {
    return await work(backend);
  } finally {
    await backend.dispose();
  }
}

/** Parts of a step at one size, by the first word of a group's name; loops together. */
const partsAt = (size: number): Promise<Record<string, number>> =>
  onBackend(true, async (backend) => {
    const step = series.make(size);
    await step();
    backend.profile();
    await step();
    const parts: Record<string, number> = {};
    for (const { name, kind, share } of backend.profile()) {
      const part =
        kind === "host"
          ? "host"
          : / over /.test(name)
            ? "loops"
            : name.split(" ")[0]!.replace("Backward", "");
      parts[part] = (parts[part] ?? 0) + share;
    }
    return Object.fromEntries(
      Object.entries(parts)
        .filter(([, share]) => share >= 0.01)
        .sort(([, a], [, b]) => b - a)
        .map(([part, share]) => [part, significant(share, 2)]),
    );
  });

let ended: CurveEnd["ended"] = "time";
let largest = 0;
for (let size = series.first; ; size *= 2) {
  let point: CurvePoint;
  try {
    point = await onBackend(false, (backend) => measure(size, backend));
  } catch (error) {
    if (!/a need for \d+ bytes/.test(String(error))) throw error;
    ended = "memory";
    break;
  }
  print(point);
  largest = size;
  if (2 * point.best_ms > limitMs) break;
}
print({ row, ended, parts: largest > 0 ? await partsAt(largest) : {} });
process.exit(0);
