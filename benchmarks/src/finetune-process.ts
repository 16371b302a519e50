/** Fine-tunes on one backend and prints a line of JSON for each step: `finetune-process.ts JOB`, see finetune.ts. */
import { readFile } from "node:fs/promises";
import { loadPeft } from "@lowrank/adapters";
import { native } from "@lowrank/backend-native";
import { wasm } from "@lowrank/backend-wasm";
import { fromPretrained } from "@lowrank/models";
import { AdamW } from "@lowrank/optim";
import { setDefaultBackend } from "@lowrank/tensor";
import { train, TrainingData } from "@lowrank/train";
import type { FinetuneJob, FinetuneLine } from "./finetune.js";

const job = JSON.parse(await readFile(process.argv[2]!, "utf8")) as FinetuneJob;
const print = (line: FinetuneLine): void => console.log(JSON.stringify(line));

const began = performance.now();
const { threads } = job;
const withBlas = job.lib === "lowrank-native" ? await native({ threads }) : null;
const backend = withBlas ?? (await wasm({ threads }));
setDefaultBackend(backend);
const model = await fromPretrained(job.model, {
  resident: true,
  ...(job.weights === "bf16" ? { dtype: "bf16" as const } : {}),
});
await loadPeft(model, job.adapter, { trainable: true });

const bytes = await readFile(job.rows);
const ids = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const examples = Array.from({ length: ids.length / job.length }, (_, row) => {
  const text = Array.from(ids.subarray(row * job.length, (row + 1) * job.length));
  return { ids: text, labels: text };
});
const data = new TrainingData(examples, { length: job.length, batch: job.batch });
const optimizer = new AdamW(model.trainableParameters(), { lr: job.lr });
backend.resetPeak();
const library = withBlas?.library ? ` on ${withBlas.library.name} ${withBlas.library.version}` : "";
print({ type: "ready", load_ms: performance.now() - began, details: `${job.lib}${library}` });

let spent = process.cpuUsage();
await train({
  model,
  optimizer,
  data,
  steps: job.steps,
  checkpointLayers: job.recompute,
  onEvent(event) {
    if (event.type !== "step") return;
    const { user, system } = process.cpuUsage(spent);
    print({ type: "step", step: event.step, loss: event.loss, ms: event.ms, cpu_ms: (user + system) / 1000 });
    spent = process.cpuUsage();
  },
});
print({
  type: "end",
  peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  tensor_bytes: backend.memory().peakBytes,
});
process.exit(0);
