import { FormatError, quoteName } from "./format-error.js";
import type { JsonObject, JsonValue } from "./json-scan.js";
import { checkTokenizerRegex } from "./tokenizer-regex.js";

const MODELS = ["BPE", "WordPiece", "Unigram", "WordLevel"];
const MAX_ID = 10_000_000; // largest published vocabularies hold under a million

/**
 * Checks what the tokenizer library takes on trust: the parts it reads, every id a small whole number, merges made of
 * known tokens, patterns that run in reasonable time.
 *
 * @throws FormatError naming the member.
 */
export function checkTokenizerJson(root: JsonObject, where: string): void {
  const refuse: Refuse = (expected, got) => {
    throw new FormatError({ format: "tokenizer", where, expected, got });
  };
  for (const part of ["normalizer", "pre_tokenizer", "post_processor", "decoder"]) {
    const value = root.get(part);
    if (value !== null && !(value instanceof Map)) refuse(`${part} to be an object or null`, describe(value));
  }
  const model = root.get("model");
  if (!(model instanceof Map)) refuse("model to be an object", describe(model));
  const type = model.get("type");
  if (type !== undefined && !MODELS.includes(type as string)) {
    refuse(
      `model.type to be one of ${MODELS.join(", ")}`,
      typeof type === "string" ? quoteName(type) : describe(type),
    );
  }

  const checkId = (id: JsonValue | undefined, of: string) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > MAX_ID) {
      refuse(`${of} to have an id from 0 to ${MAX_ID}`, typeof id === "number" ? `${id}` : describe(id));
    }
  };
  const vocab = model.get("vocab");
  if (Array.isArray(vocab)) {
    // Unigram: [token, log probability], the id is the place in the list.
    for (const entry of vocab) {
      if (!Array.isArray(entry) || typeof entry[0] !== "string" || typeof entry[1] !== "number") {
        refuse("model.vocab to list pairs of token and score", describe(entry));
      }
    }
  } else if (vocab instanceof Map) {
    const tokenOf = new Map<number, string>();
    for (const [token, id] of vocab) {
      checkId(id, `token ${quoteName(token)}`);
      const other = tokenOf.get(id as number);
      if (other !== undefined) refuse(`every id once, ${id} is ${quoteName(other)}`, quoteName(token));
      tokenOf.set(id as number, token);
    }
  } else refuse("model.vocab to be an object or a list", describe(vocab));

  const unknown = model.get("unk_id");
  if (unknown !== undefined && unknown !== null) {
    checkId(unknown, "model.unk_id");
    if (Array.isArray(vocab) && (unknown as number) >= vocab.length) {
      refuse(`model.unk_id to be below ${vocab.length}, the size of the vocabulary`, `${unknown}`);
    }
  }
  if (type === "BPE" || model.has("merges")) checkMerges(model.get("merges"), vocab, model, refuse);

  const added = root.get("added_tokens") ?? [];
  if (!Array.isArray(added)) refuse("added_tokens to be a list", describe(added));
  if (!root.has("added_tokens")) root.set("added_tokens", added);
  for (const token of added) {
    if (!(token instanceof Map) || typeof token.get("content") !== "string") {
      refuse("every added token to have content", describe(token));
    }
    if (token.get("content") === "") refuse("every added token to have content", "an empty one");
    checkId(token.get("id"), `added token ${quoteName(token.get("content") as string)}`);
  }
  for (const part of ["normalizer", "pre_tokenizer", "post_processor", "decoder"]) {
    checkPatterns(root.get(part), `${where}, ${part}`);
  }
}

type Refuse = (expected: string, got: string) => never;

function checkMerges(
  merges: JsonValue | undefined,
  vocab: JsonValue,
  model: JsonObject,
  refuse: Refuse,
): void {
  if (!Array.isArray(merges)) refuse("model.merges to be a list", describe(merges));
  if (!(vocab instanceof Map)) refuse("model.vocab of a BPE to be an object", describe(vocab));
  const prefix = model.get("continuing_subword_prefix");
  for (const [rank, merge] of merges.entries()) {
    const pair = typeof merge === "string" ? splitOnce(merge) : merge;
    if (
      !Array.isArray(pair) ||
      pair.length !== 2 ||
      typeof pair[0] !== "string" ||
      typeof pair[1] !== "string"
    ) {
      refuse(
        `merge ${rank} to be a pair of tokens`,
        typeof merge === "string" ? quoteName(merge) : describe(merge),
      );
    }
    const [left, right] = pair as [string, string];
    const tail = typeof prefix === "string" && right.startsWith(prefix) ? right.slice(prefix.length) : right;
    for (const token of [left, right, left + tail]) {
      if (!vocab.has(token)) refuse(`merge ${rank} to be made of tokens of the vocabulary`, quoteName(token));
    }
  }
}

const splitOnce = (text: string): string[] | undefined => {
  const at = text.indexOf(" ");
  return at < 0 ? undefined : [text.slice(0, at), text.slice(at + 1)];
};

/** Finds every `{ "Regex": ... }` below a value. The scanner has bounded the depth. */
function checkPatterns(value: JsonValue | undefined, where: string): void {
  if (Array.isArray(value)) for (const item of value) checkPatterns(item, where);
  else if (value instanceof Map) {
    const type = value.get("type");
    if ((type === "Split" || type === "Replace") && !value.has("pattern")) checkPattern(undefined, where);
    for (const [key, member] of value) {
      if (key === "pattern") checkPattern(member, where);
      if (key === "Regex" && typeof member === "string") checkTokenizerRegex(member, where);
      else checkPatterns(member, where);
    }
  }
}

/** A pattern the library does not know it would leave out, and the text would be split otherwise than it was in training. */
function checkPattern(pattern: JsonValue | undefined, where: string): void {
  const text = pattern instanceof Map ? (pattern.get("Regex") ?? pattern.get("String")) : undefined;
  if (typeof text === "string") return;
  throw new FormatError({
    format: "tokenizer",
    where,
    expected: "a pattern of a Regex or a String",
    got: describe(pattern),
  });
}

function describe(value: JsonValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (value instanceof Map) return "an object";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}
