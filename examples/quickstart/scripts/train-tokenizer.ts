/**
 * Trains the byte-level BPE tokenizer of the quick start on the State of the Union training text and writes it in the
 * form of Hugging Face's `tokenizers` library.
 *
 *     tsx scripts/train-tokenizer.ts        (after scripts/prepare-data.ts)
 *
 * Method: text is cut into words by the pattern of GPT-2, each word is a sequence of its UTF-8 bytes, and the most
 * frequent neighbouring pair is joined again and again (Sennrich et al. 2016, arXiv:1508.07909, algorithm 1; on bytes:
 * Radford et al. 2019, section 2.2). A tie goes to the pair with the smaller ids, so that the result is reproducible.
 * Counts are updated only in the words that hold the joined pair.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const VOCAB_SIZE = 4096;
const SPECIAL_TOKENS = ["<|bos|>", "<|eos|>", "<|pad|>"]; // ids 0, 1, 2
const MAX_LENGTH = 512;

// The pre-tokenizer called ByteLevel applies this pattern; it is part of that format and not stored in the file.
const WORD = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable character for each byte: itself where it is visible Latin-1, else the next free code from 256. */
function byteCharacters(): string[] {
  const visible = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(visible(b) ? b : next++));
}

interface Bpe {
  /** Token of each id, special tokens first, then the 256 bytes, then the joined pairs. */
  tokens: string[];
  /** Pairs in the order in which they were joined. */
  merges: [string, string][];
}

const PAIR = 65536; // pairs are keyed as left * PAIR + right; ids stay below it

/** Trains on words with their counts; stops early when no pair occurs twice. */
function trainBpe(counts: ReadonlyMap<string, number>, vocabSize: number): Bpe {
  // Byte characters in the order of their code points, as the reference trainer numbers them.
  const characters = byteCharacters();
  const alphabet = [...characters].sort((a, b) => a.charCodeAt(0) - b.charCodeAt(0));
  const tokens = [...SPECIAL_TOKENS, ...alphabet];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const idOfByte = characters.map((character) => idOf.get(character) as number);
  const merges: [string, string][] = [];

  const encoder = new TextEncoder();
  const words = [...counts].map(([word, count]) => ({
    ids: Array.from(encoder.encode(word), (b) => idOfByte[b] as number),
    count,
  }));
  const pairCount = new Map<number, number>();
  const wordsOfPair = new Map<number, Set<number>>();

  const add = (ids: readonly number[], index: number, count: number) => {
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = (ids[i] as number) * PAIR + (ids[i + 1] as number);
      pairCount.set(pair, (pairCount.get(pair) ?? 0) + count);
      if (count > 0) {
        let holders = wordsOfPair.get(pair);
        if (holders === undefined) wordsOfPair.set(pair, (holders = new Set()));
        holders.add(index);
      }
    }
  };
  for (const [index, word] of words.entries()) add(word.ids, index, word.count);

  while (tokens.length < vocabSize) {
    let best = -1;
    let bestCount = 1;
    for (const [pair, count] of pairCount) {
      if (count > bestCount || (count === bestCount && best >= 0 && pair < best)) {
        best = pair;
        bestCount = count;
      }
    }
    if (best < 0) break;
    const left = Math.floor(best / PAIR);
    const right = best % PAIR;
    const joined = tokens.length;
    tokens.push(`${tokens[left]}${tokens[right]}`);
    merges.push([tokens[left] as string, tokens[right] as string]);
    for (const index of wordsOfPair.get(best) ?? []) {
      const word = words[index] as { ids: number[]; count: number };
      add(word.ids, index, -word.count);
      const ids: number[] = [];
      for (let i = 0; i < word.ids.length; i++) {
        if (word.ids[i] === left && word.ids[i + 1] === right) {
          ids.push(joined);
          i++;
        } else ids.push(word.ids[i] as number);
      }
      word.ids = ids;
      add(ids, index, word.count);
    }
    pairCount.delete(best);
    wordsOfPair.delete(best);
  }
  return { tokens, merges };
}

function tokenizerJson({ tokens, merges }: Bpe): object {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const special = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map(special),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<|bos|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [
        { SpecialToken: { id: "<|bos|>", type_id: 0 } },
        { Sequence: { id: "A", type_id: 0 } },
        { SpecialToken: { id: "<|bos|>", type_id: 1 } },
        { Sequence: { id: "B", type_id: 1 } },
      ],
      special_tokens: { "<|bos|>": { id: "<|bos|>", ids: [0], tokens: ["<|bos|>"] } },
    },
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

const tokenizerConfig = {
  add_bos_token: true,
  add_eos_token: false,
  add_prefix_space: false,
  bos_token: "<|bos|>",
  clean_up_tokenization_spaces: false,
  eos_token: "<|eos|>",
  model_max_length: MAX_LENGTH,
  pad_token: "<|pad|>",
  tokenizer_class: "PreTrainedTokenizerFast",
};

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const started = performance.now();
const counts = new Map<string, number>();
for (const line of readFileSync(join(root, "cache", "sotu-train.jsonl"), "utf8").split("\n")) {
  if (line === "") continue;
  const { text } = JSON.parse(line) as { text: string };
  for (const [word] of text.matchAll(WORD)) counts.set(word, (counts.get(word) ?? 0) + 1);
}
const bpe = trainBpe(counts, VOCAB_SIZE);
mkdirSync(join(root, "model"), { recursive: true });
// Short lists on one line, as the formatter of this repository leaves them.
const text = JSON.stringify(tokenizerJson(bpe), null, 2).replace(
  /\[\n\s+([^\n{}]+?)(?:,\n\s+([^\n{}]+?))?\n\s+\]/g,
  (_, first: string, second?: string) => (second === undefined ? `[${first}]` : `[${first}, ${second}]`),
);
writeFileSync(join(root, "model", "tokenizer.json"), `${text}\n`);
writeFileSync(join(root, "model", "tokenizer_config.json"), `${JSON.stringify(tokenizerConfig, null, 2)}\n`);
console.log(
  `${counts.size} different words, ${bpe.tokens.length} tokens, ${((performance.now() - started) / 1000).toFixed(1)} s`,
);
