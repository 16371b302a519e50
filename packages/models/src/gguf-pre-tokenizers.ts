type Json = Readonly<Record<string, unknown>>;

/** How a text is cut and prepared before merges, as `tokenizer.json` says it. */
export interface PreTokenizer {
  readonly pre_tokenizer: Json;
  readonly normalizer: Json | null;
  /** Whether pieces that are tokens are taken whole. */
  readonly ignoreMerges: boolean;
  /** Whether texts begin with the first token where a file does not say so. */
  readonly addsBos: boolean;
}

const byteLevel = (use_regex: boolean): Json => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
});

const sequence = (...pretokenizers: Json[]): Json => ({ type: "Sequence", pretokenizers });

const split = (regex: string): Json => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Isolated",
  invert: false,
});

const plain = { normalizer: null, ignoreMerges: false, addsBos: false };

// Radford et al. 2019: the expression of GPT-2, which a byte-level tokenizer has built in.
const gpt2: PreTokenizer = { ...plain, pre_tokenizer: byteLevel(true) };

// the same after digits are set apart, one by one
const digits: PreTokenizer = {
  ...plain,
  pre_tokenizer: sequence({ type: "Digits", individual_digits: true }, byteLevel(true)),
};

// Numbers go by up to `digits`, contractions in any case, line breaks stay with what is before them.
const modern = (numbers: string): string =>
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" +
  `${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const llama3: PreTokenizer = {
  normalizer: null,
  pre_tokenizer: sequence(split(modern("\\p{N}{1,3}")), byteLevel(false)),
  ignoreMerges: true,
  addsBos: true,
};

const qwen2: PreTokenizer = {
  ...plain,
  normalizer: { type: "NFC" },
  pre_tokenizer: sequence(split(modern("\\p{N}")), byteLevel(false)),
};

/** By `tokenizer.ggml.pre`. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = /* @__PURE__ */ new Map([
  ["gpt-2", gpt2],
  ["phi-2", gpt2],
  ["olmo", gpt2],
  ["mpt", gpt2],
  ["smollm", digits],
  ["starcoder", digits],
  ["refact", digits],
  ["command-r", digits],
  ["codeshell", digits],
  ["llama-bpe", llama3],
  ["llama3", llama3],
  ["llama-v3", llama3],
  ["qwen2", qwen2],
  ["stablelm2", { ...qwen2, normalizer: null }],
]);
