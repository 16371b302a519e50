import { ConfigError } from "@lowrank/tensor";
import type { CausalLM } from "./causal-lm.js";
import type { ChatMessage, ChatTemplateOptions } from "./chat-template.js";
import { type FinishReason, generate, type GeneratedToken, type GenerateOptions } from "./generate.js";
import { GrowingText } from "./growing-text.js";
import type { Tokenizer } from "./tokenizer.js";

export interface TextOptions extends Omit<GenerateOptions, "stopWhen"> {
  /** Texts before which the answer ends, wherever the borders of the tokens lie. Default: none. */
  stop?: string | readonly string[];
}

export interface ChatOptions extends TextOptions {
  /** What the chat template is given besides the messages. */
  template?: Omit<ChatTemplateOptions, "addGenerationPrompt">;
}

/** A text that was made. */
export interface GeneratedText {
  /** Without the prompt, and without a stop text. */
  readonly text: string;
  readonly ids: readonly number[];
  readonly reason: FinishReason;
  readonly promptTokens: number;
  /** log p of each token, if `logprobs` asked for it. */
  readonly tokens?: readonly GeneratedToken[];
}

/**
 * Token ids of a prompt, or for an empty one the token that begins a text.
 *
 * @throws ConfigError for an empty prompt to a model without such a token.
 */
export function promptIds(model: CausalLM, tokenizer: Tokenizer, prompt: string): number[] {
  const ids = tokenizer.encode(prompt);
  if (ids.length > 0) return ids;
  const open = tokenizer.bosId ?? model.config.bosTokenIds[0];
  if (open !== undefined) return [open];
  throw new ConfigError({
    where: "prompt",
    expected: "a text: the model has no token that begins one",
    got: "nothing",
  });
}

/** The tokens that end a text: those of the model's configuration, and the one of the tokenizer. */
export function endTokens(model: CausalLM, tokenizer: Tokenizer): number[] {
  const { eosId } = tokenizer;
  return [...new Set([...model.config.eosTokenIds, ...(eosId === undefined ? [] : [eosId])])];
}

/** Token ids of a conversation in the form that the model was trained on, up to where its answer begins. */
export function chatIds(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  template: Omit<ChatTemplateOptions, "addGenerationPrompt"> = {},
): number[] {
  const text = tokenizer.applyChatTemplate(messages, { ...template, addGenerationPrompt: true });
  return tokenizer.encode(text, { addSpecialTokens: false });
}

/**
 * Continues a text and gives the new text in pieces as it is made. A piece never ends within a character, and text that
 * may be the beginning of a stop text waits until that is clear. The tokens that end a text are those of the model and of
 * the tokenizer.
 *
 * @param prompt A text, or its token ids.
 * @returns a generator of texts that returns the whole.
 *
 * @example
 * ```ts
 * for await (const piece of streamText(model, tokenizer, "Call me", { stop: "\n" })) process.stdout.write(piece);
 * ```
 */
export async function* streamText(
  model: CausalLM,
  tokenizer: Tokenizer,
  prompt: string | readonly number[],
  options: TextOptions = {},
): AsyncGenerator<string, GeneratedText> {
  const ids = typeof prompt === "string" ? promptIds(model, tokenizer, prompt) : prompt;
  const { stop = [], stopIds = endTokens(model, tokenizer) } = options;
  const growing = new GrowingText(tokenizer, ids, stop);
  const made: number[] = [];
  const tokens: GeneratedToken[] = [];
  const run = generate(model, ids, {
    ...options,
    stopIds,
    stopWhen: () => growing.stopped,
    onToken: (token) => {
      tokens.push(token);
      options.onToken?.(token);
    },
  });
  try {
    for (;;) {
      const { value, done } = await run.next();
      if (!done) made.push(value);
      const piece = done ? growing.end() : growing.add(value);
      if (piece !== "") yield piece;
      if (!done) continue;
      // A stop text may be complete only with what was held back to the end.
      const reason = growing.stopped ? "stop" : value;
      const { text } = growing;
      return {
        text,
        ids: made,
        reason,
        promptTokens: ids.length,
        ...(options.logprobs === undefined ? {} : { tokens }),
      };
    }
  } finally {
    await run.return("stop"); // the reader may have left
  }
}

/** Continues a text and gives the whole at the end; see {@link streamText}. */
export function generateText(
  model: CausalLM,
  tokenizer: Tokenizer,
  prompt: string | readonly number[],
  options: TextOptions = {},
): Promise<GeneratedText> {
  return lastOf(streamText(model, tokenizer, prompt, options));
}

/**
 * Answers a conversation, in pieces as {@link streamText} does. With a `context` each turn reads only what is new since the
 * one before.
 *
 * @example
 * ```ts
 * const context = new GenerationContext(model);
 * const messages = [{ role: "user", content: "Who was Ishmael?" }];
 * for await (const piece of chat(model, tokenizer, messages, { context })) process.stdout.write(piece);
 * ```
 * @throws FormatError if the tokenizer has no chat template, or the template does not take the messages.
 */
export function chat(
  model: CausalLM,
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  { template, ...options }: ChatOptions = {},
): AsyncGenerator<string, GeneratedText> {
  return streamText(model, tokenizer, chatIds(tokenizer, messages, template), options);
}

async function lastOf<T>(run: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const { value, done } = await run.next();
    if (done) return value;
  }
}
