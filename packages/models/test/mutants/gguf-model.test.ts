import { setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { architectureOf } from "@lowrank/models";
import { openGguf } from "../../src/gguf.js";
import { ggufConfigJson } from "../../src/gguf-config.js";
import type { GgufValue } from "../../src/gguf-types.js";
import { loadTokenizer } from "../../src/tokenizer.js";
import { testBackend } from "../backend.js";
import { describeEntries, encodeDescribed } from "./gguf-file.js";
import { pick, upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

beforeAll(async () => {
  setDefaultBackend(await testBackend());
});

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });
const text = (value: string): GgufValue => ({ type: "string", value });
const texts = (value: string[]): GgufValue => ({ type: "array", of: "string", value });
const numbers = (of: "i32" | "f32" | "u64", value: number[]): GgufValue =>
  ({ type: "array", of, value: of === "u64" ? value.map(BigInt) : value }) as unknown as GgufValue;

const pieces = ["<unk>", "<s>", "</s>", "▁", "h", "e", "l", "o", "he", "▁he"];
const bytePieces = Array.from(
  { length: 256 },
  (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`,
);

/** Metadata of a small model of each kind of tokenizer. */
const MODELS: [string, GgufValue][][] = ["llama", "qwen2", "qwen3"].map((arch, i) => [
  ["general.architecture", text(arch)],
  ["general.name", text("tiny")],
  [`${arch}.vocab_size`, u32(300)],
  [`${arch}.context_length`, u32(64)],
  [`${arch}.embedding_length`, u32(16)],
  [`${arch}.feed_forward_length`, u32(32)],
  [`${arch}.block_count`, u32(2)],
  [`${arch}.attention.head_count`, u32(4)],
  [`${arch}.attention.head_count_kv`, i === 1 ? numbers("i32", [2, 2]) : u32(2)],
  [`${arch}.attention.layer_norm_rms_epsilon`, f32(1e-5)],
  [`${arch}.rope.freq_base`, f32(10_000)],
  [`${arch}.rope.dimension_count`, u32(4)],
  [`${arch}.expert_count`, u32(0)],
  [`${arch}.rope.scaling.type`, text(["none", "linear", "yarn"][i]!)],
  [`${arch}.rope.scaling.factor`, f32(2)],
  [`${arch}.rope.scaling.original_context_length`, u32(32)],
  ["tokenizer.ggml.model", text(i === 0 ? "llama" : "gpt2")],
  ["tokenizer.ggml.pre", text("gpt-2")],
  ["tokenizer.ggml.tokens", texts(i === 0 ? [...pieces, ...bytePieces] : ["a", "b", "ab", "Ġ", "<|end|>"])],
  ["tokenizer.ggml.scores", numbers("f32", i === 0 ? [...pieces, ...bytePieces].map((_, j) => -j) : [])],
  [
    "tokenizer.ggml.token_type",
    numbers("i32", i === 0 ? [2, 3, 3, 1, 1, 1, 1, 1, 1, 1, ...bytePieces.map(() => 6)] : [1, 1, 1, 1, 3]),
  ],
  ["tokenizer.ggml.merges", texts(i === 0 ? [] : ["a b"])],
  ["tokenizer.ggml.bos_token_id", u32(1)],
  ["tokenizer.ggml.eos_token_id", i === 2 ? { type: "u64", value: 2n } : u32(2)],
  ["tokenizer.ggml.padding_token_id", u32(0)],
  ["tokenizer.ggml.add_bos_token", { type: "bool", value: true }],
  ["tokenizer.chat_template", text("{{ messages[0].content }}")],
]);

const HOSTILE: GgufValue[] = [
  u32(0),
  u32(1),
  u32(3),
  u32(0xffffffff),
  { type: "i32", value: -1 },
  { type: "u64", value: 1n << 60n },
  { type: "i64", value: -5n },
  f32(Number.POSITIVE_INFINITY),
  f32(0),
  { type: "f64", value: 1e300 },
  { type: "bool", value: false },
  text(""),
  text("(a+)+$"),
  text("__proto__"),
  texts([]),
  texts(["a", "a"]),
  texts(["", "é", "x y z"]),
  numbers("i32", [-1, 7, 99]),
  numbers("f32", [0, Number.NEGATIVE_INFINITY]),
  numbers("u64", [1, 2 ** 52]),
  numbers("i32", []),
];

test("10,000 bent metadata of GGUF models are each refused, or give a configuration and a tokenizer that work", async () => {
  await runMutants({
    seed: 13,
    leastRules: 30,
    make(random) {
      const entries = pick(random, MODELS).map((entry): [string, GgufValue] => [...entry]);
      for (let n = upTo(random, 3); n > 0; n--) {
        const at = upTo(random, entries.length);
        const other = upTo(random, entries.length);
        const kind = random();
        if (kind < 0.25) entries.splice(at, 1);
        else if (kind < 0.4) entries[at]![1] = entries[other]![1];
        else entries[at]![1] = pick(random, HOSTILE);
      }
      const input = encodeDescribed(describeEntries(entries));
      return { input, sizeBytes: input.length };
    },
    async parse(input) {
      const file = await openGguf(input, "mutant.gguf");
      const json = await ggufConfigJson(file);
      const model = architectureOf(json).create(json, {});
      expect(model.state().size).toBeGreaterThan(0);
      const tokenizer = await loadTokenizer(new Blob([input as Uint8Array<ArrayBuffer>]));
      const ids = tokenizer.encode("hello ab");
      expect(ids.every((id) => id >= 0 && id < tokenizer.vocabSize)).toBe(true);
      expect(typeof tokenizer.decode(ids)).toBe("string");
    },
  });
});
