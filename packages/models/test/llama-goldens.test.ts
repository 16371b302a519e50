import { valueAndGrad } from "@lowrank/nn";
import { evaluate, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { generate } from "../src/generate.js";
import { fromPretrained } from "../src/pretrained.js";
import { testBackend } from "./backend.js";
import { expectNear, golden, readGoldens } from "./golden-files.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

// llama-tied has another rotary base besides; llama-scaled biases, wider heads and the rotary scaling of Llama 3.1.
describe.each(["llama-untied", "llama-tied", "llama-scaled"])("%s, against PyTorch", (name) => {
  const load = async () => {
    const { names, numbers: want, tensor } = await readGoldens(golden(`${name}/expected.safetensors`));
    const model = await fromPretrained(golden(name));
    return { model, want, ids: tensor("input_ids"), labels: tensor("labels"), names };
  };

  test("logits agree to 1e-5", async () => {
    const { model, want, ids } = await load();
    // The second row is padded at its end: with a causal mask that changes nothing before, so those rows are compared.
    const logits = model.forward(ids);
    const wanted = want("logits");
    const rows = (from: number, to: number): number[] => wanted.slice(from * 64, to * 64);
    await expectNear(logits.slice([0, null, null]), rows(0, 12), 1e-5, "first row");
    await expectNear(logits.slice([1, [0, 9], null]), rows(12, 21), 1e-5, "second row");
  });

  test.each([{}, { checkpoint: true }, { lossRows: 5 }])(
    "loss and every gradient agree to 1e-4 with %o",
    async (options) => {
      const { model, want, ids, labels, names } = await load();
      const { value, grads } = valueAndGrad(model, () => model.loss(ids, labels, options))();
      await evaluate(value, ...grads.values());
      await expectNear(value, want("loss"), 1e-5, "loss");
      const expected = names.filter((n) => n.startsWith("grad.")).map((n) => n.slice(5));
      expect([...grads.keys()].sort()).toEqual(expected.sort());
      for (const [path, g] of grads) await expectNear(g, want(`grad.${path}`), 1e-4, path);
    },
  );

  test("greedy generation over the cache gives the same tokens", async () => {
    const { model, want, ids } = await load();
    const prompt = Array.from(await ids.slice([0, null]).data());
    const made: number[] = [];
    for await (const id of generate(model, prompt, { greedy: true, maxNewTokens: 16, stopIds: [] }))
      made.push(id);
    expect(made).toEqual(want("greedy"));
  });
});
