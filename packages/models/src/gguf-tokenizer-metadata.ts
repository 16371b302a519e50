import { FormatError, quoteName } from "./format-error.js";
import { openGguf } from "./gguf.js";
import { isGgufInput } from "./gguf-input.js";
import { PRE_TOKENIZERS } from "./gguf-pre-tokenizers.js";
import type { GgufValue } from "./gguf-types.js";
import { type JsonObject, type JsonValue, scanJson, toPlain } from "./json-scan.js";
import { type ByteInput, type Folder, type FolderInput, openFolder, readSmallFile } from "./source.js";
import { checkTokenizerJson } from "./tokenizer-check.js";

const KEY = "tokenizer.ggml";
const MAX_BYTES = 100_000_000;
// Under `token_type`, as ggml numbers them.
const [NORMAL, CONTROL, USER_DEFINED, UNUSED] = [1, 3, 4, 5];

/**
 * The metadata of GGUF for a tokenizer: those of another GGUF file, or made from the `tokenizer.json` and
 * `tokenizer_config.json` of a folder if it is a byte-level BPE with a pre-tokenizer that GGUF has a name for.
 *
 * @param vocabSize Rows of the model's table; ids above the tokenizer's are filled up.
 * @throws FormatError naming what cannot be written.
 */
export async function tokenizerMetadata(
  input: FolderInput | ByteInput,
  vocabSize: number,
): Promise<Map<string, GgufValue>> {
  if (!isGgufInput(input)) return fromFolder(await openFolder(input), vocabSize);
  const file = await openGguf(input);
  await file.close();
  return new Map([...file.metadata].filter(([key]) => key.startsWith("tokenizer.")));
}

async function fromFolder(folder: Folder, vocabSize: number): Promise<Map<string, GgufValue>> {
  const where = `${folder.name}/tokenizer.json`;
  const refuse = (expected: string, got: string): never => {
    throw new FormatError({
      format: "tokenizer",
      where,
      expected,
      got,
      hint: "give the tokenizer of a GGUF file",
    });
  };
  const json = (await readObject(folder, "tokenizer.json")) ?? refuse("tokenizer.json", "no such file");
  checkTokenizerJson(json, where);
  const config = (await readObject(folder, "tokenizer_config.json")) ?? new Map<string, JsonValue>();
  const model = json.get("model") as JsonObject;
  if (model.get("type") !== "BPE" || model.get("byte_fallback") === true) {
    refuse("a byte-level BPE", `a model of type ${String(model.get("type"))}`);
  }
  const pre =
    preTokenizerName(json) ??
    refuse(`a pre-tokenizer among ${[...PRE_TOKENIZERS.keys()].join(", ")}`, "another");

  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Int32Array(vocabSize).fill(UNUSED);
  const put = (token: string, id: number, type: number): void => {
    if (id >= vocabSize)
      refuse(`ids below ${vocabSize}, the rows of the model's table`, `${id} for ${quoteName(token)}`);
    tokens[id] = token;
    types[id] = type;
  };
  for (const [token, id] of model.get("vocab") as JsonObject) put(token, id as number, NORMAL);
  for (const token of (json.get("added_tokens") ?? []) as JsonObject[]) {
    const type = token.get("special") === true ? CONTROL : USER_DEFINED;
    put(token.get("content") as string, token.get("id") as number, type);
  }
  const merges = (model.get("merges") as (string | string[])[]).map((m) =>
    typeof m === "string" ? m : m.join(" "),
  );

  const entries = new Map<string, GgufValue>([
    [`${KEY}.model`, { type: "string", value: "gpt2" }],
    [`${KEY}.pre`, { type: "string", value: pre }],
    [`${KEY}.tokens`, { type: "array", of: "string", value: tokens }],
    [`${KEY}.token_type`, { type: "array", of: "i32", value: types }],
    [`${KEY}.merges`, { type: "array", of: "string", value: merges }],
  ]);
  const specials = (await readObject(folder, "special_tokens_map.json")) ?? new Map<string, JsonValue>();
  for (const [role, name] of [
    ["bos", "bos"],
    ["eos", "eos"],
    ["unk", "unknown"],
    ["pad", "padding"],
  ] as const) {
    const id = tokens.indexOf(contentOf(config.get(`${role}_token`) ?? specials.get(`${role}_token`)) ?? "");
    if (id >= 0) entries.set(`${KEY}.${name}_token_id`, { type: "u32", value: id });
  }
  const [before, after] = around(json.get("post_processor"));
  entries.set(`${KEY}.add_bos_token`, { type: "bool", value: before });
  entries.set(`${KEY}.add_eos_token`, { type: "bool", value: after });
  entries.set(`${KEY}.add_space_prefix`, { type: "bool", value: false });
  const template = await readSmallFile(folder, "chat_template.jinja", MAX_BYTES);
  const chat = template === undefined ? config.get("chat_template") : new TextDecoder().decode(template);
  if (typeof chat === "string") entries.set("tokenizer.chat_template", { type: "string", value: chat });
  return entries;
}

async function readObject(folder: Folder, name: string): Promise<JsonObject | undefined> {
  const bytes = await readSmallFile(folder, name, MAX_BYTES);
  if (bytes === undefined) return undefined;
  const where = `${folder.name}/${name}`;
  const value = scanJson(bytes, { where, format: "tokenizer", numbers: "any" });
  if (value instanceof Map) return value;
  throw new FormatError({ format: "tokenizer", where, expected: "a JSON object", got: "another value" });
}

const contentOf = (token: JsonValue | undefined): string | undefined => {
  const value = token instanceof Map ? token.get("content") : token;
  return typeof value === "string" ? value : undefined;
};

/** The name of the entry that cuts texts in the same way. */
function preTokenizerName(json: JsonObject): string | undefined {
  const own = canonical(toPlain(json.get("pre_tokenizer") ?? null));
  const normal = canonical(toPlain(json.get("normalizer") ?? null));
  for (const [name, { pre_tokenizer, normalizer }] of PRE_TOKENIZERS) {
    if (own === canonical(pre_tokenizer) && normal === canonical(normalizer)) return name;
  }
  return undefined;
}

/** JSON without what makes no difference to the pieces: how offsets are trimmed, and defaults. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (key, member: unknown) => {
    if (key === "trim_offsets") return undefined;
    if (typeof member !== "object" || member === null || Array.isArray(member)) return member;
    const object = member as Record<string, unknown>;
    const full =
      object["type"] === "ByteLevel" ? { add_prefix_space: true, use_regex: true, ...object } : object;
    return Object.fromEntries(Object.entries(full).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** Whether a token stands before and behind each text. */
function around(processor: JsonValue | undefined): [before: boolean, after: boolean] {
  if (!(processor instanceof Map)) return [false, false];
  const nested = processor.get("processors");
  if (Array.isArray(nested)) {
    const all = nested.map(around);
    return [all.some(([before]) => before), all.some(([, after]) => after)];
  }
  const single = processor.get("single");
  if (!Array.isArray(single)) return [false, false];
  const isToken = (item: JsonValue | undefined): boolean => item instanceof Map && item.has("SpecialToken");
  return [isToken(single[0]), isToken(single.at(-1))];
}
