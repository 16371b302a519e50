import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { LEARNING_RATES, type MethodName } from "./adapters-methods.js";

/** What a process of its own is to do. */
export interface AdapterJob {
  readonly part: AdapterPart;
  readonly rows: readonly MethodName[];
  readonly seeds: readonly number[];
  readonly rates: readonly number[];
  readonly steps: number;
  readonly threads: number;
  /** Steps of each row that are timed. */
  readonly samples: number;
}

/** "quality" trains and scores, "time" times steps in turns, "peft" those of PEFT, "tune" tries learning rates. */
export const ADAPTER_PARTS = ["quality", "time", "peft", "tune"] as const;
export type AdapterPart = (typeof ADAPTER_PARTS)[number];

/** One method trained once. */
export interface AdapterRun {
  bench: "adapters";
  part: "run";
  row: MethodName;
  seed: number;
  steps: number;
  /** Highest learning rate. */
  lr: number;
  /** Numbers that are trained. */
  parameters: number;
  /** Over a third of the held-out chapters, after training. */
  perplexity: number;
  /** Largest difference of logits that merging makes, over the largest logit. */
  merge_error: number | null;
  losses: number[];
  machine: string;
}

/** How far a weight has moved, see `weightChanges` of @lowrank/adapters. */
export interface AdapterChange {
  bench: "adapters";
  part: "change";
  row: MethodName;
  seed: number;
  step: number;
  path: string;
  magnitude: number;
  direction: number;
}

export interface AdapterTime {
  bench: "adapters";
  part: "time";
  row: MethodName;
  threads: number;
  samples: number;
  step_ms: number;
  q1_ms: number;
  q3_ms: number;
  machine: string;
}

/** Steps of PEFT on the same model. */
export interface PeftTime extends Omit<AdapterTime, "part" | "machine"> {
  part: "peft";
  details: string;
}

export interface AdapterTune {
  bench: "adapters";
  part: "tune";
  row: MethodName;
  lr: number;
  steps: number;
  /** Mean over the last quarter. */
  loss: number;
}

export type AdapterLine = AdapterRun | AdapterChange | AdapterTime | PeftTime | AdapterTune;

export interface AdaptersOptions {
  readonly part: AdapterPart;
  readonly rows: readonly MethodName[];
  readonly seeds: number;
  readonly steps: number;
  readonly threads: number;
  /** Steps of each row that are timed. */
  readonly samples: number;
  /** Learning rates to try. */
  readonly rates?: readonly number[];
  /** A file of an earlier run: what it has is not done again. */
  readonly resume?: string;
  readonly onLine: (line: AdapterLine) => void;
  readonly note?: (text: string) => void;
}

export async function readLines(path: string): Promise<AdapterLine[]> {
  if (!existsSync(path)) return [];
  const text = await readFile(path, "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as AdapterLine);
}

/** Compares the methods on the quick start's model: a process for each row, with all its seeds, or one that times all. */
export async function compareAdapters(options: AdaptersOptions): Promise<void> {
  const { part, rows, steps, threads, samples, resume, onLine, note } = options;
  const done = resume === undefined ? [] : await readLines(resume);
  const seeds = Array.from({ length: options.seeds }, (_, i) => i + 1);
  const has = (name: string, row: MethodName, match: (line: never) => boolean): boolean =>
    done.some((l) => l.part === name && l.row === row && match(l as never));
  const common = { part, steps, threads, samples };
  if (part === "peft") {
    const python = process.env["BENCH_PYTHON"] ?? "python3";
    const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
    const model = here("../../examples/quickstart/model");
    return runLines(python, [here("./adapters.py"), model, String(threads)], "PEFT", onLine);
  }
  if (part === "time") {
    const trained = rows.filter((row) => row !== "frozen");
    return runJob({ ...common, rows: trained, seeds: [1], rates: [] }, onLine);
  }
  for (const row of rows) {
    // One run of the frozen base is as good as three.
    const wanted = row === "frozen" ? seeds.slice(0, 1) : seeds;
    const missing = wanted.filter((seed) => !has("run", row, (l: AdapterRun) => l.seed === seed));
    const rates = (options.rates ?? LEARNING_RATES).filter(
      (lr) => !has("tune", row, (l: AdapterTune) => l.lr === lr),
    );
    if (part === "quality" && missing.length > 0) {
      note?.(`${row}, seeds ${missing.join(", ")} ...`);
      await runJob({ ...common, rows: [row], seeds: missing, rates: [] }, onLine);
    } else if (part === "tune" && row !== "frozen" && rates.length > 0) {
      note?.(`${row}, learning rates ${rates.join(", ")} ...`);
      // Seed 0 is in no run.
      await runJob({ ...common, rows: [row], seeds: [0], rates }, onLine);
    }
  }
}

async function runJob(job: AdapterJob, onLine: (line: AdapterLine) => void): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), "lowrank-adapters-"));
  try {
    const path = join(scratch, "job.json");
    await writeFile(path, JSON.stringify(job));
    const script = fileURLToPath(new URL("./adapters-process.ts", import.meta.url));
    await runLines(process.execPath, ["--import", "tsx", script, path], job.rows.join(", "), onLine);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Runs a process that prints a line of JSON for each result. */
async function runLines(
  command: string,
  args: readonly string[],
  what: string,
  onLine: (line: AdapterLine) => void,
): Promise<void> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: fileURLToPath(new URL("../", import.meta.url)),
  });
  let errors = "";
  child.stderr.on("data", (data: Buffer) => {
    errors = (errors + data.toString()).slice(-4000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("exit", resolve);
    child.once("error", reject);
  });
  for await (const text of createInterface({ input: child.stdout })) {
    if (text.startsWith("{")) onLine(JSON.parse(text) as AdapterLine);
  }
  if ((await ended) !== 0) throw new Error(`bench adapters: ${what} failed: ${errors.trim()}`);
}
