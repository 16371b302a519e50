import { ConfigError, type DType, evaluate, take, type Tensor, tensor } from "@lowrank/tensor";
import type { KVCache } from "@lowrank/nn";
import type { CausalLM } from "./causal-lm.js";
import { checkSampling, randomStream, sampleToken, type SamplingOptions } from "./sampling.js";

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to make at most. Default 256. */
  maxNewTokens?: number;
  /** Default 0. The same seed gives the same tokens. */
  seed?: number;
  /** Tokens that end the text; they are not given out. Default: the end tokens of the configuration. */
  stopIds?: readonly number[];
  /** Looks at the new tokens so far and says whether to end, as for a stop string. */
  stopWhen?: (newIds: readonly number[]) => boolean;
  /** Ends the generation before the next token, with the signal's reason. */
  signal?: AbortSignal;
  /** Storage type of keys and values. Default f32. */
  cacheDtype?: DType;
}

/** Why a generation ended. */
export type FinishReason = "stop" | "length";

/** The longest part of a prompt that one pass takes; longer prompts run the same plan several times. */
const CHUNK = 256;
/** Capacities are multiples of this, so that texts of similar length share plans. */
const ROOM = 64;

/**
 * Continues a text, token by token: the prompt in a few passes, then one pass a token, over a cache of fixed size, so
 * that all steps share one plan. The model's mode and adapters are used as they are.
 *
 * @example
 * ```ts
 * for await (const id of generate(model, promptIds, { maxNewTokens: 64, temperature: 0.8, seed: 1 })) show(id);
 * ```
 * @throws ConfigError if a setting is out of range or prompt and new tokens exceed the model's positions.
 */
export async function* generate(
  model: CausalLM,
  prompt: ArrayLike<number>,
  options: GenerateOptions = {},
): AsyncGenerator<number, FinishReason> {
  const { maxNewTokens = 256, seed = 0, stopIds = model.config.eosTokenIds, stopWhen, signal } = options;
  checkSampling("generate", options);
  const { maxPositions, vocabSize } = model.config;
  if (prompt.length === 0) {
    throw new ConfigError({
      where: "generate",
      expected: "a prompt of at least one token",
      got: "none",
      hint: "begin with the model's bos token",
    });
  }
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new ConfigError({
      where: "generate",
      expected: "maxNewTokens of at least 1",
      got: String(maxNewTokens),
    });
  }
  if (prompt.length >= maxPositions) {
    throw new ConfigError({
      where: "generate",
      expected: `a prompt shorter than the model's ${maxPositions} positions`,
      got: `${prompt.length} tokens`,
      hint: "cut the prompt",
    });
  }
  model.ids([Array.from(prompt)]); // checks that the tokens are the model's
  const room = Math.min(prompt.length + maxNewTokens, maxPositions);
  const capacity = Math.ceil(Math.max(room, paddedLength(prompt.length)) / ROOM) * ROOM;
  const cache = model.newCache({ capacity, dtype: options.cacheDtype });
  const random = randomStream(seed);
  const stops = new Set(stopIds);
  const seen = Array.from(prompt);
  const fresh: number[] = [];

  let logits = await prefill(model, cache, seen, signal);
  for (;;) {
    const id = sampleToken(logits, options, random, seen);
    if (id < 0 || id >= vocabSize || Number.isNaN(logits[id])) {
      throw new ConfigError({
        where: "generate",
        expected: "finite logits",
        got: `NaN after ${seen.length} tokens`,
      });
    }
    if (stops.has(id)) return "stop";
    seen.push(id);
    fresh.push(id);
    yield id;
    if (stopWhen?.(fresh)) return "stop";
    if (fresh.length >= maxNewTokens || seen.length >= maxPositions) return "length";
    signal?.throwIfAborted();
    logits = await pass(model, cache, [id], 1);
  }
}

/** Places that a prompt takes in the cache with its last chunk padded. */
const paddedLength = (length: number): number => {
  const last = ((length - 1) % CHUNK) + 1;
  return length - last + padded(last);
};

/** The next power of two, at least 16: few plans for many prompt lengths. */
const padded = (length: number): number => Math.max(16, 2 ** Math.ceil(Math.log2(length)));

/** Runs the prompt through the model and gives the logits of its last token. */
async function prefill(
  model: CausalLM,
  cache: KVCache,
  prompt: readonly number[],
  signal: AbortSignal | undefined,
): Promise<ArrayLike<number>> {
  let at = 0;
  for (;;) {
    signal?.throwIfAborted();
    const part = prompt.slice(at, at + CHUNK);
    at += part.length;
    const width = at < prompt.length ? part.length : padded(part.length);
    // Padding writes keys behind the last token: hidden by the causal mask, and overwritten by the next tokens.
    const logits = await pass(
      model,
      cache,
      [...part, ...new Array<number>(width - part.length).fill(0)],
      part.length,
    );
    if (at >= prompt.length) return logits;
  }
}

/** One pass: tokens into the cache, of which the first `count` are real; logits of the last real one. */
async function pass(
  model: CausalLM,
  cache: KVCache,
  ids: number[],
  count: number,
): Promise<ArrayLike<number>> {
  const last = tensor(Int32Array.of(count - 1), { dtype: "i32", shape: [1] });
  const hidden: Tensor = model.hidden(model.ids([ids]), { cache });
  const logits = model.logits(take(hidden, last, 1)).astype("f32"); // [1, 1, vocabulary]
  await evaluate(logits, ...cache.pending());
  cache.advance(count);
  const data = await logits.data();
  logits.dispose();
  return data;
}
