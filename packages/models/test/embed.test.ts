import { readFileSync } from "node:fs";
import { setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { embed, embedTokens, encodeCut, pool } from "../src/embed.js";
import { modelFromPretrained } from "../src/model-from-pretrained.js";
import { loadSentenceConfig, type Pooling } from "../src/sentence-config.js";
import { loadTokenizer } from "../src/tokenizer.js";
import { testBackend } from "./backend.js";
import { golden } from "./golden-files.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** A tokenizer of letters: [CLS] a b c [SEP] as 1, 3 .. 28, 2. */
const letters = {
  encode(text: string, { addSpecialTokens = true } = {}): number[] {
    const ids = Array.from(text, (c) => 3 + (c.charCodeAt(0) - 97));
    return addSpecialTokens ? [1, ...ids, 2] : ids;
  },
};
const tiny = () => modelFromPretrained(golden("bert"), { task: "feature-extraction" });
const near = (a: ArrayLike<number>, b: ArrayLike<number>): void => {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) expect(a[i]).toBeCloseTo(b[i]!, 5);
};

describe("embed", () => {
  const texts = ["abc", "z", "", "hello", "abcdefghijkl", "b", "lowrank"];

  test("gives vectors in the order of the texts, whatever the batches", async () => {
    const model = await tiny();
    const all = await embed(model, letters, texts);
    const pairs = await embed(model, letters, texts, { batchSize: 2 });
    for (const [i, text] of texts.entries()) {
      const [one] = await embed(model, letters, [text]);
      expect(one!.length).toBe(16);
      near(all[i]!, one!);
      near(pairs[i]!, one!);
      expect(Math.hypot(...one!)).toBeCloseTo(1, 5);
    }
    expect(await embed(model, letters, [])).toEqual([]);
  });

  test.each(["mean", "cls", "max", "mean_sqrt_len_tokens"] as Pooling[])(
    "%s is over the text's own tokens",
    async (pooling) => {
      const model = await tiny();
      const hidden = await model.forward(model.batch([letters.encode("abc")]).ids).data(); // [1, 5, 16]
      const wanted = Array.from({ length: 16 }, (_, i) => {
        const column = [0, 1, 2, 3, 4].map((t) => hidden[t * 16 + i]!);
        const sum = column.reduce((a, b) => a + b, 0);
        if (pooling === "cls") return column[0]!;
        if (pooling === "max") return Math.max(...column);
        return sum / (pooling === "mean" ? 5 : Math.sqrt(5));
      });
      const [vector] = await embed(model, letters, ["abc", "abcdefgh"], { pooling, normalize: false });
      near(vector!, wanted);
      // Written out once more with padding in the batch.
      const { ids, attentionMask } = model.batch([letters.encode("abc")], 9);
      near(await pool(model.forward(ids, { attentionMask }), attentionMask, pooling).data(), wanted);
    },
  );

  test("long texts are cut inside the tokens around them", async () => {
    const model = await tiny();
    const cut = await embed(model, letters, ["abcdefgh"], { maxLength: 5 });
    const [short] = await embed(model, letters, ["abc"]);
    near(cut[0]!, short!);
    const most = await embed(model, letters, ["a".repeat(50)]);
    near(most[0]!, (await embed(model, letters, ["a".repeat(14)]))[0]!);
  });

  test("rows of token ids give what their texts give, in batches that may be kept apart", async () => {
    const model = await tiny();
    const rows = texts.map((text) => encodeCut(letters, text, 16));
    let batches = 0;
    const runBatch = <T>(work: () => Promise<T>): Promise<T> => {
      batches++;
      return work();
    };
    const vectors = await embedTokens(model, rows, { batchSize: 3, runBatch });
    expect(vectors).toEqual(await embed(model, letters, texts, { batchSize: 3 }));
    expect(batches).toBe(3);
    await expect(embedTokens(model, [new Array<number>(17).fill(4)])).rejects.toThrow(/1 to 16 tokens/);
  });

  test("a wrong batch size and a signal end it before any work", async () => {
    const model = await tiny();
    await expect(embed(model, letters, ["a"], { batchSize: 0 })).rejects.toThrow(
      /batchSize of at least 1, got 0/,
    );
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(embed(model, letters, ["a"], { signal })).rejects.toThrow("enough");
  });
});

describe("loadSentenceConfig", () => {
  const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  const modules = (...kinds: string[]): Uint8Array =>
    json(
      kinds.map((kind, i) => ({
        type: `sentence_transformers.models.${kind}`,
        path: i === 0 ? "" : `${i}_${kind}`,
      })),
    );

  test("reads what sentence-transformers writes", async () => {
    const files = {
      "modules.json": modules("Transformer", "Pooling"),
      "1_Pooling/config.json": json({ pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }),
      "sentence_bert_config.json": json({ max_seq_length: 384 }),
    };
    expect(await loadSentenceConfig(files)).toEqual({ pooling: "cls", normalize: false, maxLength: 384 });
    const named = { ...files, "1_Pooling/config.json": json({ pooling_mode: "max" }) };
    expect((await loadSentenceConfig(named)).pooling).toBe("max");
  });

  test("a folder without such files has mean pooling and length 1", async () => {
    expect(await loadSentenceConfig({})).toEqual({ pooling: "mean", normalize: true, maxLength: undefined });
  });

  test.each([
    [
      { "modules.json": modules("Transformer", "Pooling", "Dense") },
      /Transformer, Pooling and Normalize, got Dense/,
    ],
    [{ "modules.json": json({}) }, /expected a list/],
    [{ "modules.json": json([1]) }, /steps with type and path/],
    [
      { "1_Pooling/config.json": json({ pooling_mode_lasttoken: true }) },
      /pooling_mode_lasttoken to be false/,
    ],
    [{ "1_Pooling/config.json": json({}) }, /pooling_mode_mean_tokens to be the only kind/],
    [{ "1_Pooling/config.json": json({ pooling_mode: "attention" }) }, /pooling_mode to be one of mean, cls/],
    [
      { "1_Pooling/config.json": json({ pooling_mode_max_tokens: true, pooling_mode_mean_tokens: true }) },
      /the only kind of pooling/,
    ],
    [{ "modules.json": json([{ type: "x.Pooling", path: "../up" }]) }, /\.\./],
  ])("refuses %#", async (files, message) => {
    await expect(loadSentenceConfig(files as Record<string, Uint8Array>)).rejects.toThrow(message);
  });
});

describe.skipIf(noTestModels !== null)("all-MiniLM-L6-v2", () => {
  test("vectors agree with Transformers to 1e-5", async () => {
    const want: { texts: string[]; lengths: number[]; vectors: string } = JSON.parse(
      readFileSync(golden("sentences.json"), "utf8"),
    );
    const folder = testModel("all-MiniLM-L6-v2");
    const tokenizer = await loadTokenizer(folder);
    const model = await modelFromPretrained(folder, { task: "feature-extraction" });
    const config = await loadSentenceConfig(folder);
    expect(config).toEqual({ pooling: "mean", normalize: true, maxLength: 256 });
    expect(want.texts.map((text) => Math.min(tokenizer.encode(text).length, 256))).toEqual(want.lengths);
    const bytes = Buffer.from(want.vectors, "base64");
    const wanted = new Float32Array(
      bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength),
    );
    const vectors = await embed(model, tokenizer, want.texts, { ...config, batchSize: 4 });
    let worst = 0;
    for (const [r, vector] of vectors.entries()) {
      for (const [i, x] of vector.entries()) worst = Math.max(worst, Math.abs(x - wanted[r * 384 + i]!));
    }
    expect(worst).toBeLessThan(1e-5);
  });
});
