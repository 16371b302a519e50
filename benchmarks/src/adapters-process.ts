/** Trains one method of the comparison, or times several in turns: `adapters-process.ts JOB`, see adapters.ts. */
import { readFile } from "node:fs/promises";
import { weightChanges } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { type CausalLM, perplexity } from "@lowrank/models";
import { setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { batchTensors, type PackedBatch } from "@lowrank/train";
import type { AdapterJob, AdapterLine } from "./adapters.js";
import { type Base, loadModel, loadTexts, type Run, start } from "./adapters-model.js";
import { ADAPTER_METHODS, type MethodName } from "./adapters-methods.js";
import { machine } from "./result.js";
import { quantile, significant } from "./statistics.js";

/** The seed whose run is followed, also when a run that was broken off goes on with the others. */
const FIRST_SEED = 1;
/** Rows whose weights are followed, and how often. */
const FOLLOWED: readonly MethodName[] = ["full", "lora", "dora"];
const CHECKPOINTS = 4;
const COLD = 2;

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as AdapterJob;
const print = (line: AdapterLine): void => console.log(JSON.stringify(line));
setDefaultBackend(await wasm({ threads: job.threads }));
const base = await loadTexts();

const score = async (model: CausalLM): Promise<number> =>
  (await perplexity(model, base.heldOut.map(batchTensors))).perplexity;

const logits = async (model: CausalLM, batch: PackedBatch): Promise<Float64Array> => {
  const { ids, segments } = batchTensors(batch);
  return Float64Array.from(await model.eval().forward(ids, { segments }).data());
};

/** Largest difference of logits that merging makes, over the largest logit; null for what cannot be merged. */
async function mergeError({ model, attached }: Run, { heldOut }: Base): Promise<number | null> {
  if (attached === null) return null;
  const apart = await logits(model as CausalLM, heldOut[0]!);
  try {
    await attached.merge();
  } catch (error) {
    if ((error as { code?: string }).code === "LOWRANK_CONFIG") return null;
    throw error;
  }
  const merged = await logits(model as CausalLM, heldOut[0]!);
  attached.unmerge();
  let [worst, size] = [0, 0];
  for (const [i, y] of apart.entries()) {
    worst = Math.max(worst, Math.abs(y - merged[i]!));
    size = Math.max(size, Math.abs(y));
  }
  return worst / size;
}

const copyOf = async (model: CausalLM): Promise<Map<string, Tensor>> => {
  const copy = new Map<string, Tensor>();
  for (const [path, p] of model.state())
    copy.set(path, tensor(await p.rawData(), { dtype: p.dtype, shape: p.shape }));
  return copy;
};

async function quality(row: MethodName, seed: number): Promise<void> {
  const { steps } = job;
  const model = await loadModel();
  if (row === "frozen") {
    print({
      bench: "adapters",
      part: "run",
      row,
      seed,
      steps: 0,
      lr: 0,
      parameters: 0,
      perplexity: await score(model),
      merge_error: null,
      losses: [],
      machine: machine(),
    });
    return;
  }
  const followed = FOLLOWED.includes(row) && seed === FIRST_SEED;
  const since = row === "full" && followed ? await copyOf(model) : undefined;
  const run = await start(row, model, base, { seed, steps });
  const losses: number[] = [];
  for (let i = 1; i <= steps; i++) {
    losses.push(significant(await run.step(), 5));
    if (!followed || i % Math.ceil(steps / CHECKPOINTS) !== 0) continue;
    for (const change of await weightChanges(
      model.eval() as CausalLM,
      { targets: ["q_proj", "v_proj"] },
      since,
    )) {
      print({
        bench: "adapters",
        part: "change",
        row,
        seed,
        step: i,
        path: change.path,
        magnitude: significant(change.magnitude, 6),
        direction: significant(change.direction, 6),
      });
    }
  }
  print({
    bench: "adapters",
    part: "run",
    row,
    seed,
    steps,
    lr: ADAPTER_METHODS[row].lr,
    parameters: model.countParameters().trainable,
    perplexity: significant(await score(model), 6),
    merge_error: await mergeError(run, base),
    losses,
    machine: machine(),
  });
}

async function tune(row: MethodName, lr: number): Promise<void> {
  const { steps, seeds } = job;
  const run = await start(row, await loadModel(), base, { seed: seeds[0]!, steps, lr });
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) losses.push(await run.step());
  const last = losses.slice(-Math.ceil(steps / 4));
  print({
    bench: "adapters",
    part: "tune",
    row,
    lr,
    steps,
    loss: significant(last.reduce((a, b) => a + b) / last.length, 5),
  });
}

/** Steps of all rows in turns, so that what else the machine does falls on all alike. */
async function time(rows: readonly MethodName[]): Promise<void> {
  const runs = new Map<MethodName, Run>();
  for (const row of rows)
    runs.set(row, await start(row, await loadModel(), base, { seed: job.seeds[0]!, steps: 60 }));
  const times = new Map<MethodName, number[]>(rows.map((row) => [row, []]));
  for (let turn = 0; turn < COLD + job.samples; turn++) {
    for (const row of turn % 2 ? [...rows].reverse() : rows) {
      const began = performance.now();
      await runs.get(row)!.step();
      if (turn >= COLD) times.get(row)!.push(performance.now() - began);
    }
  }
  for (const row of rows) {
    const all = times.get(row)!;
    const at = (p: number): number => significant(quantile(all, p));
    print({
      bench: "adapters",
      part: "time",
      row,
      threads: job.threads,
      samples: all.length,
      step_ms: at(0.5),
      q1_ms: at(0.25),
      q3_ms: at(0.75),
      machine: machine(),
    });
  }
}

if (job.part === "time") await time(job.rows);
else if (job.part === "tune") for (const lr of job.rates) await tune(job.rows[0]!, lr);
else for (const seed of job.seeds) await quality(job.rows[0]!, seed);
process.exit(0);
