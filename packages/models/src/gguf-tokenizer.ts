import { FormatError, quoteName } from "./format-error.js";
import { type GgufFile, openGguf } from "./gguf.js";
import { GgufMetadata } from "./gguf-metadata.js";
import { PRE_TOKENIZERS } from "./gguf-pre-tokenizers.js";
import type { ByteInput } from "./source.js";
import { scoredMerges } from "./scored-merges.js";

type Json = Readonly<Record<string, unknown>>;

const KEY = "tokenizer.ggml";
// Under `token_type`, as ggml numbers them.
const [UNKNOWN, CONTROL, USER_DEFINED] = [2, 3, 4];

/** The tokenizer of a file as it stands in a folder: `tokenizer.json`, `tokenizer_config.json`. */
export async function ggufTokenizerFiles(input: ByteInput): Promise<Map<string, string>> {
  const file = await openGguf(input);
  try {
    return tokenizerFiles(file);
  } finally {
    await file.close();
  }
}

/**
 * The files of a tokenizer from the metadata of a GGUF file: byte-level BPE ("gpt2") with the pre-tokenizers of
 * `PRE_TOKENIZERS`, or SentencePiece's BPE ("llama"), whose merges are those that its scores put in order.
 *
 * @throws FormatError naming the key that is missing or not known.
 */
export function tokenizerFiles(file: Pick<GgufFile, "name" | "metadata">): Map<string, string> {
  const read = new GgufMetadata(file.name, file.metadata);
  const tokens = read.texts(`${KEY}.tokens`) ?? read.fail(`${KEY}.tokens`, "an array of strings");
  const model = read.text(`${KEY}.model`);
  const parts =
    model === "gpt2" ? byteLevelParts(read, tokens) : model === "llama" ? pieceParts(read, tokens) : null;
  if (parts === null) return read.fail(`${KEY}.model`, '"gpt2" or "llama"');

  const special = (role: string): number | undefined => {
    const key = `${KEY}.${role}_token_id`;
    if (!read.has(key)) return undefined;
    const id = read.integer(key);
    return id < tokens.length ? id : read.fail(key, `below ${tokens.length}, the number of tokens`);
  };
  const [bos, eos, unk, pad] = [special("bos"), special("eos"), special("unknown"), special("padding")];
  const around: (number | "A")[] = [
    ...(bos !== undefined && read.boolean(`${KEY}.add_bos_token`, parts.addsBos) ? [bos] : []),
    "A",
    ...(eos !== undefined && read.boolean(`${KEY}.add_eos_token`, false) ? [eos] : []),
  ];
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(read, tokens, [bos, eos]),
    normalizer: parts.normalizer,
    pre_tokenizer: parts.pre_tokenizer,
    post_processor: template(around, tokens),
    decoder: parts.decoder,
    model: parts.model,
  };
  const config: Record<string, unknown> = { clean_up_tokenization_spaces: false };
  for (const [role, id] of [
    ["bos", bos],
    ["eos", eos],
    ["unk", unk],
    ["pad", pad],
  ] as const) {
    if (id !== undefined) config[`${role}_token`] = tokens[id];
  }
  if (read.has("tokenizer.chat_template")) config["chat_template"] = read.text("tokenizer.chat_template");
  return new Map([
    ["tokenizer.json", JSON.stringify(tokenizer)],
    ["tokenizer_config.json", JSON.stringify(config)],
  ]);
}

interface Parts {
  readonly model: Json;
  readonly normalizer: Json | null;
  readonly pre_tokenizer: Json | null;
  readonly decoder: Json;
  readonly addsBos: boolean;
}

const bpe = (tokens: readonly string[], merges: readonly (readonly string[])[], more: Json): Json => ({
  type: "BPE",
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
  ...more,
  vocab: vocabulary(tokens),
  merges,
});

function byteLevelParts(read: GgufMetadata, tokens: readonly string[]): Parts {
  const pre = PRE_TOKENIZERS.get(read.text(`${KEY}.pre`));
  if (pre === undefined) return read.fail(`${KEY}.pre`, `one of ${[...PRE_TOKENIZERS.keys()].join(", ")}`);
  const merges = read.texts(`${KEY}.merges`) ?? read.fail(`${KEY}.merges`, "an array of strings");
  const pairs = merges.map((merge) => {
    const space = merge.indexOf(" ", 1); // the left half may be a space itself
    return space < 0 ? [merge] : [merge.slice(0, space), merge.slice(space + 1)];
  });
  const { ignoreMerges: ignore_merges, ...rest } = pre;
  const decoder = { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true };
  return { ...rest, decoder, model: bpe(tokens, pairs, { ignore_merges }) };
}

const SPACE = "\u2581"; // stands for a space in the pieces of SentencePiece

function pieceParts(read: GgufMetadata, tokens: readonly string[]): Parts {
  const scores = read.numbers(`${KEY}.scores`);
  if (scores === undefined || scores.length !== tokens.length) {
    return read.fail(`${KEY}.scores`, `an array of ${tokens.length} numbers, one per token`);
  }
  const prefix = read.boolean(`${KEY}.add_space_prefix`, true);
  const unknown = tokens[read.integer(`${KEY}.unknown_token_id`, 0)] ?? null;
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  return {
    model: bpe(tokens, scoredMerges(tokens, scores), {
      unk_token: unknown,
      fuse_unk: true,
      byte_fallback: true,
    }),
    normalizer: prefix
      ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, replace] }
      : replace,
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    addsBos: true,
  };
}

/** Ids by token. A token that stands twice would lose an id. */
function vocabulary(tokens: readonly string[]): Record<string, number> {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const other = ids.get(token);
    if (other !== undefined) {
      throw new FormatError({
        format: "gguf",
        where: `${KEY}.tokens`,
        expected: "every token once",
        got: `${quoteName(token)} at ${other} and ${id}`,
      });
    }
    ids.set(token, id);
  }
  return Object.fromEntries(ids);
}

function addedTokens(
  read: GgufMetadata,
  tokens: readonly string[],
  ends: readonly (number | undefined)[],
): Json[] {
  const types = read.numbers(`${KEY}.token_type`);
  if (types !== undefined && types.length !== tokens.length) {
    read.fail(`${KEY}.token_type`, `an array of ${tokens.length} numbers, one per token`);
  }
  return tokens.flatMap((content, id) => {
    const type = ends.includes(id) ? CONTROL : types?.[id];
    if (content === "" || (type !== CONTROL && type !== UNKNOWN && type !== USER_DEFINED)) return [];
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...flags, special: type !== USER_DEFINED }];
  });
}

/** What stands around a text: token ids, and "A" for the text. */
function template(around: readonly (number | "A")[], tokens: readonly string[]): Json {
  const ids = around.filter((part): part is number => part !== "A");
  const piece = (part: number | "A", type_id: number, sequence: string): Json =>
    part === "A" ? { Sequence: { id: sequence, type_id } } : { SpecialToken: { id: tokens[part], type_id } };
  const single = around.map((part) => piece(part, 0, "A"));
  return {
    type: "TemplateProcessing",
    single,
    pair: [...single, ...around.map((part) => piece(part, 1, "B"))],
    special_tokens: Object.fromEntries(
      ids.map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]),
    ),
  };
}
