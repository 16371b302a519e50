import { attach, lora } from "@lowrank/adapters";
import { generate, LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { Linear, type Module, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  type Backend,
  conv2d,
  crossEntropy,
  type DType,
  evaluate,
  gradients,
  key,
  normal,
  type Parameter,
  parameter,
  relu,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { type Group, type Schedule, schedule, type Value } from "@lowrank/tensor/backend";
import { buildGraph, randomGraph } from "@lowrank/tensor/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { wasm, type WasmBackend } from "../src/index.js";
import { target } from "../src/target.js";

// A backend that keeps what its plans are made of.
let real: WasmBackend;
let schedules: Schedule[] = [];
beforeAll(async () => {
  real = await wasm({ threads: 1 });
  const seen: Backend = {
    name: "wasm",
    cheapReads: true,
    allocate: (bytes) => real.allocate(bytes),
    free: (buffer) => real.free(buffer),
    write: (buffer, data, offset) => real.write(buffer, data, offset),
    read: (buffer, bytes) => real.read(buffer, bytes),
    prepare(graph) {
      schedules.push(schedule(graph, target));
      return real.prepare(graph);
    },
    memory: () => real.memory(),
    resetPeak: () => real.resetPeak(),
    dispose: () => real.dispose(),
  };
  setDefaultBackend(seen);
});
afterAll(() => real.dispose());
beforeEach(() => {
  schedules = [];
});

/** The plan with the most groups: the step, beside those that make first values. */
const largest = (): Schedule => schedules.reduce((a, b) => (b.groups.length > a.groups.length ? b : a));

const integers = (below: number, ...shape: number[]): Tensor =>
  tensor(
    Int32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => (i * 7) % below),
    { shape, dtype: "i32" },
  );

function llama(dtype: DType = "f32"): LlamaForCausalLM {
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 320,
    hidden_size: 64,
    intermediate_size: 160,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 128,
    tie_word_embeddings: false,
  });
  return new LlamaForCausalLM(config, { key: key(1), dtype });
}

async function trainStep(model: Module, loss: () => Tensor): Promise<void> {
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3 });
  const { value, grads } = valueAndGrad(model, loss)();
  await optimizer.step(grads, { also: [value] });
}

async function llamaStep(dtype: DType, checkpoint: boolean, adapted = true): Promise<void> {
  const model = llama(dtype);
  if (adapted) attach(model, lora, { rank: 4 }, { targets: "all-linear", key: key(2) });
  model.train();
  const ids = integers(320, 4, 48);
  await trainStep(model, () => model.loss(ids, ids, { checkpoint }));
}

async function mlpStep(): Promise<void> {
  const layer = (n: number, inputs: number, outputs: number) => new Linear(inputs, outputs, { key: key(n) });
  const model = new Sequential(layer(1, 64, 256), relu, layer(2, 256, 256), relu, layer(3, 256, 10));
  await trainStep(model, () =>
    crossEntropy(model.forward(normal([128, 64], { key: key(4) })), integers(10, 128)),
  );
}

async function convStep(): Promise<void> {
  const weights = [
    [8, 3, 3, 3],
    [16, 8, 3, 3],
    [10, 16, 8, 8],
  ].map((shape, i) => parameter(normal(shape, { key: key(i), std: 0.1 })));
  const [a, b, c] = weights as [Parameter, Parameter, Parameter];
  const x = normal([8, 3, 16, 16], { key: key(9) });
  const h = relu(conv2d(relu(conv2d(x, a, { padding: 1 })), b, { padding: 1, stride: 2 }));
  const loss = crossEntropy(conv2d(h, c).reshape([8, 10]), integers(10, 8));
  const updates = gradients(loss, weights).map((g, i) => weights[i]!.assign(weights[i]!.sub(g.mul(0.1))));
  await evaluate(loss, ...updates);
}

describe("the memory of a step is at most 1.3 × the most that is alive at once", () => {
  test.each<[string, () => Promise<void>]>([
    ["network of linear layers", mlpStep],
    ["convolutions", convStep],
    ["Llama with LoRA", () => llamaStep("f32", false)],
    ["Llama with LoRA, layers computed again", () => llamaStep("f32", true)],
    ["whole Llama", () => llamaStep("f32", false, false)],
    ["half Llama with LoRA", () => llamaStep("bf16", false)],
  ])("%s", async (_, step) => {
    await step();
    const { arenaBytes, liveBytes, groups } = largest();
    expect(groups.length).toBeGreaterThan(10);
    expect(liveBytes).toBeGreaterThan(100_000);
    expect(arenaBytes / liveBytes).toBeLessThanOrEqual(1.3);
  });

  test("random graphs", async () => {
    const ratios: number[] = [];
    for (let seed = 1; seed <= 300; seed++) {
      schedules = [];
      await evaluate(...buildGraph(randomGraph(seed)));
      const { arenaBytes, liveBytes } = largest();
      if (liveBytes > 0) ratios.push(arenaBytes / liveBytes);
    }
    expect(ratios.length).toBeGreaterThan(200);
    expect(Math.max(...ratios)).toBeLessThanOrEqual(1.3);
  });
});

/** Copies among the groups: loops that bring a parameter, moved or widened but not computed with, to other memory. */
function parameterCopies(groups: readonly Group[]): string[] {
  const large = (value: Value) => value.dims.length === 2 && value.size >= 64 * 16;
  return groups.flatMap((group) => {
    if (group.kind !== "loop" || !group.code.every((instr) => instr.op.name === "cast")) return [];
    const loaded = group.loads.flatMap((load) => (load.kind === "value" ? [load.value] : []));
    const stored = group.stores.filter(({ value }) => loaded.some((from) => from.size === value.size));
    return loaded.some((value) => value.home.kind === "leaf" && large(value)) && stored.length > 0
      ? [`${group.name} of [${loaded[0]!.dims}]`]
      : [];
  });
}

describe("a weight is never copied to be transposed or widened", () => {
  test.each<[DType]>([["f32"], ["f16"], ["bf16"]])("training on %s", async (dtype) => {
    await llamaStep(dtype, false);
    const { groups } = largest();
    expect(groups.filter((g) => g.kind === "kernel" && g.op.name === "matmul").length).toBeGreaterThan(60);
    expect(parameterCopies(groups)).toEqual([]);
  });

  test.each<[DType]>([["f32"], ["f16"], ["bf16"]])("decoding on %s", async (dtype) => {
    const model = llama(dtype);
    const tokens: number[] = [];
    for await (const id of generate(model, [1, 2, 3], { maxNewTokens: 4, stopIds: [] })) tokens.push(id);
    expect(tokens).toHaveLength(4);
    const decode = schedules.at(-1)!;
    expect(
      decode.groups.filter((g) => g.kind === "kernel" && g.op.name === "matmul").length,
    ).toBeGreaterThanOrEqual(7 * 3 + 1);
    for (const { groups } of schedules.filter((s) => s.groups.length > 30)) {
      expect(parameterCopies(groups)).toEqual([]);
    }
    // All temporaries of a token together take less room than the smallest of the weights.
    expect(decode.arenaBytes).toBeLessThan(32 * 64 * 2);
  });

  test("a copy would be found", async () => {
    const w = parameter(normal([64, 80], { key: key(1), dtype: "bf16" }));
    await evaluate(w.T.astype("f32"));
    expect(parameterCopies(schedules.at(-1)!.groups)).toEqual(["cast of [64,80]"]);
  });
});
