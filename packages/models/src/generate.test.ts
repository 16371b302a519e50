import { type GenerateOptions, generate, LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { key, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const model = new LlamaForCausalLM(
  parseLlamaConfig({
    vocab_size: 30,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 600,
    initializer_range: 0.4,
    eos_token_id: 29,
  }),
  { key: key(3) },
);

async function made(prompt: number[], options: GenerateOptions): Promise<{ ids: number[]; reason: string }> {
  const ids: number[] = [];
  const run = generate(model, prompt, options);
  for (;;) {
    const next = await run.next();
    if (next.done) return { ids, reason: next.value };
    ids.push(next.value);
  }
}

describe("generate", () => {
  test("the same seed gives the same tokens, another seed others", async () => {
    const options = { maxNewTokens: 12, stopIds: [], temperature: 2 };
    const first = await made([1, 2, 3], { ...options, seed: 5 });
    expect(first.ids.length).toBe(12);
    expect(first.reason).toBe("length");
    expect(await made([1, 2, 3], { ...options, seed: 5 })).toEqual(first);
    expect(await made([1, 2, 3], { ...options, seed: 6 })).not.toEqual(first);
  });

  test("greedy tokens are the likeliest of the whole sequence run at once, over prompts of several chunks", async () => {
    for (const length of [1, 17, 256, 300]) {
      const prompt = Array.from({ length }, (_, i) => (i * 7) % 29);
      const { ids } = await made(prompt, { greedy: true, maxNewTokens: 4, stopIds: [] });
      const all = [...prompt, ...ids];
      const logits = await model.forward(model.ids([all])).data();
      const likeliest = (at: number): number => {
        const row = Array.from(logits.slice(at * 30, at * 30 + 30));
        return row.indexOf(Math.max(...row));
      };
      expect(ids).toEqual([0, 1, 2, 3].map((i) => likeliest(length - 1 + i)));
    }
  });

  test("ends at a stop token without giving it out, and where stopWhen says so", async () => {
    const { ids } = await made([4], { greedy: true, maxNewTokens: 8, stopIds: [] });
    const stop = ids.findIndex((id, i) => i > 0 && !ids.slice(0, i).includes(id));
    const cut = Math.max(stop, 0);
    expect(await made([4], { greedy: true, maxNewTokens: 8, stopIds: [ids[cut]!] })).toEqual({
      ids: ids.slice(0, cut),
      reason: "stop",
    });
    const two = await made([4], {
      greedy: true,
      maxNewTokens: 8,
      stopIds: [],
      stopWhen: (fresh) => fresh.length === 2,
    });
    expect(two).toEqual({ ids: ids.slice(0, 2), reason: "stop" });
  });

  test("an aborted signal ends it with the signal's reason", async () => {
    const controller = new AbortController();
    const run = generate(model, [1], { maxNewTokens: 100, stopIds: [], signal: controller.signal });
    await run.next();
    controller.abort(new Error("enough"));
    await expect(run.next()).rejects.toThrow("enough");
  });

  test("stops at the model's last position", async () => {
    const prompt = new Array<number>(597).fill(1);
    expect(await made(prompt, { greedy: true, maxNewTokens: 50, stopIds: [] })).toMatchObject({
      reason: "length",
    });
    await expect(made(new Array<number>(600).fill(1), {})).rejects.toThrow(
      /shorter than the model's 600 positions/,
    );
  });

  test.each([
    [[], {}, /a prompt of at least one token/],
    [[30], {}, /token ids from 0 to 29/],
    [[1], { maxNewTokens: 0 }, /maxNewTokens/],
    [[1], { topP: 2 }, /topP/],
  ])("refuses prompt %o with %o", async (prompt, options, message) => {
    await expect(made(prompt, options)).rejects.toThrow(message);
  });
});
