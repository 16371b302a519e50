import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attach, lora } from "@lowrank/adapters";
import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { AdamW, cosineSchedule, SGD } from "@lowrank/optim";
import { defaultBackend, evaluate, full, key, planStats } from "@lowrank/tensor";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TrainingData } from "./data.js";
import type { TrainEvent } from "./events.js";
import { IGNORED } from "./example.js";
import { batchTensors, pack } from "./packing.js";
import type { TrainOptions } from "./train-options.js";
import { train } from "./trainer.js";

const config = parseLlamaConfig({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "train-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Texts of 3 to 20 tokens that count upwards, so that there is something to learn. */
const examples = Array.from({ length: 24 }, (_, i) => {
  const ids = Array.from({ length: 3 + ((i * 7) % 18) }, (_, t) => (i + t) % 32);
  return { ids, labels: ids };
});

function setUp(
  steps: number,
  more: Partial<TrainOptions> = {},
): { options: TrainOptions; events: TrainEvent[] } {
  const model = new LlamaForCausalLM(config, { key: key(5) });
  attach(model, lora, { rank: 2, alpha: 4, dropout: 0.1 }, { targets: "all-linear", key: key(6) });
  const optimizer = new AdamW(model.trainableParameters(), {
    lr: cosineSchedule({ peak: 0.02, warmup: 2, total: 12 }),
  });
  const events: TrainEvent[] = [];
  const data = new TrainingData(examples, { length: 24, batch: 2, seed: 3 });
  return { options: { model, optimizer, data, steps, onEvent: (e) => events.push(e), ...more }, events };
}

async function weights({ model }: TrainOptions): Promise<number[]> {
  const all: number[] = [];
  for (const [, p] of model.trainableParameters()) all.push(...(await p.data()));
  return all;
}

test("packs every token once, with nothing shared between texts", () => {
  const batches = pack(examples, { length: 24, batch: 2 });
  expect(batches.reduce((n, b) => n + b.tokens, 0)).toBe(examples.reduce((n, e) => n + e.ids.length, 0));
  expect(batches.reduce((n, b) => n + b.targets, 0)).toBe(examples.reduce((n, e) => n + e.ids.length - 1, 0));
});

test("the loss of a packed batch with masks is the sum over its texts", async () => {
  const model = new LlamaForCausalLM(config, { key: key(5) });
  const masked = examples.map(({ ids }, i) => ({
    ids,
    labels: ids.map((id, t) => ((t + i) % 3 === 0 ? IGNORED : id)),
  }));
  let packed = 0;
  for (const batch of pack(masked, { length: 32, batch: 3 })) {
    const { ids, labels, segments } = batchTensors(batch);
    const { sum, count } = model.lossParts(ids, labels, { segments });
    await evaluate(sum, count);
    expect(await count.item()).toBe(batch.targets);
    packed += await sum.item();
  }
  let single = 0;
  for (const { ids, labels } of masked)
    single += await model.lossParts(model.ids([ids]), batchLabels(labels), {}).sum.item();
  expect(Math.abs(packed - single) / single).toBeLessThan(1e-6);
});

function batchLabels(labels: readonly number[]) {
  return batchTensors({
    rows: 1,
    length: labels.length,
    ids: new Int32Array(labels.length),
    labels: Int32Array.from(labels),
    segments: new Int32Array(labels.length),
    targets: 0,
    tokens: 0,
  }).labels;
}

test("lowers the loss, with plans that are made once", async () => {
  const { options, events } = setUp(12, {
    evaluate: { batches: pack(examples, { length: 24, batch: 2 }), every: 6 },
  });
  const result = await train(options);
  const steps = events.filter((e) => e.type === "step");
  expect(result.reason).toBe("done");
  expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
  const before = planStats(await defaultBackend()).misses;
  await train({ ...options, steps: 4, data: new TrainingData(examples, { length: 24, batch: 2, seed: 4 }) });
  expect(planStats(await defaultBackend()).misses - before).toBeLessThanOrEqual(1);
});

test("accumulated batches give the step of one large batch", async () => {
  const even = examples.slice(0, 16).map(() => {
    const ids = Array.from({ length: 24 }, (_, t) => (t * 5) % 32);
    return { ids, labels: ids };
  });
  const one = setUp(3, { data: new TrainingData(even, { length: 24, batch: 4, seed: 1 }) });
  const two = setUp(3, { data: new TrainingData(even, { length: 24, batch: 2, seed: 1 }), accumulate: 2 });
  for (const { options } of [one, two])
    for (const [, p] of options.model.trainableParameters()) p.trainable = true;
  one.options.model.eval();
  await train(one.options);
  await train(two.options);
  const losses = [one, two].map(({ events }) => events.flatMap((e) => (e.type === "step" ? [e.loss] : [])));
  expect(losses[0]![0]).toBeCloseTo(losses[1]![0]!, 1);
});

test("a run that was stopped goes on to the same bits", async () => {
  const whole = setUp(12, { save: { folder: join(folder, "a"), every: 5 } });
  await train(whole.options);
  const controller = new AbortController();
  const first = setUp(12, { save: { folder: join(folder, "b"), every: 5 }, signal: controller.signal });
  first.options.onEvent = (e) => {
    if (e.type === "step" && e.step === 7) controller.abort();
  };
  expect((await train(first.options)).reason).toBe("aborted");
  const second = setUp(12, { save: { folder: join(folder, "b"), every: 5 }, resume: true });
  await train(second.options);
  expect(second.events[0]).toMatchObject({ type: "resume", step: 7 });
  expect(await weights(second.options)).toEqual(await weights(whole.options));
  expect(readdirSync(join(folder, "b")).sort()).toEqual(["step-000010", "step-000012"]);
});

test("a flipped bit sends a resume back to the checkpoint before", async () => {
  const run = setUp(10, { save: { folder, every: 5 } });
  await train(run.options);
  const file = join(folder, "step-000010", "parameters.safetensors");
  const bytes = readFileSync(file);
  bytes[bytes.length - 3]! ^= 4;
  writeFileSync(file, bytes);
  const again = setUp(12, { save: { folder, every: 5 }, resume: true });
  await train(again.options);
  expect(again.events.map((e) => e.type).slice(0, 2)).toEqual(["warning", "resume"]);
  expect(again.events[1]).toMatchObject({ step: 5 });
  const whole = setUp(12);
  await train(whole.options);
  expect(await weights(again.options)).toEqual(await weights(whole.options));
});

/** Puts an infinity into the second trained parameter, named in errors, after a step. */
function poisonAfter(step: number, options: TrainOptions): void {
  const onEvent = options.onEvent!;
  options.onEvent = (e) => {
    onEvent(e);
    if (e.type !== "step" || e.step !== step) return;
    const [, p] = [...options.model.trainableParameters()][1]!;
    p.replace(full(p.shape, Number.POSITIVE_INFINITY));
  };
}

test("a loss that is no number is named, and nothing of it is saved", async () => {
  const { options } = setUp(6, { save: { folder, every: 2 } });
  poisonAfter(3, options);
  await expect(train(options)).rejects.toThrow(
    /train, step 4: expected a finite loss.*layers.0.self_attn.q_proj.lora_B/,
  );
  expect(readdirSync(folder)).toEqual(["step-000002"]);
});

test("parameters that are not finite are named, and not saved", async () => {
  const { options } = setUp(6, { save: { folder, every: 2 } });
  poisonAfter(4, options);
  await expect(train(options)).rejects.toThrow(
    /step 4: expected finite parameters to save.*layers.0.self_attn.q_proj.lora_B/,
  );
  expect(readdirSync(folder)).toEqual(["step-000002"]);
});

test("a new run leaves the checkpoints of another as they are", async () => {
  await train(setUp(4, { save: { folder, every: 2 } }).options);
  await expect(train(setUp(4, { save: { folder, every: 2 } }).options)).rejects.toThrow(
    /without checkpoints for a new run/,
  );
  expect(readdirSync(folder).sort()).toEqual(["step-000002", "step-000004"]);
});

test("a run goes on only with the settings and the data that it began with", async () => {
  await train(setUp(2, { save: { folder, every: 2 } }).options);
  const go = (more: Partial<TrainOptions>) =>
    train(setUp(4, { save: { folder, every: 2 }, resume: true, ...more }).options);
  await expect(go({ seed: 1 })).rejects.toThrow(/expected seed 0, as the run began, got 1/);
  await expect(go({ clipNorm: null })).rejects.toThrow(/expected clipNorm 1, as the run began, got none/);
  const other = new TrainingData(examples.slice(1), { length: 24, batch: 2, seed: 3 });
  await expect(go({ data: other })).rejects.toThrow(/expected data [0-9a-f]{8}/);
});

test("stops early when the held-out loss no longer falls", async () => {
  const heldOut = pack([{ ids: [1, 9, 4, 30, 2, 17], labels: [1, 9, 4, 30, 2, 17] }], {
    length: 8,
    batch: 1,
  });
  const { options } = setUp(60, { evaluate: { batches: heldOut, every: 1 }, earlyStop: { patience: 2 } });
  const result = await train(options);
  expect(result.reason).toBe("early-stop");
  expect(result.step).toBeLessThan(60);
});

test("gradients are scaled down to the norm that is allowed", async () => {
  // One step of plain gradient descent moves the parameters by lr times the clipped gradients.
  const step = async (clipNorm: number | null) => {
    const run = setUp(1, { clipNorm });
    run.options.optimizer = new SGD(run.options.model.trainableParameters(), { lr: 1 });
    const before = await weights(run.options);
    await train(run.options);
    const after = await weights(run.options);
    const event = run.events.find((e) => e.type === "step")!;
    return { moved: Math.hypot(...after.map((w, i) => w - before[i]!)), norm: event.gradNorm };
  };
  const free = await step(null);
  expect(free.moved / free.norm).toBeCloseTo(1, 4);
  const tight = await step(free.norm / 10);
  expect(tight.norm).toBeCloseTo(free.norm, 6);
  expect(tight.moved / (free.norm / 10)).toBeCloseTo(1, 4);
  const loose = await step(free.norm * 10);
  expect(loose.moved).toBeCloseTo(free.moved, 6);
});

test("layers that are computed again, and logits a few rows at a time, give the same training", async () => {
  const plain = setUp(3);
  const frugal = setUp(3, { checkpointLayers: true, lossRows: 7 });
  await train(plain.options);
  await train(frugal.options);
  const [a, b] = [await weights(plain.options), await weights(frugal.options)];
  const scale = Math.max(...a.map(Math.abs));
  for (const [i, w] of a.entries()) expect(Math.abs(w - b[i]!)).toBeLessThan(1e-5 * scale);
});

test("a signal between the batches of a step leaves the step undone, and nothing half-written", async () => {
  const whole = setUp(6, { accumulate: 3 });
  await train(whole.options);
  const controller = new AbortController();
  const more = { accumulate: 3, save: { folder, every: 4 } };
  const first = setUp(6, { ...more, signal: controller.signal });
  const next = first.options.data.next.bind(first.options.data);
  let drawn = 0;
  first.options.data.next = () => {
    if (++drawn === 8) controller.abort(); // while the third step collects its batches
    return next();
  };
  expect(await train(first.options)).toMatchObject({ reason: "aborted", step: 2 });
  expect(readdirSync(folder)).toEqual(["step-000002"]);
  const second = setUp(6, { ...more, resume: true });
  await train(second.options);
  expect(await weights(second.options)).toEqual(await weights(whole.options));
});

test("an evaluation that was cut off is made up for, and an early stop stays one", async () => {
  const heldOut = pack([{ ids: [1, 9, 4, 30, 2, 17], labels: [1, 9, 4, 30, 2, 17] }], {
    length: 8,
    batch: 1,
  });
  const more = { evaluate: { batches: heldOut, every: 1 }, earlyStop: { patience: 2 } };
  const whole = setUp(60, more);
  const end = await train(whole.options);
  const controller = new AbortController();
  const save = { folder, every: 50 };
  const first = setUp(60, { ...more, save, signal: controller.signal });
  first.options.onEvent = (e) => e.type === "step" && e.step === 2 && controller.abort(); // before it is scored
  expect((await train(first.options)).reason).toBe("aborted");
  const second = setUp(60, { ...more, save, resume: true });
  expect(await train(second.options)).toMatchObject({ step: end.step, reason: "early-stop" });
  const scores = (events: TrainEvent[]) => events.flatMap((e) => (e.type === "eval" ? [e.loss] : []));
  expect(scores(second.events)).toEqual(scores(whole.events).slice(1));
  const third = setUp(60, { ...more, save, resume: true });
  expect(await train(third.options)).toMatchObject({ step: end.step, reason: "early-stop" });
  expect(third.events.map((e) => e.type)).toEqual(["resume", "start", "end"]);
});

test("the log goes on where a run goes on, without what was lost", async () => {
  const logFile = join(folder, "log.jsonl");
  const save = { folder: join(folder, "checkpoints"), every: 2 };
  const first = setUp(6, { save, logFile });
  poisonAfter(3, first.options);
  await expect(train(first.options)).rejects.toThrow(/step 4/);
  await train(setUp(6, { save, logFile, resume: true }).options);
  const lines = readFileSync(logFile, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as TrainEvent);
  expect(lines.flatMap((e) => (e.type === "step" ? [e.step] : []))).toEqual([1, 2, 3, 4, 5, 6]);
});
