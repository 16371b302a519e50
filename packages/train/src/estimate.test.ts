import { attach, lora } from "@lowrank/adapters";
import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import {
  type ByteInput,
  type CausalLM,
  dryRun,
  fromPretrained,
  generate,
  LlamaForCausalLM,
  measureSpeed,
  parseLlamaConfig,
  pretrainedFiles,
  secondsOf,
} from "@lowrank/models";
import { AdamW } from "@lowrank/optim";
import { key, memory, setDefaultBackend } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TrainingData } from "./data.js";
import { estimate } from "./estimate.js";
import { train } from "./trainer.js";

const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 500,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 600,
  tie_word_embeddings: true,
};

let files: Record<string, ByteInput>;
let backend: WasmBackend;

beforeAll(async () => {
  setDefaultBackend(await wasm({ threads: 1 }));
  const model = new LlamaForCausalLM(parseLlamaConfig(CONFIG), { key: key(1) });
  files = {};
  for (const [name, content] of pretrainedFiles(model)) {
    if (typeof content === "string") files[name] = new TextEncoder().encode(content);
    else {
      const parts: Uint8Array[] = [];
      for await (const part of content as AsyncIterable<Uint8Array>) parts.push(part.slice());
      files[name] = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
    }
  }
});

const speed = { matmulFlops: 1e10, codedFlops: 1e10, matvecBytes: 1e10, codedBytes: 1e10, memoryBytes: 1e10 };
const adapt = (model: CausalLM) => attach(model, lora, { rank: 4, alpha: 8 }, { targets: "all-linear" });

/** The same work, done. */
async function fresh(work: () => Promise<unknown>): Promise<number> {
  backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  await work();
  return memory().peakBytes;
}

afterAll(() => backend?.dispose());

describe("estimate", () => {
  test.each([
    [20, 10, "f32"],
    [300, 4, "f16"],
  ] as const)(
    "for %i + %i tokens is what the run takes, with keys in %s",
    async (promptTokens, newTokens, cacheDtype) => {
      const found = await estimate(
        files,
        { kind: "generate", promptTokens, newTokens, cacheDtype },
        { speed },
      );
      const took = await fresh(async () => {
        const model = await fromPretrained(files, { resident: true });
        const prompt = Array.from({ length: promptTokens }, (_, i) => (i * 7) % 500);
        for await (const _ of generate(model, prompt, { maxNewTokens: newTokens, stopIds: [], cacheDtype }));
      });
      expect(found.tensorBytes / took).toBeGreaterThan(0.99); // gaps between tensors count
      expect(found.tensorBytes / took).toBeLessThan(1.05);
      expect(found.trainable).toBe(found.parameters);
      expect(found.weightBytes).toBe(4 * found.parameters);
      expect(found.seconds).toBeCloseTo(found.firstSeconds + (newTokens - 1) * found.nextSeconds, 12);
      expect(found.nextSeconds).toBeGreaterThan(0);
    },
  );

  test.each([
    { checkpointLayers: false, accumulate: 1, batch: 4 },
    { checkpointLayers: true, accumulate: 1, batch: 4 },
    { checkpointLayers: false, accumulate: 2, batch: 2 },
  ])("for training with %o is what the run takes", async (options) => {
    const task = { kind: "train", length: 64, adapt, ...options } as const;
    const found = await estimate(files, task, { speed });
    const took = await fresh(async () => {
      const model = await fromPretrained(files, { resident: true });
      adapt(model);
      const ids = Array.from({ length: 64 }, (_, i) => (i * 7) % 500);
      const rows = Array.from({ length: 8 }, () => ({ ids, labels: ids }));
      await train({
        model,
        optimizer: new AdamW(model.trainableParameters(), { lr: 1e-3 }),
        data: new TrainingData(rows, { length: 64, batch: options.batch }),
        steps: 3,
        ...options,
      });
    });
    expect(found.tensorBytes / took).toBeGreaterThan(0.99);
    expect(found.tensorBytes / took).toBeLessThan(1.05);
    expect(found.trainable).toBeLessThan(found.parameters / 4);
    expect(found.peakBytes).toBeGreaterThan(found.tensorBytes);
  });

  test("layers that are computed again take less memory and more time", async () => {
    const task = { kind: "train", length: 128, batch: 4, adapt } as const;
    const plain = await estimate(files, task, { speed });
    const again = await estimate(files, { ...task, checkpointLayers: true }, { speed });
    expect(again.tensorBytes).toBeLessThan(plain.tensorBytes);
    expect(again.nextSeconds).toBeGreaterThan(plain.nextSeconds);
    const more = await estimate(files, { ...task, steps: 10 }, { speed });
    expect(more.seconds).toBeCloseTo(10 * plain.nextSeconds, 9);
  });

  test("config.json alone is enough, and no weights are read", async () => {
    const task = { kind: "generate", promptTokens: 30, newTokens: 5 } as const;
    const whole = await estimate(files, task, { speed });
    const alone = await estimate({ "config.json": files["config.json"]! }, task, { speed });
    expect(alone.tensorBytes).toBe(whole.tensorBytes);
    const half = new TextEncoder().encode(JSON.stringify({ ...CONFIG, torch_dtype: "float16" }));
    const found = await estimate({ "config.json": half }, task, { speed });
    expect(found.weightBytes).toBe(whole.weightBytes / 2);
    const giant = new TextEncoder().encode(
      JSON.stringify({ ...CONFIG, hidden_size: 4096, intermediate_size: 14336, num_attention_heads: 32 }),
    );
    const before = memory().peakBytes;
    expect((await estimate({ "config.json": giant }, task, { speed })).weightBytes).toBeGreaterThan(2e9);
    expect(memory().peakBytes).toBe(before);
  });

  test("rows that are longer than the model's positions are refused", async () => {
    await expect(estimate(files, { kind: "train", length: 601, batch: 1 }, { speed })).rejects.toThrow(
      /estimate: expected length to be an integer from 2 to the model's 600 positions, got 601/,
    );
  });
});

test("a dry run gives zeros and leaves the backend as it was", async () => {
  const model = () => new LlamaForCausalLM(parseLlamaConfig(CONFIG), { key: key(1) });
  const { result, runs, peakBytes } = await dryRun(async () => {
    const m = model();
    return Array.from(await m.forward(m.ids([[1, 2, 3]])).data());
  });
  expect(result.every((x) => x === 0)).toBe(true);
  expect(result).toHaveLength(1500);
  expect(peakBytes).toBeGreaterThan(0);
  expect(secondsOf(runs, speed)).toBeGreaterThan(0);
  const m = model();
  const real = Array.from(await m.forward(m.ids([[1, 2, 3]])).data());
  expect(real.some((x) => x !== 0)).toBe(true);
});

test("the speed of the machine is measured in numbers above zero", async () => {
  for (const rate of Object.values(await measureSpeed())) expect(rate).toBeGreaterThan(1e6);
});
