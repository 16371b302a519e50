import { fileURLToPath } from "node:url";
import { key, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { LlamaForCausalLM } from "./llama.js";
import { parseLlamaConfig } from "./llama-config.js";
import { perplexity } from "./perplexity.js";
import { classifyByContinuation, scoreContinuations } from "./score-continuations.js";
import { scoreTokens } from "./score-tokens.js";
import { slidingWindows } from "./sliding-windows.js";
import { generateText } from "./stream-text.js";
import { loadTokenizer, type Tokenizer } from "./tokenizer.js";

const quickstart = fileURLToPath(new URL("../../../examples/quickstart/model", import.meta.url));
const model = new LlamaForCausalLM(
  parseLlamaConfig({
    vocab_size: 4096,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 400,
    initializer_range: 0.3,
  }),
  { key: key(3) },
);

let tokenizer: Tokenizer;
beforeAll(async () => {
  setDefaultBackend(await testBackend());
  tokenizer = await loadTokenizer(quickstart);
});

/** log p of the tokens of a whole text from the place `from` on, and the likeliest tokens there, by one plain pass. */
async function plain(ids: readonly number[], from: number) {
  const logits = await model.forward(model.ids([ids])).data();
  return ids.slice(from).map((id, i) => {
    const row = Array.from(logits.slice((from + i - 1) * 4096, (from + i) * 4096));
    const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
    return { logprob: row[id]! - total, likeliest: row.indexOf(Math.max(...row)) };
  });
}

describe("scoreTokens", () => {
  const some = (n: number, from: number): number[] =>
    Array.from({ length: n }, (_, i) => (from + i * 37) % 4000);

  test.each([1, 3, 8])(
    "in batches of %i gives what each text gives by itself, in their order",
    async (batch) => {
      const long = some(300, 5);
      const texts = [
        { prompt: some(3, 1), continuation: some(7, 2) },
        { prompt: long, continuation: [5] },
        { prompt: some(40, 9), continuation: some(20, 4) },
        { prompt: long, continuation: some(30, 3) },
        { prompt: long, continuation: some(4, 8) },
        { prompt: some(3, 1), continuation: [9] },
        { prompt: [1], continuation: some(399, 0) },
      ];
      const scores = await scoreTokens(model, texts, { batch });
      expect(scores).toHaveLength(texts.length);
      for (const [i, { prompt, continuation }] of texts.entries()) {
        const wanted = await plain([...prompt, ...continuation], prompt.length);
        expect(scores[i]!.ids).toEqual(continuation);
        expect(scores[i]!.logprobs).toEqual(wanted.map((w) => expect.closeTo(w.logprob, 3)));
        expect(scores[i]!.logprob).toBeCloseTo(
          wanted.reduce((sum, w) => sum + w.logprob, 0),
          1,
        );
        expect(scores[i]!.isGreedy).toBe(wanted.every((w, j) => w.likeliest === continuation[j]));
      }
    },
  );

  test.each([
    [{ prompt: [], continuation: [1] }, /text 0: expected a prompt of at least one token/],
    [{ prompt: [1], continuation: [] }, /a continuation of at least one token/],
    [{ prompt: [1], continuation: [4096] }, /token ids from 0 to 4095/],
    [{ prompt: some(200, 0), continuation: some(202, 0) }, /at most 401 tokens/],
  ])("refuses %o", async (text, message) => {
    await expect(scoreTokens(model, [text])).rejects.toThrow(message);
  });

  test("an aborted signal ends it", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(scoreTokens(model, [{ prompt: [1], continuation: [2] }], { signal })).rejects.toThrow(
      "enough",
    );
  });
});

describe("scoreContinuations", () => {
  test("what the model itself would write is greedy, and what it would not is not", async () => {
    const prompt = "the captain of the ship and the whale in the sea, and then ";
    const { ids } = await generateText(model, tokenizer, prompt, {
      greedy: true,
      maxNewTokens: 3,
      stopIds: [],
    });
    const start = tokenizer.encode(prompt);
    const [made, other] = await scoreTokens(model, [
      { prompt: start, continuation: ids },
      { prompt: start, continuation: [...ids.slice(0, -1), ids.at(-1) === 7 ? 8 : 7] },
    ]);
    expect([made!.isGreedy, other!.isGreedy]).toEqual([true, false]);
    expect(made!.logprob).toBeGreaterThan(other!.logprob);
  });

  test("prompt and continuation are tokenized as one text", async () => {
    const [whole, inside, empty] = await scoreContinuations(model, tokenizer, [
      { prompt: "the white", continuation: " whale" },
      { prompt: "the white w", continuation: "hale" },
      { prompt: "", continuation: "the white whale" },
    ]);
    const all = tokenizer.encode("the white whale");
    const before = tokenizer.encode("the white");
    expect(whole!.ids).toEqual(all.slice(before.length));
    expect(whole!.logprobs).toEqual(
      (await plain(all, before.length)).map((w) => expect.closeTo(w.logprob, 3)),
    );
    expect(inside!.ids).toEqual(all.slice(before.length)); // the token across the border is the continuation's
    expect(inside!.logprob).toBeCloseTo(whole!.logprob, 4);
    expect(empty!.ids).toEqual(all.slice(1)); // behind the token that begins a text
  });

  test("classification takes the likeliest label", async () => {
    const prompts = ["the whale was", "the sea of the captain and his crew, who sailed for oil, was"];
    const labels = [" white", " the great black ship", " old"];
    const found = await classifyByContinuation(model, tokenizer, prompts, labels);
    expect(found).toHaveLength(2);
    for (const [p, { label, index, probabilities, scores }] of found.entries()) {
      const alone = await scoreContinuations(
        model,
        tokenizer,
        labels.map((continuation) => ({ prompt: prompts[p]!, continuation })),
      );
      const values = alone.map((s) => s.logprob);
      expect(index).toBe(values.indexOf(Math.max(...values)));
      expect(label).toBe(labels[index]);
      expect(scores.map((s) => s.logprob)).toEqual(values.map((v) => expect.closeTo(v, 3)));
      expect(probabilities.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 10);
      expect(Math.log(probabilities[0]! / probabilities[2]!)).toBeCloseTo(values[0]! - values[2]!, 2);
    }
    const [mean] = await classifyByContinuation(model, tokenizer, prompts.slice(1), labels, {
      compare: "mean",
    });
    expect(Math.log(mean!.probabilities[1]! / mean!.probabilities[2]!)).toBeCloseTo(
      mean!.scores[1]!.logprob / mean!.scores[1]!.ids.length -
        mean!.scores[2]!.logprob / mean!.scores[2]!.ids.length,
      2,
    );
    await expect(classifyByContinuation(model, tokenizer, prompts, [" one"])).rejects.toThrow(
      /two labels or more/,
    );
  });
});

describe("slidingWindows", () => {
  const ids = Array.from({ length: 150 }, (_, i) => (i * 37 + (i % 5)) % 4000);

  test.each([
    [{ length: 40, stride: 16 }],
    [{ length: 40, stride: 39, batch: 3 }],
    [{ length: 150, stride: 10 }],
    [{ length: 64 }],
    [{}],
  ])("%o: each token but the first counts once, with what its window shows it before", async (options) => {
    const { length = 400, stride = Math.floor(length / 2) } = options as { length?: number; stride?: number };
    let sum = 0;
    for (let [from, scored] = [0, 1]; scored < ids.length; from += stride) {
      const window = ids.slice(from, from + length);
      for (const { logprob } of await plain(window, scored - from)) sum -= logprob;
      scored = from + window.length;
    }
    const got = await perplexity(model, slidingWindows(model, ids, options));
    expect(got.count).toBe(149);
    expect(got.sum).toBeCloseTo(sum, 1);
  });

  test.each([
    [{ length: 401 }, /length to be an integer from 2 to 400/],
    [{ length: 8, stride: 8 }, /stride to be an integer from 1 to 7/],
    [{ batch: 0 }, /batch to be an integer of at least 1/],
  ])("refuses %o", (options, message) => {
    expect(() => [...slidingWindows(model, ids, options)]).toThrow(message);
  });
});
