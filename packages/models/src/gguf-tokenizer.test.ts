import { readFileSync } from "node:fs";
import { type GgufValue, loadTokenizer } from "@lowrank/models";
import { describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { golden } from "../test/golden-files.js";
import { tokenizerFiles } from "./gguf-tokenizer.js";
import { scoredMerges } from "./scored-merges.js";

interface Row {
  text: string;
  ids: number[];
}

const strings = (...value: string[]): GgufValue => ({ type: "array", of: "string", value });
const text = (value: string): GgufValue => ({ type: "string", value });
const number = (value: number): GgufValue => ({ type: "u32", value });

const bytes = new Map<string, GgufValue>([
  ["tokenizer.ggml.model", text("gpt2")],
  ["tokenizer.ggml.pre", text("gpt-2")],
  ["tokenizer.ggml.tokens", strings("<s>", "</s>", "a", "b", "ab", "Ġ", "Ġab", "<tool>")],
  ["tokenizer.ggml.token_type", { type: "array", of: "i32", value: [3, 3, 1, 1, 1, 1, 1, 4] }],
  ["tokenizer.ggml.merges", strings("a b", "Ġ ab")],
  ["tokenizer.ggml.bos_token_id", number(0)],
  ["tokenizer.ggml.eos_token_id", number(1)],
]);

const load = (metadata: ReadonlyMap<string, GgufValue>) => {
  const files = [...tokenizerFiles({ name: "test.gguf", metadata })];
  return loadTokenizer(
    Object.fromEntries(files.map(([name, body]) => [name, new TextEncoder().encode(body)])),
  );
};
const changed = (...entries: [string, GgufValue][]) => new Map([...bytes, ...entries]);

describe("byte-level BPE from metadata", () => {
  test("tokens, merges, ends and added tokens are those of the file", async () => {
    const tokenizer = await load(bytes);
    expect(tokenizer.encode("ab ab")).toEqual([4, 6]);
    expect(tokenizer.encode("a<s>b<tool>")).toEqual([2, 0, 3, 7]);
    expect([...tokenizer.specialIds]).toEqual([0, 1]);
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([0, 1, undefined]);
    expect(tokenizer.decode([0, 4, 6, 7])).toBe("ab ab<tool>");
  });

  test("a file says whether a text begins and ends with a token, and else its kind does", async () => {
    const yes: GgufValue = { type: "bool", value: true };
    const both = changed(["tokenizer.ggml.add_bos_token", yes], ["tokenizer.ggml.add_eos_token", yes]);
    expect((await load(both)).encode("a")).toEqual([0, 2, 1]);
    expect((await load(both)).encode("a", { addSpecialTokens: false })).toEqual([2]);
    expect((await load(changed(["tokenizer.ggml.pre", text("llama-bpe")]))).encode("a")).toEqual([0, 2]);
  });

  test("what is missing or not known is named", () => {
    const files =
      (...entries: [string, GgufValue][]) =>
      () =>
        tokenizerFiles({ name: "test.gguf", metadata: changed(...entries) });
    expect(files(["tokenizer.ggml.pre", text("tekken")])).toThrow(
      /test.gguf: expected tokenizer.ggml.pre to be one of gpt-2, .*, got "tekken"/,
    );
    expect(files(["tokenizer.ggml.model", text("bert")])).toThrow(
      'tokenizer.ggml.model to be "gpt2" or "llama"',
    );
    expect(files(["tokenizer.ggml.bos_token_id", number(8)])).toThrow(
      "below 8, the number of tokens, got 8 of type u32",
    );
    expect(files(["tokenizer.ggml.token_type", { type: "array", of: "i32", value: [1] }])).toThrow(
      "of 8 numbers",
    );
    expect(files(["tokenizer.ggml.tokens", strings("a", "a")])).toThrow('"a" at 0 and 1');
    expect(files(["tokenizer.ggml.tokens", text("a")])).toThrow("to be an array of strings");
  });

  test("merges that are none of two tokens are refused", async () => {
    await expect(load(changed(["tokenizer.ggml.merges", strings("ab")]))).rejects.toThrow("merge 0");
    await expect(load(changed(["tokenizer.ggml.merges", strings("a c")]))).rejects.toThrow("merge 0");
  });
});

// Of "abc" both cuts are known; "ab" has the higher score and merges first.
test("the pieces of SentencePiece merge in the order of their scores", async () => {
  const pieces = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "c", "ab", "bc", "abc", "▁ab"];
  const scores = [0, 0, 0, 0, 0, -9, -9, -9, -9, -1, -2, -3, -4];
  expect(scoredMerges(pieces, scores)).toEqual([
    ["a", "b"],
    ["b", "c"],
    ["ab", "c"],
    ["a", "bc"],
    ["▁", "ab"],
  ]);
  const metadata = new Map<string, GgufValue>([
    ["tokenizer.ggml.model", text("llama")],
    ["tokenizer.ggml.tokens", strings(...pieces)],
    ["tokenizer.ggml.scores", { type: "array", of: "f32", value: Float32Array.from(scores) }],
    [
      "tokenizer.ggml.token_type",
      { type: "array", of: "i32", value: [2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1] },
    ],
    ["tokenizer.ggml.bos_token_id", number(1)],
    ["tokenizer.ggml.eos_token_id", number(2)],
  ]);
  const tokenizer = await load(metadata);
  expect(tokenizer.encode("ab abc")).toEqual([1, 12, 5, 11]);
  expect(tokenizer.encode("é")).toEqual([1, 5, 3, 4]);
  expect(tokenizer.decode([1, 12, 5, 11, 3, 4])).toBe("ab abcé");
});

describe.skipIf(noTestModels !== null)("SmolLM2's tokenizer in its GGUF file", () => {
  test("gives the ids of Transformers and goes back to the text", async () => {
    const tokenizer = await loadTokenizer(testModel("SmolLM2-135M-Instruct.Q4_1.gguf"));
    const { rows } = JSON.parse(readFileSync(golden("smollm2-tokens.json"), "utf8")) as { rows: Row[] };
    for (const { text: input, ids } of rows) {
      expect(tokenizer.encode(input), JSON.stringify(input)).toEqual(ids);
      expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(input);
    }
    // Every number of Unicode is set apart: ids of llama.cpp.
    expect(tokenizer.encode("½ ² Ⅷ ٣ 五")).toEqual([
      16738, 216, 19133, 216, 173, 223, 117, 216, 164, 113, 216, 16736, 238,
    ]);
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.unkId, tokenizer.padId]).toEqual([1, 2, 0, 2]);
    expect(tokenizer.applyChatTemplate([{ role: "user", content: "Hi" }])).toBe(
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n" +
        "<|im_start|>user\nHi<|im_end|>\n",
    );
  });
});
