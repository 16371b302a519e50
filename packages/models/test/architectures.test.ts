import { valueAndGrad } from "@lowrank/nn";
import { type Backend, defaultBackend, evaluate, setDefaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { beforeAll, describe, expect, test } from "vitest";
import { LlamaForCausalLM } from "../src/llama.js";
import { parseLlamaConfig } from "../src/llama-config.js";
import { fromPretrained } from "../src/pretrained.js";
import { generate } from "../src/generate.js";
import { expectNear, golden, readGoldens } from "./golden-files.js";

const BACKENDS: [string, () => Backend | Promise<Backend>][] = [
  ["reference", reference],
  ["wasm", defaultBackend],
];

// Sliding windows of the causal models are shorter than their texts.
describe.each(BACKENDS)("on %s", (_, backend) => {
  beforeAll(async () => setDefaultBackend(await backend()));

  describe.each(["mistral", "qwen2", "qwen3", "gpt2"])("%s agrees with Transformers", (name) => {
    test("in logits, to 1e-5", async () => {
      const want = await readGoldens(golden(`${name}/expected.safetensors`));
      const model = await fromPretrained(golden(name));
      await expectNear(model.forward(want.tensor("input_ids")), want.numbers("logits"), 1e-5, "logits");
    });

    test.each([false, true])("in loss and every gradient, checkpoint %s", async (checkpoint) => {
      const want = await readGoldens(golden(`${name}/expected.safetensors`));
      const model = await fromPretrained(golden(name));
      const [ids, labels] = [want.tensor("input_ids"), want.tensor("labels")];
      const { value, grads } = valueAndGrad(model, () => model.loss(ids, labels, { checkpoint }))();
      await evaluate(value, ...grads.values());
      await expectNear(value, want.numbers("loss"), 1e-5, "loss");
      const expected = want.names.filter((n) => n.startsWith("grad.")).map((n) => n.slice(5));
      expect([...grads.keys()].sort()).toEqual(expected.sort());
      for (const [path, g] of grads) await expectNear(g, want.numbers(`grad.${path}`), 1e-4, path);
    });

    test("a token at a time over a cache, and in greedy tokens", async () => {
      const want = await readGoldens(golden(`${name}/expected.safetensors`));
      const model = await fromPretrained(golden(name));
      const row = Array.from(await want.tensor("input_ids").slice([0, null]).data());
      const logits = want.numbers("logits");
      const vocab = model.config.vocabSize;
      const cache = model.newCache({ capacity: 16 });
      for (const [from, to] of [
        [0, 5],
        [5, 6],
        [6, 7],
        [7, 12],
      ] as const) {
        const part = model.forward(model.ids([row.slice(from, to)]), { cache });
        await evaluate(part, ...cache.pending());
        cache.advance(to - from);
        await expectNear(part, logits.slice(from * vocab, to * vocab), 1e-5, `tokens ${from} to ${to}`);
      }
      const made: number[] = [];
      for await (const id of generate(model, row, { greedy: true, maxNewTokens: 12, stopIds: [] }))
        made.push(id);
      expect(made).toEqual(want.numbers("greedy"));
    });
  });

  test("every kind of rotary scaling agrees with Transformers to 1e-5, over a cache of that length too", async () => {
    const want = await readGoldens(golden("rope-variants/expected.safetensors"));
    const weights = (await fromPretrained(golden("rope-variants"))).state();
    const ids = want.tensor("input_ids");
    const variants = want.names.filter((n) => n.endsWith(".config")).map((n) => n.slice(0, -7));
    expect(variants.length).toBe(10);
    for (const variant of variants) {
      const json = JSON.parse(new TextDecoder().decode(Uint8Array.from(want.numbers(`${variant}.config`))));
      const model = new LlamaForCausalLM(parseLlamaConfig(json));
      model.loadState(weights);
      const expected = want.numbers(`${variant}.logits`);
      await expectNear(model.forward(ids), expected, 1e-5, variant);
      const cache = model.newCache({ capacity: 20 });
      for (const [from, to] of [
        [0, 12],
        [12, 20],
      ] as const) {
        const part = model.forward(ids.slice([null, [from, to]]), { cache });
        await evaluate(part, ...cache.pending());
        cache.advance(to - from);
        await expectNear(part, expected.slice(from * 40, to * 40), 1e-5, `${variant} over a cache`);
      }
    }
  });
});
