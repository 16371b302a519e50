import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import {
  compileChatTemplate,
  type ChatMessage,
  type ChatTemplateOptions,
  type RenderChat,
} from "./chat-template.js";
import { FormatError, isFormatError } from "./format-error.js";
import { scanJson, toPlain, type JsonObject, type JsonValue } from "./json-scan.js";
import { isGgufInput } from "./gguf-input.js";
import { ggufTokenizerFiles } from "./gguf-tokenizer.js";
import { checkRegexTime, expressionsIn } from "./regex-time.js";
import { openFolder, readSmallFile, type ByteInput, type Folder, type FolderInput } from "./source.js";
import { checkTokenizerJson } from "./tokenizer-check.js";
import { spellOutDigits } from "./tokenizer-digits.js";

export interface EncodeOptions {
  /** Add what the model expects around a text, often a token at its start. Default: true. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out of the text. Default: true. */
  skipSpecialTokens?: boolean;
}

export interface LoadTokenizerOptions {
  /** Jinja source to use in place of the folder's own template. */
  chatTemplate?: string;
}

/** Turns text into token ids and back. */
export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly padId: number | undefined;
  readonly unkId: number | undefined;
  /** Ids of all tokens that stand for no text. */
  readonly specialIds: ReadonlySet<number>;
  readonly hasChatTemplate: boolean;
  encode(text: string, options?: EncodeOptions): number[];
  /** Bytes that are no whole character, as at the end of a cut sequence, become U+FFFD. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  tokenToId(token: string): number | undefined;
  idToToken(id: number): string | undefined;
  /**
   * The text of a conversation in the form that the model was trained on. It holds its special tokens: encode it with
   * `addSpecialTokens: false`.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatTemplateOptions): string;
}

const MAX_TOKENIZER_BYTES = 100_000_000;
const MAX_CONFIG_BYTES = 4_000_000;

/**
 * Loads the tokenizer of a model folder: `tokenizer.json`, and if present `tokenizer_config.json`,
 * `special_tokens_map.json` and `chat_template.jinja`; or that of a GGUF file. Tokenizing is done by
 * `@huggingface/tokenizers`.
 *
 * @throws FormatError naming the file and the member that is missing or malformed.
 *
 * @example
 * ```ts
 * const tokenizer = await loadTokenizer("my-model");
 * const ids = tokenizer.encode("Call me Ishmael.");
 * ```
 */
export async function loadTokenizer(
  input: FolderInput | ByteInput,
  options: LoadTokenizerOptions = {},
): Promise<Tokenizer> {
  const folder = isGgufInput(input) ? await ggufFolder(input) : await openFolder(input);
  const json = await readJson(folder, "tokenizer.json", MAX_TOKENIZER_BYTES);
  if (json === undefined) {
    throw new FormatError({
      format: "tokenizer",
      where: folder.name,
      expected: "tokenizer.json",
      got: "no such file",
      hint: "check that this is the folder of a model",
    });
  }
  const where = `${folder.name}/tokenizer.json`;
  checkTokenizerJson(json, where);
  spellOutDigits(json.get("pre_tokenizer"));
  const config: JsonObject = (await readJson(folder, "tokenizer_config.json", MAX_CONFIG_BYTES)) ?? new Map();
  const specials =
    (await readJson(folder, "special_tokens_map.json", MAX_CONFIG_BYTES)) ?? new Map<string, JsonValue>();
  let hub: HubTokenizer;
  try {
    hub = new HubTokenizer(toPlain(json) as object, toPlain(config) as object);
  } catch (cause) {
    throw new FormatError({
      format: "tokenizer",
      where,
      expected: "a supported tokenizer",
      got: (cause as Error).message,
      cause,
    });
  }
  for (const part of [hub.normalizer, hub.pre_tokenizer, hub.post_processor, hub.decoder]) {
    for (const expression of expressionsIn(part)) checkRegexTime(expression, where);
  }
  const template = options.chatTemplate ?? (await folderTemplate(folder, config));
  const named = (role: string): string | undefined => {
    const value = config.get(role) ?? specials.get(role);
    const content = value instanceof Map ? value.get("content") : value;
    return typeof content === "string" ? content : undefined;
  };
  return wrap(hub, where, named, template, json);
}

/** The files that a GGUF file's metadata stand for, under its name. */
async function ggufFolder(input: ByteInput): Promise<Folder> {
  const encoder = new TextEncoder();
  const files = await ggufTokenizerFiles(input);
  const folder = await openFolder(new Map([...files].map(([name, text]) => [name, encoder.encode(text)])));
  const name = typeof input === "string" ? input : "name" in input ? String(input.name) : "gguf";
  return { ...folder, name };
}

async function readJson(folder: Folder, name: string, maxBytes: number): Promise<JsonObject | undefined> {
  const bytes = await readSmallFile(folder, name, maxBytes);
  if (bytes === undefined) return undefined;
  const where = `${folder.name}/${name}`;
  const value = scanJson(bytes, { where, format: "tokenizer", numbers: "any" });
  if (value instanceof Map) return value;
  throw new FormatError({ format: "tokenizer", where, expected: "a JSON object", got: "another value" });
}

async function folderTemplate(folder: Folder, config: JsonObject): Promise<string | undefined> {
  const file = await readSmallFile(folder, "chat_template.jinja", MAX_CONFIG_BYTES);
  if (file !== undefined) return new TextDecoder().decode(file);
  const entry = config.get("chat_template");
  if (typeof entry === "string") return entry;
  if (!Array.isArray(entry)) return undefined;
  // Several templates by name: [{ name, template }, ...].
  const byName = new Map(
    entry.map((item) =>
      item instanceof Map ? [item.get("name"), item.get("template")] : [undefined, undefined],
    ),
  );
  const chosen = byName.get("default");
  return typeof chosen === "string" ? chosen : undefined;
}

function wrap(
  hub: HubTokenizer,
  where: string,
  named: (role: string) => string | undefined,
  template: string | undefined,
  json: JsonObject,
): Tokenizer {
  const idOf = (role: string): number | undefined => {
    const token = named(role);
    return token === undefined ? undefined : hub.token_to_id(token);
  };
  let vocabSize = 0;
  for (const id of hub.get_vocab(true).values()) vocabSize = Math.max(vocabSize, id + 1);
  const specialIds = new Set<number>();
  for (const token of (json.get("added_tokens") ?? []) as JsonObject[]) {
    vocabSize = Math.max(vocabSize, (token.get("id") as number) + 1);
    if (token.get("special") === true) specialIds.add(token.get("id") as number);
  }
  const tokens: Record<string, string> = {};
  for (const role of ["bos_token", "eos_token", "pad_token", "unk_token"]) {
    const token = named(role);
    if (token !== undefined) tokens[role] = token;
  }
  // The library reads its parts as they are used, so a malformed one may show only then.
  const guarded = <T>(run: () => T): T => {
    try {
      return run();
    } catch (cause) {
      if (isFormatError(cause)) throw cause;
      const got = (cause as Error).message;
      throw new FormatError({ format: "tokenizer", where, expected: "a usable tokenizer", got, cause });
    }
  };
  let render: RenderChat | undefined;

  return {
    vocabSize,
    bosId: idOf("bos_token"),
    eosId: idOf("eos_token"),
    padId: idOf("pad_token"),
    unkId: idOf("unk_token"),
    specialIds,
    hasChatTemplate: template !== undefined,

    encode(text, { addSpecialTokens = true } = {}) {
      const { ids } = guarded(() => hub.encode(text, { add_special_tokens: addSpecialTokens }));
      const unknown = (ids as unknown[]).findIndex(
        (id) => typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocabSize,
      );
      if (unknown >= 0) {
        throw new FormatError({
          format: "tokenizer",
          where,
          expected: "a vocabulary that covers the text or has an unknown token",
          got: `no id for piece ${unknown}`,
        });
      }
      return ids;
    },

    decode(ids, { skipSpecialTokens = true } = {}) {
      const list = Array.from(ids);
      for (const id of list) {
        if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
          throw new FormatError({
            format: "tokenizer",
            where,
            expected: `token ids from 0 to ${vocabSize - 1}`,
            got: `${id}`,
          });
        }
      }
      // Ids without a token, as in a vocabulary padded to a round size, stand for nothing.
      const known = list.filter(
        (id) => hub.id_to_token(id) !== undefined && !(skipSpecialTokens && specialIds.has(id)),
      );
      return known.length === 0
        ? ""
        : guarded(() => hub.decode(known, { skip_special_tokens: skipSpecialTokens }));
    },

    tokenToId: (token) => hub.token_to_id(token),
    idToToken: (id) => hub.id_to_token(id),

    applyChatTemplate(messages, options) {
      if (template === undefined) {
        throw new FormatError({
          format: "chat template",
          where,
          expected: "a chat template in tokenizer_config.json or chat_template.jinja",
          got: "none",
          hint: "this is a base model; pass chatTemplate to loadTokenizer, or use text or prompt/completion data",
        });
      }
      render ??= compileChatTemplate(template, tokens, where);
      return render(messages, options);
    },
  };
}
