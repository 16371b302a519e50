import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { attach, lora } from "@lowrank/adapters";
import { dawn } from "@lowrank/backend-dawn";
import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { AdamW } from "@lowrank/optim";
import { key, setDefaultBackend } from "@lowrank/tensor";
import { train, TrainingData, type TrainOptions } from "@lowrank/train";
import { afterEach, beforeEach, expect, test } from "vitest";
import { noGpu } from "../../backend-dawn/test/gpu.js";

const config = parseLlamaConfig({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
});
const examples = Array.from({ length: 16 }, (_, i) => {
  const ids = Array.from({ length: 12 }, (_, t) => (i + t) % 32);
  return { ids, labels: ids };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "resume-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Trains an adapter on a device of its own, from the last checkpoint in the folder, and gives the losses by step. */
async function run(
  options: Partial<TrainOptions>,
  loseAfter = Number.POSITIVE_INFINITY,
): Promise<Map<number, number>> {
  const backend = await dawn();
  setDefaultBackend(backend);
  const model = new LlamaForCausalLM(config, { key: key(5) });
  attach(model, lora, { rank: 2, dropout: 0.1 }, { targets: "all-linear", key: key(6) });
  const losses = new Map<number, number>();
  try {
    await train({
      model,
      optimizer: new AdamW(model.trainableParameters(), { lr: 0.02 }),
      data: new TrainingData(examples, { length: 24, batch: 2, seed: 3 }),
      steps: 5,
      onEvent: (event) => {
        if (event.type !== "step") return;
        losses.set(event.step, event.loss);
        // The next step is on its way when the device goes.
        if (event.step === loseAfter) queueMicrotask(() => backend.device.destroy());
      },
      ...options,
    });
  } catch (error) {
    const lost = await backend.lost;
    expect(error).toBe(lost);
    expect(lost).toMatchObject({ code: "LOWRANK_DEVICE", hint: expect.stringContaining("checkpoint") });
    expect(losses.size).toBe(loseAfter);
  } finally {
    await backend.dispose();
  }
  return losses;
}

// A software driver needs minutes to compile all kernels of a training step on a busy machine.
const timeout = 300_000;

test.skipIf(noGpu !== null)(
  "training goes on from a checkpoint on a new device as if the old one were there",
  { timeout },
  async () => {
    const whole = await run({});
    expect([...whole.keys()]).toEqual([1, 2, 3, 4, 5]);
    const save = { folder, every: 2 };
    const before = await run({ save }, 3);
    expect([...before]).toEqual([...whole].slice(0, 3));
    const after = await run({ save, resume: true });
    expect([...after]).toEqual([...whole].slice(2));
  },
);
