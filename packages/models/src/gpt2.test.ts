import { key, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { bytesOf } from "../test/folder-bytes.js";
import { golden } from "../test/golden-files.js";
import { BatchGenerator } from "./batch-generator.js";
import { generate } from "./generate.js";
import { GPT2LMHeadModel } from "./gpt2.js";
import { gpt2ConfigJson, parseGPT2Config } from "./gpt2-config.js";
import { fromPretrained, pretrainedFiles } from "./pretrained.js";
import { encodeSafetensors } from "./safetensors-write.js";
import { storedTensor } from "./stored-tensor.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

describe("GPT-2", () => {
  test("parameters have the names and shapes of a Hugging Face checkpoint", () => {
    const model = new GPT2LMHeadModel(parseGPT2Config({ n_embd: 8, n_layer: 1, n_head: 2, vocab_size: 10 }));
    const shapes = Object.fromEntries([...model.state()].map(([name, p]) => [name, p.shape]));
    expect(shapes).toEqual({
      "transformer.wte.weight": [10, 8],
      "transformer.wpe.weight": [1024, 8],
      "transformer.h.0.ln_1.weight": [8],
      "transformer.h.0.ln_1.bias": [8],
      "transformer.h.0.attn.c_attn.weight": [8, 24],
      "transformer.h.0.attn.c_attn.bias": [24],
      "transformer.h.0.attn.c_proj.weight": [8, 8],
      "transformer.h.0.attn.c_proj.bias": [8],
      "transformer.h.0.ln_2.weight": [8],
      "transformer.h.0.ln_2.bias": [8],
      "transformer.h.0.mlp.c_fc.weight": [8, 32],
      "transformer.h.0.mlp.c_fc.bias": [32],
      "transformer.h.0.mlp.c_proj.weight": [32, 8],
      "transformer.h.0.mlp.c_proj.bias": [8],
      "transformer.ln_f.weight": [8],
      "transformer.ln_f.bias": [8],
    });
  });

  test("the first files, without the base's name and with masks as buffers, are read", async () => {
    const model = await fromPretrained(golden("gpt2"));
    const tensors = new Map(
      [...model.state()].map(([name, p]) => [name.replace("transformer.", ""), storedTensor(p)]),
    );
    for (const name of ["bias", "masked_bias"]) {
      tensors.set(`h.0.attn.${name}`, { dtype: "F32", shape: [1], data: new Float32Array(1) });
    }
    const files = await bytesOf(pretrainedFiles(model));
    const old = { ...files, "model.safetensors": await encodeSafetensors(tensors) };
    const again = await fromPretrained(old);
    const ids = model.ids([[3, 5, 7]]);
    expect(await again.forward(ids).data()).toEqual(await model.forward(ids).data());
  });

  test("what it writes it reads back, a random start included", async () => {
    const config = parseGPT2Config({
      n_embd: 8,
      n_layer: 2,
      n_head: 2,
      vocab_size: 10,
      n_inner: 20,
      n_positions: 6,
    });
    expect(parseGPT2Config(gpt2ConfigJson(config, "float32"))).toEqual(config);
    const model = new GPT2LMHeadModel(config, { key: key(1) }).eval();
    const again = await fromPretrained(await bytesOf(pretrainedFiles(model)));
    const ids = model.ids([[1, 2, 3, 4, 5, 6]]);
    const logits = await model.forward(ids).data();
    expect(new Set(logits).size).toBeGreaterThan(50);
    expect(await again.forward(ids).data()).toEqual(logits);
  });

  test("packed texts do not see each other", async () => {
    const model = await fromPretrained(golden("gpt2"));
    const segments = model.ids([[0, 0, 1, 1]]);
    const packed = await model.forward(model.ids([[3, 4, 5, 6]]), { segments }).data();
    const alone = await model.forward(model.ids([[5, 6]])).data();
    for (let i = 0; i < 80; i++) expect(packed[80 + i]).toBeCloseTo(alone[i]!, 5);
  });

  test("texts of a batch, each at a position of its own, are what they are alone", async () => {
    const model = await fromPretrained(golden("gpt2"));
    const batch = new BatchGenerator(model, { slots: 2, capacity: 32 });
    const ids = async (texts: AsyncIterable<number>): Promise<number[]> => {
      const made: number[] = [];
      for await (const id of texts) made.push(id);
      return made;
    };
    const prompts = [[3, 4, 5, 6, 7, 8, 9], [10], [11, 12, 13]];
    const request = { maxNewTokens: 8, greedy: true, stopIds: [] };
    const many = await Promise.all(prompts.map((prompt) => ids(batch.generate(prompt, request))));
    for (const [i, prompt] of prompts.entries()) {
      expect(many[i]).toEqual(await ids(generate(model, prompt, request)));
    }
    expect(new Set(many.flat()).size).toBeGreaterThan(2);
  });

  test.each([
    [{ n_embd: 10, n_head: 3 }, /n_embd to be a multiple of n_head \(3\)/],
    [{ activation_function: "mish" }, /activation_function to be one of gelu, .*, got "mish"/],
    [{ add_cross_attention: true }, /add_cross_attention to be false/],
    [{ resid_pdrop: 1 }, /resid_pdrop to be a number from 0 to below 1/],
  ])("refuses %o", (json, message) => {
    expect(() => parseGPT2Config(json)).toThrow(message);
  });
});
