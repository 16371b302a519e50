import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { attach, lora, savePeft } from "@lowrank/adapters";
import { fromPretrained, loadTokenizer } from "@lowrank/models";
import { key } from "@lowrank/tensor";
import { parseJsonl, type TextRecord, TrainingData } from "@lowrank/train";
import { errorIn } from "./contender-process.js";
import { machine } from "./result.js";
import { median, significant } from "./statistics.js";

export const FINETUNERS = ["lowrank-wasm", "lowrank-native", "torch"] as const;
export type Finetuner = (typeof FINETUNERS)[number];

/** What is fine-tuned: SmolLM2-135M, rank 8 on all linear layers, rows of 256 tokens. */
export const FINETUNE_ROWS = {
  smollm2: { about: "weights in f32", recompute: false, weights: "f32", torch: true },
  "smollm2-recompute": {
    about: "weights in f32, layers computed again in the backward pass",
    recompute: true,
    weights: "f32",
    torch: true,
  },
  "smollm2-bf16": {
    about: "frozen weights in bf16, layers computed again",
    recompute: true,
    weights: "bf16",
    torch: false,
  },
  "smollm2-q4": {
    about: "frozen weights in the Q4_1 of a GGUF file, layers computed again",
    recompute: true,
    weights: "q4",
    torch: false,
  },
} as const;
export type FinetuneRow = keyof typeof FINETUNE_ROWS;

/** The part of a job that all contenders share. */
const SETTINGS = { length: 256, batch: 4, rank: 8, alpha: 16, lr: 2e-4 };

/** What a process is told, in a file of JSON. */
export interface FinetuneJob {
  readonly lib: Finetuner;
  /** Folder of the model, or a GGUF file. */
  readonly model: string;
  /** The adapter to begin with, in PEFT's form: the same numbers for all. */
  readonly adapter: string;
  /** Token ids, i32: rows of `length` as they come, and in the order of the batches. */
  readonly rows: string;
  readonly batches: string;
  readonly length: number;
  readonly batch: number;
  readonly steps: number;
  readonly lr: number;
  readonly threads: number;
  readonly recompute: boolean;
  readonly weights: string;
}

/** What a process prints, one a line. */
export type FinetuneLine =
  | { type: "ready"; load_ms: number; details: string }
  | { type: "step"; step: number; loss: number; ms: number; cpu_ms: number }
  | { type: "end"; peak_rss_bytes: number; tensor_bytes?: number };

export interface FinetuneSample {
  bench: "finetune";
  row: FinetuneRow;
  lib: Finetuner;
  threads: number;
  batch: number;
  length: number;
  rank: number;
  runs: number;
  steps: number;
  /** Medians over the steps of all runs, the first two of each left out. */
  step_ms: number;
  step_cpu_ms: number;
  tokens_per_second: number;
  /** The first step: plans, code and what is allocated once are in it. */
  first_ms: number;
  load_ms: number;
  /** Largest resident memory of the whole process. */
  peak_rss_bytes: number;
  /** Largest memory of tensors, where it is known. */
  tensor_bytes?: number;
  /** Loss of each step. */
  losses: number[];
  details: string;
  machine: string;
}

export interface FinetuneOptions {
  rows: readonly FinetuneRow[];
  libraries: readonly Finetuner[];
  steps: number;
  runs: number;
  threads: number;
  /** Folder that holds `smollm2-hf` and the GGUF file. */
  models: string;
  note?: (text: string) => void;
}

/** Fine-tunes with every library on every row, each run a process of its own, in turns. */
export async function measureFinetune(options: FinetuneOptions): Promise<FinetuneSample[]> {
  const { rows, libraries, runs, steps, threads, models, note } = options;
  const folder = join(models, "smollm2-hf");
  const gguf = join(models, "SmolLM2-135M-Instruct.Q4_1.gguf");
  for (const path of rows.includes("smollm2-q4") ? [folder, gguf] : [folder]) {
    if (!existsSync(path))
      throw new Error(
        `bench finetune: expected ${path}; make it with benchmarks/scripts/dequantize-gguf.py, and name its folder in LOWRANK_TEST_MODELS`,
      );
  }
  const scratch = await mkdtemp(join(tmpdir(), "lowrank-finetune-"));
  try {
    const shared = await prepare(folder, scratch, steps);
    const found: FinetuneSample[] = [];
    for (const row of rows) {
      const { torch, recompute, weights } = FINETUNE_ROWS[row];
      const able = libraries.filter((lib) => lib !== "torch" || torch);
      const outcomes = new Map<Finetuner, Outcome[]>(able.map((lib) => [lib, []]));
      for (let run = 0; run < runs; run++) {
        for (const lib of run % 2 ? [...able].reverse() : able) {
          const model = weights === "q4" ? gguf : folder;
          const job = { ...shared, ...SETTINGS, lib, model, steps, threads, recompute, weights };
          const outcome = await runOne(job, scratch);
          outcomes.get(lib)!.push(outcome);
          note?.(
            `${row}, ${lib}, run ${run + 1}: ${Math.round(tokensPerSecond(stepTimes([outcome])))} tokens/s`,
          );
        }
      }
      for (const [lib, all] of outcomes) found.push(sampleOf(row, lib, threads, all));
    }
    return found;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Moby-Dick as rows of tokens, and a fresh adapter. */
async function prepare(
  folder: string,
  scratch: string,
  steps: number,
): Promise<Pick<FinetuneJob, "adapter" | "rows" | "batches">> {
  const { length, batch, rank, alpha } = SETTINGS;
  const tokenizer = await loadTokenizer(folder);
  const text = fileURLToPath(
    new URL("../../examples/quickstart/data/moby-dick-train.jsonl", import.meta.url),
  );
  const ids = parseJsonl(await readFile(text, "utf8"), text).flatMap((record) =>
    tokenizer.encode((record as TextRecord).text, { addSpecialTokens: false }),
  );
  const examples = Array.from({ length: Math.floor(ids.length / length) }, (_, i) => {
    const own = ids.slice(i * length, (i + 1) * length);
    return { ids: own, labels: own };
  });
  const data = new TrainingData(examples, { length, batch });
  const paths = {
    adapter: join(scratch, "adapter"),
    rows: join(scratch, "rows"),
    batches: join(scratch, "batches"),
  };
  await writeFile(paths.rows, new Uint8Array(Int32Array.from(examples.flatMap((e) => e.ids)).buffer));
  const ordered = Array.from({ length: steps }, () => [...data.next().ids]).flat();
  await writeFile(paths.batches, new Uint8Array(Int32Array.from(ordered).buffer));
  const model = await fromPretrained(folder);
  const attached = attach(model, lora, { rank, alpha }, { targets: "all-linear", key: key(0) });
  await savePeft(attached, paths.adapter, { baseModel: folder });
  return paths;
}

interface Outcome {
  load_ms: number;
  details: string;
  steps: { loss: number; ms: number; cpu_ms: number }[];
  peak_rss_bytes: number;
  tensor_bytes?: number;
}

async function runOne(job: FinetuneJob, scratch: string): Promise<Outcome> {
  const path = join(scratch, "job.json");
  await writeFile(path, JSON.stringify(job));
  const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
  const [command, args] =
    job.lib === "torch"
      ? [process.env["BENCH_PYTHON"] ?? "python3", [script("./finetune.py"), path]]
      : [process.execPath, ["--import", "tsx", script("./finetune-process.ts"), path]];
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    cwd: fileURLToPath(new URL("../", import.meta.url)),
  });
  let errors = "";
  child.stderr.on("data", (data: Buffer) => {
    errors = (errors + data.toString()).slice(-8000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("exit", resolve);
    child.once("error", reject);
  });
  const outcome: Outcome = { load_ms: 0, details: "", steps: [], peak_rss_bytes: 0 };
  for await (const text of createInterface({ input: child.stdout })) {
    if (!text.startsWith("{")) continue;
    const { type, ...line } = JSON.parse(text) as FinetuneLine;
    if (type === "step") outcome.steps.push(line as Outcome["steps"][number]);
    else Object.assign(outcome, line);
  }
  if ((await ended) !== 0 || outcome.steps.length !== job.steps || outcome.peak_rss_bytes === 0)
    throw new Error(`bench finetune: ${job.lib} failed: ${errorIn(errors)}`);
  return outcome;
}

/** Steps that also plan, compile or fill caches. */
const COLD = 2;

const stepTimes = (runs: readonly Outcome[], time: "ms" | "cpu_ms" = "ms"): number =>
  median(runs.flatMap(({ steps }) => steps.slice(Math.min(COLD, steps.length - 1)).map((s) => s[time])));

const tokensPerSecond = (ms: number): number => (1000 * SETTINGS.batch * SETTINGS.length) / ms;

function sampleOf(
  row: FinetuneRow,
  lib: Finetuner,
  threads: number,
  runs: readonly Outcome[],
): FinetuneSample {
  const last = runs.at(-1)!;
  const { batch, length, rank } = SETTINGS;
  const ms = stepTimes(runs);
  return {
    bench: "finetune",
    row,
    lib,
    threads,
    batch,
    length,
    rank,
    runs: runs.length,
    steps: last.steps.length,
    step_ms: significant(ms),
    step_cpu_ms: significant(stepTimes(runs, "cpu_ms")),
    tokens_per_second: significant(tokensPerSecond(ms)),
    first_ms: significant(median(runs.map((r) => r.steps[0]!.ms))),
    load_ms: significant(median(runs.map((r) => r.load_ms))),
    peak_rss_bytes: Math.max(...runs.map((r) => r.peak_rss_bytes)),
    ...(last.tensor_bytes === undefined ? {} : { tensor_bytes: last.tensor_bytes }),
    losses: last.steps.map((s) => significant(s.loss, 6)),
    details: last.details,
    machine: machine(),
  };
}
