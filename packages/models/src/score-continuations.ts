import { ConfigError } from "@lowrank/tensor";
import type { CausalLM } from "./causal-lm.js";
import {
  type ContinuationScore,
  type ScoreOptions,
  scoreTokens,
  type TokensToScore,
} from "./score-tokens.js";
import { promptIds } from "./stream-text.js";
import type { Tokenizer } from "./tokenizer.js";

/** A prompt, and a text that may follow it. */
export interface Continuation {
  /** May be empty: the continuation then follows the token that begins a text. */
  readonly prompt: string;
  /** With the space that parts it from the prompt, if there is one. */
  readonly continuation: string;
}

/**
 * How likely a model holds texts to follow prompts: what multiple-choice evaluations, ranking and classification are made
 * of.
 *
 *     logprob = Σ_i log p(c_i | prompt, c_1 .. c_{i-1})
 *
 * Prompt and continuation are tokenized as one text. A token that spans their border counts to the continuation.
 *
 * @example
 * ```ts
 * const [yes, no] = await scoreContinuations(model, tokenizer, [
 *   { prompt: "Is a whale a fish? Answer:", continuation: " yes" },
 *   { prompt: "Is a whale a fish? Answer:", continuation: " no" },
 * ]);
 * ```
 * @returns the scores in the order of the texts.
 * @throws ConfigError for an empty continuation, or a text longer than the model's positions.
 */
export function scoreContinuations(
  model: CausalLM,
  tokenizer: Tokenizer,
  texts: readonly Continuation[],
  options: ScoreOptions = {},
): Promise<ContinuationScore[]> {
  return scoreTokens(
    model,
    texts.map((text, i) => tokens(model, tokenizer, text, i)),
    options,
  );
}

function tokens(
  model: CausalLM,
  tokenizer: Tokenizer,
  { prompt, continuation }: Continuation,
  i: number,
): TokensToScore {
  const before = prompt === "" ? [] : tokenizer.encode(prompt);
  const whole = tokenizer.encode(prompt + continuation);
  let common = 0;
  while (common < before.length && before[common] === whole[common]) common++;
  if (common === 0) {
    const open = promptIds(model, tokenizer, "");
    // A tokenizer that puts the opening token itself has done so.
    common = open.every((id, at) => whole[at] === id) ? open.length : 0;
    if (common === 0) return nonEmpty({ prompt: open, continuation: whole }, i);
  }
  return nonEmpty({ prompt: whole.slice(0, common), continuation: whole.slice(common) }, i);
}

function nonEmpty(text: TokensToScore, i: number): TokensToScore {
  if (text.continuation.length > 0) return text;
  throw new ConfigError({
    where: `scoreContinuations, text ${i}`,
    expected: "a continuation of at least one token",
    got: "none",
  });
}

export interface ClassifyOptions extends ScoreOptions {
  /**
   * What labels of several tokens are compared by: "sum" of log p, the likelihood of the label; "mean" per token, which
   * does not hold long labels back. Default "sum".
   */
  compare?: "sum" | "mean";
}

export interface Classification {
  /** The likeliest label. */
  readonly label: string;
  /** Its place among the labels. */
  readonly index: number;
  /** softmax of what labels are compared by, in their order. */
  readonly probabilities: readonly number[];
  readonly scores: readonly ContinuationScore[];
}

/**
 * Chooses for each prompt the label that the model holds the likeliest continuation. Give labels with the space that
 * parts them from the prompt.
 *
 * Source: Brown et al. 2020, arXiv:2005.14165, section 2.4 (multiple choice by the likelihood of each completion).
 *
 * @example
 * ```ts
 * const [found] = await classifyByContinuation(model, tokenizer, ["Great film! Sentiment:"], [" positive", " negative"]);
 * ```
 */
export async function classifyByContinuation(
  model: CausalLM,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  labels: readonly string[],
  { compare = "sum", ...options }: ClassifyOptions = {},
): Promise<Classification[]> {
  if (labels.length < 2) {
    throw new ConfigError({
      where: "classifyByContinuation",
      expected: "two labels or more",
      got: String(labels.length),
    });
  }
  const texts = prompts.flatMap((prompt) => labels.map((continuation) => ({ prompt, continuation })));
  const all = await scoreContinuations(model, tokenizer, texts, options);
  return prompts.map((_, p) => {
    const scores = all.slice(p * labels.length, (p + 1) * labels.length);
    const values = scores.map(({ logprob, ids }) => (compare === "mean" ? logprob / ids.length : logprob));
    const most = Math.max(...values);
    const weights = values.map((value) => Math.exp(value - most));
    const total = weights.reduce((sum, w) => sum + w, 0);
    const index = values.indexOf(most);
    return { label: labels[index]!, index, probabilities: weights.map((w) => w / total), scores };
  });
}
