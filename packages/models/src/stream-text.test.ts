import { fileURLToPath } from "node:url";
import { key, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { generate } from "./generate.js";
import { GenerationContext } from "./generation-context.js";
import { LlamaForCausalLM } from "./llama.js";
import { parseLlamaConfig } from "./llama-config.js";
import { chat, chatIds, generateText, streamText } from "./stream-text.js";
import { loadTokenizer, type Tokenizer } from "./tokenizer.js";

const quickstart = fileURLToPath(new URL("../../../examples/quickstart/model", import.meta.url));
const model = new LlamaForCausalLM(
  parseLlamaConfig({
    vocab_size: 4096,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 1200,
    initializer_range: 0.3,
    eos_token_id: 1,
  }),
  { key: key(3) },
);

let tokenizer: Tokenizer;
beforeAll(async () => {
  setDefaultBackend(await testBackend());
  tokenizer = await loadTokenizer(quickstart, {
    chatTemplate:
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
  });
});

async function pieces(run: AsyncGenerator<string, unknown>): Promise<string[]> {
  const all: string[] = [];
  for await (const piece of run) all.push(piece);
  return all;
}

describe("streamText", () => {
  const options = { maxNewTokens: 24, temperature: 1.5, seed: 2, stopIds: [] };

  test("gives the text of the tokens that generate gives", async () => {
    const ids: number[] = [];
    for await (const id of generate(model, tokenizer.encode("the whale"), options)) ids.push(id);
    const whole = await generateText(model, tokenizer, "the whale", options);
    expect(whole).toMatchObject({
      ids,
      reason: "length",
      promptTokens: tokenizer.encode("the whale").length,
    });
    expect(whole.text).toBe(
      tokenizer.decode([...tokenizer.encode("the whale"), ...ids]).slice("the whale".length),
    );
    expect((await pieces(streamText(model, tokenizer, "the whale", options))).join("")).toBe(whole.text);
  });

  test("ends before a stop text that spans tokens", async () => {
    const { text } = await generateText(model, tokenizer, "the whale", options);
    const stop = text.slice(9, 14);
    const cut = await generateText(model, tokenizer, "the whale", { ...options, stop: ["never so", stop] });
    expect(cut).toMatchObject({ text: text.slice(0, text.indexOf(stop)), reason: "stop" });
    expect(cut.ids.length).toBeLessThan(24);
  });

  test("begins an empty prompt with the token that begins a text", async () => {
    expect((await generateText(model, tokenizer, "", options)).promptTokens).toBe(1);
  });

  test("log p of its tokens are those of the whole text at once, and the likeliest come first", async () => {
    const { ids, tokens } = await generateText(model, tokenizer, "the whale", { ...options, logprobs: 3 });
    const prompt = tokenizer.encode("the whale");
    const all = [...prompt, ...ids];
    const logits = await model.forward(model.ids([all])).data();
    expect(tokens).toHaveLength(ids.length);
    for (const [i, token] of tokens!.entries()) {
      const row = Array.from(logits.slice((prompt.length + i - 1) * 4096, (prompt.length + i) * 4096));
      const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
      expect(token.id).toBe(ids[i]);
      expect(token.logprob).toBeCloseTo(row[token.id]! - Math.log(total), 4);
      const sorted = row.toSorted((a, b) => b - a);
      expect(token.top.map((t) => t.logprob)).toEqual(
        sorted.slice(0, 3).map((x) => expect.closeTo(x - Math.log(total), 4)),
      );
    }
  });

  test("a reader that leaves early ends it, and its context can be used again", async () => {
    const context = new GenerationContext(model);
    for await (const piece of streamText(model, tokenizer, "the whale", { ...options, context })) {
      if (piece !== "") break;
    }
    const again = await generateText(model, tokenizer, "the whale", { ...options, context });
    expect(again).toEqual(await generateText(model, tokenizer, "the whale", options));
  });
});

describe("a context", () => {
  const options = { greedy: true, maxNewTokens: 6, stopIds: [] };

  test("the turns of a conversation give what each gives by itself, and read only what is new", async () => {
    const context = new GenerationContext(model);
    const messages = [{ role: "user", content: "Who was the captain of the ship? ".repeat(20) }];
    for (const next of ["And the whale?", "Where is the sea?"]) {
      const before = context.ids.length;
      const text = (await pieces(chat(model, tokenizer, messages, { ...options, context }))).join("");
      const alone = (await pieces(chat(model, tokenizer, messages, options))).join("");
      expect(text).toBe(alone);
      const ids = chatIds(tokenizer, messages);
      const held = context.ids.slice(0, ids.length);
      expect(held).toEqual(ids);
      if (before > 0) expect(before).toBeGreaterThan(150);
      messages.push({ role: "assistant", content: text }, { role: "user", content: next });
    }
  });

  test("reads on from where two texts part", async () => {
    const ids = Array.from({ length: 300 }, (_, i) => (i * 37) % 4000);
    const other = [...ids.slice(0, 290), 5, 6, 7];
    const context = new GenerationContext(model);
    await context.read(ids);
    const shorter = await context.read(ids.slice(0, 280));
    const [parted, whole] = [await context.read(other), await model.forward(model.ids([other])).data()];
    expect(context.ids).toEqual(other);
    for (let i = 0; i < 4096; i += 17) expect(parted[i]).toBeCloseTo(whole[292 * 4096 + i]!, 4);
    const cut = await model.forward(model.ids([ids.slice(0, 280)])).data();
    for (let i = 0; i < 4096; i += 17) expect(shorter[i]).toBeCloseTo(cut[279 * 4096 + i]!, 4);
  });

  test.each(["f32", "f16"] as const)("in %s grows over 1,000 tokens and forgets nothing", async (dtype) => {
    const context = new GenerationContext(model, { dtype });
    const ids = Array.from({ length: 1000 }, (_, i) => (i * 37 + (i % 7)) % 4000);
    await context.read(ids.slice(0, 20));
    const small = context.sizeBytes;
    const logits = await context.read(ids);
    expect(context.sizeBytes).toBe(4 * small);
    expect(small).toBe(256 * 2 * 2 * 16 * (dtype === "f16" ? 2 : 4));
    const whole = await model.forward(model.ids([ids])).data();
    let worst = 0;
    for (let i = 0; i < 4096; i++) worst = Math.max(worst, Math.abs(logits[i]! - whole[999 * 4096 + i]!));
    expect(worst).toBeLessThan(dtype === "f16" ? 2e-2 : 1e-4);
  });

  test("an aborted read leaves what was read, and is read on", async () => {
    const context = new GenerationContext(model);
    const ids = Array.from({ length: 600 }, (_, i) => (i * 37) % 4000);
    const controller = new AbortController();
    const run = context.read(ids, controller.signal);
    controller.abort(new Error("enough"));
    await expect(run).rejects.toThrow("enough");
    expect(context.ids.length).toBeLessThanOrEqual(256);
    expect(await context.read(ids)).toEqual(await new GenerationContext(model).read(ids));
  });

  test("serves one generation at a time, of its own model", async () => {
    const context = new GenerationContext(model);
    const [first, second] = [context.read([1, 2, 3]), context.read([1, 2])];
    await expect(second).rejects.toThrow(/a context that no other generation uses meanwhile/);
    await first;
    const other = new LlamaForCausalLM(model.config, { key: key(1) });
    await expect(generateText(other, tokenizer, "a", { context })).rejects.toThrow(
      /a context of the same model/,
    );
  });
});
