import { ConfigError, type DType } from "@lowrank/tensor";
import type { CausalLM } from "./causal-lm.js";
import { GenerationContext } from "./generation-context.js";
import {
  checkSampling,
  highest,
  logProbabilities,
  randomStream,
  sampleToken,
  type SamplingOptions,
} from "./sampling.js";

/** A token and how likely the model held it. */
export interface TokenLogprob {
  readonly id: number;
  /** log p in nats, by the logits as the model gave them: before temperature, penalty and cuts. */
  readonly logprob: number;
}

/** A token that was made, with the likeliest ones at its place. */
export interface GeneratedToken extends TokenLogprob {
  /** As many as `logprobs` asks for, the likeliest first. */
  readonly top: readonly TokenLogprob[];
}

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to make at most. Default 256. */
  maxNewTokens?: number;
  /** Default 0. The same seed gives the same tokens. */
  seed?: number;
  /** Tokens that end the text; they are not given out. Default: the end tokens of the configuration. */
  stopIds?: readonly number[];
  /** Looks at the new tokens so far and says whether to end, as for a stop string. */
  stopWhen?: (newIds: readonly number[]) => boolean;
  /** Calls `onToken` with log p of each new token and of this many likeliest ones, 0 for none. Default: it is not computed. */
  logprobs?: number;
  /** Is called before its token is given out. */
  onToken?: (token: GeneratedToken) => void;
  /** Ends the generation before the next pass of the model, with the signal's reason. */
  signal?: AbortSignal;
  /** Storage type of keys and values. Default f32. */
  cacheDtype?: DType;
  /**
   * What was read before: where the prompt begins in the same way, that part is not computed again, and what is read now
   * stays there for the next. Default: a new one, given back at the end.
   */
  context?: GenerationContext;
}

/** Why a generation ended. */
export type FinishReason = "stop" | "length";

/**
 * Continues a text, token by token: the prompt in a few passes, then one pass a token, over a cache that grows, so that
 * steps share a plan and build no graph. The model's mode and adapters are used as they are at the start.
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
  check(model, prompt, options);
  const context = options.context ?? new GenerationContext(model, { dtype: options.cacheDtype });
  const random = randomStream(seed);
  const stops = new Set(stopIds);
  const seen = Array.from(prompt);
  const fresh: number[] = [];
  try {
    for (;;) {
      const logits = await context.read(seen, signal);
      const id = sampleToken(logits, options, random, seen);
      if (Number.isNaN(logits[id])) {
        throw new ConfigError({
          where: "generate",
          expected: "finite logits",
          got: `NaN after ${seen.length} tokens`,
        });
      }
      if (stops.has(id)) return "stop";
      seen.push(id);
      fresh.push(id);
      if (options.logprobs !== undefined) options.onToken?.(withLogprobs(logits, id, options.logprobs));
      yield id;
      if (stopWhen?.(fresh)) return "stop";
      if (fresh.length >= maxNewTokens || seen.length >= model.config.maxPositions) return "length";
    }
  } finally {
    if (options.context === undefined) context.dispose();
  }
}

function withLogprobs(logits: Float32Array, id: number, count: number): GeneratedToken {
  const all = logProbabilities(logits);
  const of = (token: number): TokenLogprob => ({ id: token, logprob: all[token]! });
  return { ...of(id), top: highest(logits, count).map(of) };
}

function check(model: CausalLM, prompt: ArrayLike<number>, options: GenerateOptions): void {
  checkSampling("generate", options);
  const refuse = (expected: string, got: string, hint?: string): never => {
    throw new ConfigError({ where: "generate", expected, got, ...(hint === undefined ? {} : { hint }) });
  };
  const { maxNewTokens = 256, logprobs = 0, context, cacheDtype } = options;
  const { maxPositions } = model.config;
  if (prompt.length === 0)
    refuse("a prompt of at least one token", "none", "begin with the model's bos token");
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1)
    refuse("maxNewTokens of at least 1", String(maxNewTokens));
  if (!Number.isInteger(logprobs) || logprobs < 0) refuse("logprobs of at least 0", String(logprobs));
  if (prompt.length >= maxPositions)
    refuse(
      `a prompt shorter than the model's ${maxPositions} positions`,
      `${prompt.length} tokens`,
      "cut the prompt",
    );
  if (context !== undefined && context.model !== model) refuse("a context of the same model", "another's");
  if (context !== undefined && cacheDtype !== undefined)
    refuse("cacheDtype or a context, which has its own", "both");
  model.ids([Array.from(prompt)]); // checks that the tokens are the model's
}
