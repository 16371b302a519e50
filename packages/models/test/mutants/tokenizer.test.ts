import { expect, test } from "vitest";
import { loadTokenizer } from "../../src/tokenizer.js";
import { mutateBytes } from "../safetensors-mutator.js";
import { encodeTree, mutateTree, type Tree, treeOf } from "./json-tree.js";
import { pick, upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

const added = (content: string, id: number) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});
const letters = [..."abdehlorw"];
const vocabOf = (...tokens: string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]));

/** A small tokenizer of each kind of model, with the parts that go with it. */
const TOKENIZERS = [
  {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [added("<s>", 0), added("</s>", 1)],
    normalizer: {
      type: "Sequence",
      normalizers: [{ type: "NFC" }, { type: "Replace", pattern: { Regex: " {2,}" }, content: " " }],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: { Regex: "\\p{N}{1,3}|\\s+(?!\\S)|\\s+" },
          behavior: "Isolated",
          invert: false,
        },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
    },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: "</s>",
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: vocabOf("<s>", "</s>", ...letters, "he", "ll", "hell", "Ġ", "aa"),
      merges: [["h", "e"], ["l", "l"], ["he", "ll"], "a a"],
    },
  },
  {
    version: "1.0",
    added_tokens: [added("[UNK]", 0), added("[CLS]", 1)],
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", sep: ["[UNK]", 0], cls: ["[CLS]", 1] },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: vocabOf("[UNK]", "[CLS]", ...letters, "##e", "##llo", "hello"),
    },
  },
  {
    version: "1.0",
    added_tokens: [added("<unk>", 0)],
    normalizer: {
      type: "Sequence",
      normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Lowercase" }, { type: "StripAccents" }],
    },
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "Unigram",
      unk_id: 0,
      byte_fallback: false,
      vocab: [["<unk>", 0], ["▁", -1.5], ...letters.map((c, i) => [c, -2 - i]), ["hello", -1]],
    },
  },
  {
    version: "1.0",
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "Whitespace" },
    post_processor: null,
    decoder: null,
    model: { type: "WordLevel", unk_token: "?", vocab: vocabOf("?", "hello", "world") },
  },
];

// A run that makes a pattern of exponential time hang.
const TEXT = "Hello wörld 123 ((aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!   😀\0<s>";

/** Half of the changes go to what is not the vocabulary, which is most of a file and all alike. */
function mutateParts(tree: Tree, random: () => number): undefined {
  if (typeof tree === "string" || !("members" in tree) || random() < 0.4) return mutateTree(tree, random);
  const parts = tree.members.map(([, value]) => value).filter((value) => typeof value !== "string");
  mutateTree(parts.length === 0 ? tree : pick(random, parts), random);
}

test("10,000 bent tokenizers are each refused, or encode and decode a text twice alike", async () => {
  await runMutants({
    seed: 10,
    leastRules: 25,
    make(random) {
      const tree = treeOf(pick(random, TOKENIZERS));
      for (let n = upTo(random, 3); n > 0; n--) mutateParts(tree, random);
      let input = encodeTree(tree);
      if (random() < 0.05) input = mutateBytes(input, random);
      return { input, sizeBytes: input.length };
    },
    async parse(input) {
      const files = { "tokenizer.json": input };
      const tokenizer = await loadTokenizer(files);
      const ids = tokenizer.encode(TEXT);
      for (const id of ids)
        expect(Number.isSafeInteger(id) && id >= 0 && id < tokenizer.vocabSize, `id ${id}`).toBe(true);
      const text = tokenizer.decode(ids);
      expect(typeof text).toBe("string");
      const again = await loadTokenizer(files);
      expect(again.encode(TEXT)).toEqual(ids);
      expect(again.decode(ids)).toBe(text);
    },
  });
});
