import {
  ConfigError,
  evaluate,
  key,
  setDefaultBackend,
  ShapeError,
  tensor,
  type Tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { LlamaForCausalLM } from "./llama.js";
import { parseLlamaConfig } from "./llama-config.js";
import { perplexity } from "./perplexity.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const config = parseLlamaConfig({
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 32,
  initializer_range: 0.3,
});
const model = new LlamaForCausalLM(config, { key: key(1) });
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

describe("LlamaForCausalLM", () => {
  test("parameters have the names of a Hugging Face checkpoint", () => {
    const layer = [
      "input_layernorm.weight",
      "self_attn.q_proj.weight",
      "self_attn.k_proj.weight",
      "self_attn.v_proj.weight",
      "self_attn.o_proj.weight",
      "post_attention_layernorm.weight",
      "mlp.gate_proj.weight",
      "mlp.up_proj.weight",
      "mlp.down_proj.weight",
    ];
    expect([...model.parameters()].map(([path]) => path)).toEqual([
      "model.embed_tokens.weight",
      ...[0, 1].flatMap((i) => layer.map((name) => `model.layers.${i}.${name}`)),
      "model.norm.weight",
      "lm_head.weight",
    ]);
  });

  test("the loss of a packed row is the sum over its single texts", async () => {
    const texts = [
      [3, 17, 9, 4, 30],
      [8, 8, 21],
      [5, 39, 1, 0, 2, 11],
    ];
    const [flat, segments] = [texts.flat(), texts.flatMap((text, i) => text.map(() => i))];
    const padded = (row: number[], by: number): Tensor =>
      tensor(Int32Array.from([...row, by, by]), { shape: [1, 16] });
    // Two places of padding, a segment of their own.
    const packed = model.lossParts(padded(flat, 0), padded(flat, -100), { segments: padded(segments, 7) });
    await evaluate(packed.sum, packed.count);
    let [sum, count] = [0, 0];
    for (const text of texts) {
      const one = model.lossParts(model.ids([text]), model.ids([text]));
      sum += await one.sum.item();
      count += await one.count.item();
    }
    expect(count).toBe(11);
    expect(await packed.count.item()).toBe(11);
    expect(Math.abs((await packed.sum.item()) - sum) / sum).toBeLessThan(1e-6);
  });

  test("a token of one segment does not see another", async () => {
    const segments = tensor(Int32Array.of(0, 0, 0, 1, 1, 1), { shape: [1, 6] });
    const logits = (ids: number[]): Promise<number[]> =>
      read(model.forward(model.ids([ids]), { segments }).slice([0, [3, 6], null]));
    expect(await logits([9, 9, 9, 4, 5, 6])).toEqual(await logits([1, 2, 3, 4, 5, 6]));
  });

  test("decoding over a cache gives the logits of the whole sequence", async () => {
    const ids = [3, 1, 4, 1, 5, 9, 2, 6];
    const whole = await read(model.forward(model.ids([ids])));
    const cache = model.newCache({ capacity: 12 });
    for (const [from, to] of [
      [0, 5],
      [5, 6],
      [6, 8],
    ] as const) {
      const part = model.forward(model.ids([ids.slice(from, to)]), { cache });
      await evaluate(part, ...cache.pending());
      cache.advance(to - from);
      for (const [i, y] of (await read(part)).entries()) expect(y).toBeCloseTo(whole[from * 40 + i]!, 4);
    }
  });

  test("the loss counts kept labels only, and is 0 without any", async () => {
    const ids = model.ids([[1, 2, 3, 4]]);
    const labels = (row: number[]): Tensor => tensor(Int32Array.from(row), { shape: [1, 4] });
    expect(await model.lossParts(ids, labels([1, -100, 3, 4])).count.item()).toBe(2);
    expect(await model.loss(ids, labels([-100, -100, -100, -100])).item()).toBe(0);
  });

  test("perplexity weighs every token alike and leaves the mode as it was", async () => {
    model.train();
    const rows = [
      [1, 2, 3, 4, 5, 6],
      [7, 8, 9],
    ].map((row) => model.ids([row]));
    const result = await perplexity(
      model,
      rows.map((ids) => ({ ids, labels: ids })),
    );
    const parts = rows.map((ids) => model.lossParts(ids, ids).sum);
    const sum = (await parts[0]!.item()) + (await parts[1]!.item());
    expect(result.count).toBe(7);
    expect(result.perplexity).toBeCloseTo(Math.exp(sum / 7), 3);
    expect(model.training).toBe(true);
    await expect(perplexity(model, [])).rejects.toThrow(/tokens to score/);
  });

  test("wrong ids, shapes and dtypes are refused in words", () => {
    expect(() => model.ids([[1, 40]])).toThrow(/token ids from 0 to 39, got 40 at place 1/);
    expect(() => model.ids([[1], [1, 2]])).toThrow(ShapeError);
    expect(() => model.forward(tensor([[1, 2]]))).toThrow(/dtype i32, got f32/);
    const ids = model.ids([[1, 2]]);
    expect(() => model.loss(ids, model.ids([[1]]))).toThrow(/labels of shape \[1, 2\]/);
    const cache = model.newCache({ capacity: 4 });
    expect(() => model.forward(ids, { cache, segments: ids })).toThrow(ConfigError);
  });
});
