import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { errorIn } from "./contender-process.js";
import { LOOPS, type LoopName } from "./memory-loops.js";
import { machine } from "./result.js";
import { significant } from "./statistics.js";

/** Memory after one step. */
export interface Point {
  bench: "memory";
  row: string;
  step: number;
  loss: number;
  /** Tensors and parameters that are held, and the arena of temporaries: what the backend lives in. */
  live_bytes: number;
  owned_bytes: number;
  arena_bytes: number;
  /** The heap of the JavaScript engine, and buffers beside it. */
  heap_bytes: number;
  external_bytes: number;
  array_buffer_bytes: number;
  rss_bytes: number;
}

export interface Verdict {
  bench: "memory";
  row: string;
  threads: number;
  summary: true;
  about: string;
  steps: number;
  live_bytes_at_10: number;
  most_live_bytes: number;
  /** (most live memory after the tenth step) / (live memory at the tenth) − 1. */
  growth: number;
  /** The same of the resident memory of the whole process, whose engine collects when it likes. */
  rss_growth: number;
  flat: boolean;
  machine: string;
}

/** Growth of live memory that counts as none. */
const FLAT = 0.01;

export function judge(row: LoopName, threads: number, points: readonly Point[]): Verdict {
  const tenth = points.find((p) => p.step === 10);
  const later = points.filter((p) => p.step > 10);
  if (!tenth || later.length === 0) throw new Error(`bench memory: ${row} ended before it could be judged`);
  const most = (of: (p: Point) => number): number => Math.max(...later.map(of));
  const growth = significant(most((p) => p.live_bytes) / tenth.live_bytes - 1);
  return {
    bench: "memory",
    row,
    threads,
    summary: true,
    about: LOOPS[row].about,
    steps: points.at(-1)!.step,
    live_bytes_at_10: tenth.live_bytes,
    most_live_bytes: most((p) => p.live_bytes),
    growth,
    rss_growth: significant(most((p) => p.rss_bytes) / tenth.rss_bytes - 1),
    flat: growth <= FLAT,
    machine: machine(),
  };
}

/** Runs a training loop in a process of its own and watches its memory. */
export async function watchMemory(
  row: LoopName,
  { quick, threads, onPoint }: { quick: boolean; threads: number; onPoint: (p: Point) => void },
): Promise<Verdict> {
  const steps = quick ? LOOPS[row].quickSteps : LOOPS[row].steps;
  const script = fileURLToPath(new URL("./memory-process.ts", import.meta.url));
  const args = [
    "--import",
    "tsx",
    script,
    row,
    String(steps),
    String(Math.max(1, steps / 20)),
    String(threads),
  ];
  const child = spawn(process.execPath, args, {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: fileURLToPath(new URL("../", import.meta.url)),
  });
  let errors = "";
  child.stderr.on("data", (data: Buffer) => {
    errors = (errors + data.toString()).slice(-8000);
  });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const points: Point[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const point = JSON.parse(line) as Point;
    points.push(point);
    onPoint(point);
  }
  if ((await ended) !== 0) throw new Error(`bench memory: ${row} failed: ${errorIn(errors)}`);
  return judge(row, threads, points);
}
