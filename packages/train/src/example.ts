import { ConfigError } from "@lowrank/tensor";

/** A label with this value is no target. */
export const IGNORED = -100;

/** One text to learn from: token ids, and for each the label that stands in its place, −100 where no loss is wanted. */
export interface Example {
  readonly ids: readonly number[];
  readonly labels: readonly number[];
}

/** What turning records into examples asks of a tokenizer. */
export interface ExampleTokenizer {
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  applyChatTemplate(
    messages: readonly { role: string; content: string }[],
    options?: { addGenerationPrompt?: boolean },
  ): string;
}

/** A text, all of it to be learnt. */
export interface TextRecord {
  text: string;
}
/** A prompt that is given and a completion that is learnt. */
export interface PromptRecord {
  prompt: string;
  completion: string;
}
/** A conversation; the assistant's turns are learnt. */
export interface ChatRecord {
  messages: readonly { role: string; content: string }[];
}
export type DataRecord = TextRecord | PromptRecord | ChatRecord;

const has = <K extends string>(value: object, name: K): value is Record<K, unknown> => name in value;

/** Reads one record of a data file; which form it has is seen from its members. */
export function checkRecord(value: unknown, where: string): DataRecord {
  const refuse = (got: string): never => {
    throw new ConfigError({
      where,
      expected: 'an object with "text", with "prompt" and "completion", or with "messages"',
      got,
    });
  };
  if (value === null || typeof value !== "object" || Array.isArray(value))
    return refuse(JSON.stringify(value) ?? String(value));
  const text = (name: string): string => {
    const member = (value as Record<string, unknown>)[name];
    if (typeof member !== "string") {
      throw new ConfigError({
        where,
        expected: `"${name}" to be a text`,
        got: JSON.stringify(member) ?? "nothing",
      });
    }
    return member;
  };
  if (has(value, "text")) return { text: text("text") };
  if (has(value, "prompt") || has(value, "completion"))
    return { prompt: text("prompt"), completion: text("completion") };
  if (has(value, "messages") && Array.isArray(value.messages)) {
    const messages = value.messages.map((m: unknown, i): { role: string; content: string } => {
      const { role, content } = (m ?? {}) as { role?: unknown; content?: unknown };
      if (typeof role !== "string" || typeof content !== "string") {
        throw new ConfigError({
          where: `${where}, message ${i}`,
          expected: '"role" and "content", both texts',
          got: JSON.stringify(m) ?? "nothing",
        });
      }
      return { role, content };
    });
    return { messages };
  }
  return refuse(`members ${Object.keys(value).join(", ") || "(none)"}`);
}

/** The records of a JSONL text, one a line; empty lines are skipped. */
export function parseJsonl(text: string, where: string): DataRecord[] {
  const records: DataRecord[] = [];
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const at = `${where}, line ${i + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new ConfigError({ where: at, expected: "JSON", got: line.slice(0, 60), cause });
    }
    records.push(checkRecord(value, at));
  }
  if (records.length === 0) throw new ConfigError({ where, expected: "at least one record", got: "none" });
  return records;
}

/**
 * Tokens and labels of a record. A text is learnt whole, between the tokens that open and close a text; of a prompt with
 * completion only the completion; of a conversation only what the assistant says, in the form that the model's chat
 * template gives it.
 */
export function toExample(record: DataRecord, tokenizer: ExampleTokenizer): Example {
  const plain = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
  const open = tokenizer.bosId === undefined ? [] : [tokenizer.bosId];
  const close = tokenizer.eosId === undefined ? [] : [tokenizer.eosId];
  if ("text" in record) {
    const ids = [...open, ...plain(record.text), ...close];
    return { ids, labels: ids };
  }
  if ("prompt" in record) {
    const given = [...open, ...plain(record.prompt)];
    const learnt = [...plain(record.completion), ...close];
    return { ids: [...given, ...learnt], labels: [...given.map(() => IGNORED), ...learnt] };
  }
  return chatExample(record, tokenizer);
}

/** Renders growing parts of the conversation: what an assistant's turn adds to the text is what is learnt. */
function chatExample({ messages }: ChatRecord, tokenizer: ExampleTokenizer): Example {
  const ids: number[] = [];
  const labels: number[] = [];
  let done = "";
  const add = (text: string, learnt: boolean): void => {
    const more = tokenizer.encode(text, { addSpecialTokens: false });
    ids.push(...more);
    labels.push(...(learnt ? more : more.map(() => IGNORED)));
  };
  for (const [i, { role }] of messages.entries()) {
    const upTo = messages.slice(0, i + 1);
    if (role === "assistant") {
      const prompt = tokenizer.applyChatTemplate(messages.slice(0, i), { addGenerationPrompt: true });
      const whole = tokenizer.applyChatTemplate(upTo, { addGenerationPrompt: false });
      if (!prompt.startsWith(done) || !whole.startsWith(prompt)) throw unsteady(i);
      add(prompt.slice(done.length), false);
      add(whole.slice(prompt.length), true);
      done = whole;
    } else if (i === messages.length - 1) {
      const whole = tokenizer.applyChatTemplate(upTo, { addGenerationPrompt: false });
      if (!whole.startsWith(done)) throw unsteady(i);
      add(whole.slice(done.length), false);
      done = whole;
    }
  }
  return { ids, labels };
}

const unsteady = (i: number): ConfigError =>
  new ConfigError({
    where: `chat template, message ${i}`,
    expected: "a template whose text only grows as messages are added",
    got: "one that changes what came before",
    hint: "give the data as prompt and completion instead",
  });
