import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ggufChunks,
  type GgufTensorToWrite,
  type GgufValue,
  LlamaForCausalLM,
  openGguf,
  parseLlamaConfig,
} from "@lowrank/models";
import { evaluate, key, normal, setDefaultBackend } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { attach, type Attached } from "./attach.js";
import { dora } from "./dora.js";
import { ggufLoraChunks, saveGgufLora } from "./gguf-lora.js";
import { pairRows } from "./gguf-lora-names.js";
import { loadGgufLora } from "./gguf-lora-read.js";
import { lora } from "./lora.js";

let folder = "";
beforeAll(async () => {
  setDefaultBackend(await testBackend());
  folder = await mkdtemp(join(tmpdir(), "gguf-lora-"));
});
afterAll(() => rm(folder, { recursive: true }));

const json = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  tie_word_embeddings: false,
};
const base = (more: object = {}) =>
  new LlamaForCausalLM(parseLlamaConfig({ ...json, ...more }), { key: key(3) });
const ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/** Gives every parameter of an adapter numbers, as if it had been trained. */
async function trained<A extends Attached>(attached: A): Promise<A> {
  const own = [...attached.parameters()];
  await evaluate(
    ...own.map(([path, p]) => p.assign(normal(p.shape, { key: key(9).foldName(path), std: 0.1 }))),
  );
  return attached;
}

const bytesOf = async (chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> => {
  const parts: Uint8Array[] = [];
  for await (const part of chunks) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
};

const logits = async (model: LlamaForCausalLM): Promise<number[]> =>
  Array.from(await model.forward(model.ids([[1, 5, 9, 2, 30]])).data());

// convert_hf_to_gguf.py, LlamaModel.permute: [heads, 2, half, columns] with the middle axes exchanged.
test("rows of a head are paired as llama.cpp has them, and put back", () => {
  const [heads, half, columns] = [3, 4, 2];
  const rows = heads * 2 * half;
  const values = Float32Array.from({ length: rows * columns }, (_, i) => i);
  const want: number[] = [];
  for (let h = 0; h < heads; h++)
    for (let i = 0; i < half; i++)
      for (let j = 0; j < 2; j++)
        for (let c = 0; c < columns; c++) want.push(((h * 2 + j) * half + i) * columns + c);
  const paired = pairRows(values, rows, heads);
  expect([...paired]).toEqual(want);
  expect(pairRows(paired, rows, heads, true)).toEqual(values);
});

test("a file names layers, shapes and alpha as llama.cpp asks", async () => {
  const attached = await trained(attach(base(), lora, { rank: 2, alpha: 6 }, { targets: ALL }));
  const path = join(folder, "named.gguf");
  await saveGgufLora(attached, path, { title: "ours" });
  const file = await openGguf(path);
  expect(Object.fromEntries([...file.metadata].map(([name, { value }]) => [name, value]))).toEqual({
    "general.architecture": "llama",
    "general.type": "adapter",
    "general.name": "ours",
    "general.file_type": 0,
    "adapter.type": "lora",
    "adapter.lora.alpha": 6,
  });
  expect(file.tensors.size).toBe(2 * 2 * ALL.length);
  const shape = (name: string) => file.tensors.get(name)?.shape;
  expect(shape("blk.0.attn_q.weight.lora_a")).toEqual([2, 16]);
  expect(shape("blk.1.attn_k.weight.lora_b")).toEqual([8, 2]);
  expect(shape("blk.1.ffn_down.weight.lora_a")).toEqual([2, 24]);
  const { entry } = attached.places.find((p) => p.entry.target.path.endsWith("0.self_attn.q_proj"))!;
  const B = Float32Array.from(await entry.params["B"]!.data());
  expect(await file.tensors.get("blk.0.attn_q.weight.lora_b")!.array()).toEqual(pairRows(B, 16, 4));
  await file.close();
});

describe.each([
  ["one rank", { rank: 2, alpha: 6 }, { targets: ALL }],
  [
    "ranks and alphas of some layers",
    { rank: 2, alpha: 6 },
    { targets: ALL, rankPattern: { q_proj: 4 }, alphaPattern: { "1.mlp.up_proj": 1 } },
  ],
  ["rsLoRA", { rank: 4, alpha: 6, useRslora: true }, { targets: ["q_proj", "down_proj"] }],
  ["no alpha", { rank: 3 }, { targets: ["v_proj"], rankPattern: { "0.self_attn.v_proj": 5 } }],
  ["embedding and head", { rank: 2, alpha: 4 }, { targets: ["embed_tokens", "lm_head"] }],
] as const)("%s", (_, config, options) => {
  test("read again, the model computes the same", async () => {
    const model = base();
    const plain = await logits(model);
    const attached = await trained(attach(model, lora, config, options));
    const want = await logits(model);
    const bytes = await bytesOf(ggufLoraChunks(attached));
    attached.detach();
    const again = await loadGgufLora(model, bytes);
    expect([...again.layers].sort()).toEqual([...attached.layers].sort());
    const got = await logits(model);
    for (const [i, y] of want.entries()) expect(Math.abs(got[i]! - y)).toBeLessThan(1e-5);
    expect(Math.max(...want.map((y, i) => Math.abs(y - plain[i]!)))).toBeGreaterThan(1e-2);
    expect([...again.parameters()].some(([, p]) => p.trainable)).toBe(false);
    again.detach();
    const resaved = await loadGgufLora(model, bytes, { trainable: true });
    expect(await bytesOf(ggufLoraChunks(resaved))).toEqual(bytes);
  });
});

test("half precision rounds the numbers and nothing else", async () => {
  const model = base();
  const attached = await trained(attach(model, lora, { rank: 2 }, { targets: ALL }));
  const want = await logits(model);
  const bytes = await bytesOf(ggufLoraChunks(attached, { dtype: "f16" }));
  attached.detach();
  await loadGgufLora(model, bytes);
  const got = await logits(model);
  for (const [i, y] of want.entries())
    expect(Math.abs(got[i]! - y)).toBeLessThan(3e-3 * Math.max(1, Math.abs(y)));
});

test("what llama.cpp could not compute is refused before a byte is written", async () => {
  const save = (attached: Attached, more = {}) => saveGgufLora(attached, join(folder, "refused.gguf"), more);
  const tied = base({ tie_word_embeddings: true });
  const onHead = attach(tied, lora, { rank: 2 }, { targets: ["embed_tokens"] });
  await expect(save(onHead)).rejects.toThrow(
    /share their table: llama.cpp has one tensor for both, got model.embed_tokens/,
  );
  const other = attach(base(), dora, { rank: 2 }, { targets: ["q_proj"] });
  await expect(save(other)).rejects.toThrow(
    /expected a LoRA adapter, the method that llama.cpp has, got dora/,
  );
  const zero = attach(base(), lora, { rank: 2, alpha: 0 }, { targets: ["q_proj"] });
  await expect(save(zero)).rejects.toThrow(/expected an alpha other than 0/);
  const half = attach(base(), lora, { rank: 2 }, { targets: ["q_proj"] });
  await expect(save(half, { dtype: "q8" })).rejects.toThrow(/expected dtype f32, f16, bf16, got q8/);
  await expect(readFile(join(folder, "refused.gguf"))).rejects.toThrow(/ENOENT/);
});

describe("a file that is no adapter for the model", () => {
  const f32 = (...shape: number[]): GgufTensorToWrite => ({
    type: "F32",
    shape,
    data: new Float32Array(shape.reduce((a, b) => a * b)),
  });
  const good = { "blk.0.attn_q.weight.lora_a": f32(2, 16), "blk.0.attn_q.weight.lora_b": f32(16, 2) };
  const metadata: Record<string, GgufValue> = {
    "general.architecture": { type: "string", value: "llama" },
    "general.type": { type: "string", value: "adapter" },
    "adapter.type": { type: "string", value: "lora" },
    "adapter.lora.alpha": { type: "f32", value: 2 },
  };
  const load = async (tensors: Record<string, GgufTensorToWrite>, more: Record<string, GgufValue> = {}) =>
    loadGgufLora(base(), await bytesOf(ggufChunks(tensors, { metadata: { ...metadata, ...more } })));

  test("is the start of these tests: the good one is taken", async () => {
    expect((await load(good)).layers).toEqual(["model.layers.0.self_attn.q_proj"]);
  });

  test.each([
    [
      "a model",
      good,
      { "general.type": { type: "string", value: "model" } },
      /general.type to be "adapter", got "model"/,
    ],
    [
      "another method",
      good,
      { "adapter.type": { type: "string", value: "x" } },
      /adapter.type to be "lora", got "x"/,
    ],
    [
      "another architecture",
      good,
      { "general.architecture": { type: "string", value: "qwen2" } },
      /to be "llama", got "qwen2"/,
    ],
    [
      "no alpha",
      good,
      { "adapter.lora.alpha": { type: "string", value: "2" } },
      /alpha to be a number, got 2/,
    ],
    ["no tensors", {}, {}, /expected tensors of an adapter, got none/],
    [
      "a half",
      { "blk.0.attn_q.weight.lora_b": f32(16, 2) },
      {},
      /both lora_a and lora_b of blk.0.attn_q.weight, got lora_b alone/,
    ],
    [
      "an unknown layer",
      { "blk.0.attn_x.weight.lora_a": f32(2, 16) },
      {},
      /of known layers, got "blk.0.attn_x/,
    ],
    [
      "a layer too many",
      { "blk.7.attn_q.weight.lora_a": f32(2, 16), "blk.7.attn_q.weight.lora_b": f32(16, 2) },
      {},
      /model.layers.7.self_attn.q_proj/,
    ],
    [
      "another width",
      { ...good, "blk.0.attn_q.weight.lora_b": f32(8, 2) },
      {},
      /\[16, 2\] for model.layers.0.self_attn.q_proj, got \[2, 16\] and \[8, 2\]/,
    ],
    [
      "other axes",
      { ...good, "blk.0.attn_q.weight.lora_b": f32(32) },
      {},
      /matrices for blk.0.attn_q.weight, got \[32\]/,
    ],
    [
      "another rank",
      { ...good, "blk.0.attn_q.weight.lora_a": f32(3, 16) },
      {},
      /got \[3, 16\] and \[16, 2\]/,
    ],
  ] as const)("%s", async (_, tensors, more, message) => {
    await expect(load(tensors, more as Record<string, GgufValue>)).rejects.toThrow(message);
  });
});
