import { argmax, ConfigError, crossEntropy, eq, evaluate, take, type Tensor, tensor } from "@lowrank/tensor";
import type { KVCache } from "@lowrank/nn";
import type { CausalLM } from "./causal-lm.js";
import { letEventsRun } from "./event-loop.js";

/** A text whose second part is to be scored. */
export interface TokensToScore {
  /** At least one token. */
  readonly prompt: readonly number[];
  /** At least one token. */
  readonly continuation: readonly number[];
}

/** How likely a continuation is. */
export interface ContinuationScore {
  /** Σ log p of its tokens, in nats. */
  readonly logprob: number;
  /** Whether each of its tokens is the likeliest at its place. */
  readonly isGreedy: boolean;
  readonly ids: readonly number[];
  /** log p of each token. */
  readonly logprobs: readonly number[];
}

export interface ScoreOptions {
  /** Texts that are computed at a time. Default 8. */
  batch?: number;
  /** Ends the work before the next pass of the model, with the signal's reason. */
  signal?: AbortSignal;
}

/** A prompt that several continuations share is read once if it has at least this many tokens. */
const WORTH_SHARING = 16;
/** The longest part of a prompt that one pass takes. */
const CHUNK = 256;
/** Rows of logits that exist at a time. */
const LOGIT_ROWS = 256;

const roundUp = (n: number): number => Math.ceil(n / 16) * 16;

/**
 * Log-likelihoods of continuations: log p(continuation | prompt) = Σ_i log p(c_i | prompt, c_1 .. c_{i-1}).
 *
 * Texts are computed in batches of similar length, padded at their end. Where several have the same prompt it is read
 * once, and its keys and values are repeated for the batch.
 *
 * @returns the scores in the order of the texts.
 * @throws ConfigError for a text without a prompt or continuation, or one longer than the model's positions.
 */
export async function scoreTokens(
  model: CausalLM,
  texts: readonly TokensToScore[],
  { batch = 8, signal }: ScoreOptions = {},
): Promise<ContinuationScore[]> {
  if (!Number.isInteger(batch) || batch < 1) {
    throw new ConfigError({ where: "scoreTokens", expected: "batch of at least 1", got: String(batch) });
  }
  for (const [i, text] of texts.entries()) checkText(model, text, i);
  const scores = new Array<ContinuationScore>(texts.length);
  const groups = new Map<string, number[]>();
  for (const [i, { prompt }] of texts.entries()) {
    const name = prompt.join();
    groups.set(name, [...(groups.get(name) ?? []), i]);
  }
  const alone: number[] = [];
  for (const group of groups.values()) {
    const { prompt } = texts[group[0]!]!;
    if (group.length === 1 || prompt.length < WORTH_SHARING) {
      alone.push(...group);
      continue;
    }
    const cache = await readPrompt(model, prompt.slice(0, -1), signal);
    for (const part of batches(texts, group, batch)) {
      const rows = part.map((i) => [prompt.at(-1)!, ...texts[i]!.continuation.slice(0, -1)]);
      const width = roundUp(Math.max(...rows.map((row) => row.length)));
      const repeated = await cache.repeat(rows.length, prompt.length - 1 + width);
      await scoreRows(model, texts, part, rows, 1, scores, repeated, signal);
      repeated.dispose();
    }
    cache.dispose();
  }
  for (const part of batches(texts, alone, batch)) {
    const rows = part.map((i) => [...texts[i]!.prompt, ...texts[i]!.continuation.slice(0, -1)]);
    await scoreRows(model, texts, part, rows, 0, scores, undefined, signal);
  }
  return scores;
}

function checkText(model: CausalLM, { prompt, continuation }: TokensToScore, i: number): void {
  const { maxPositions } = model.config;
  const refuse = (expected: string, got: string): never => {
    throw new ConfigError({ where: `scoreTokens, text ${i}`, expected, got });
  };
  if (prompt.length === 0) refuse("a prompt of at least one token", "none");
  if (continuation.length === 0) refuse("a continuation of at least one token", "none");
  const length = prompt.length + continuation.length - 1;
  if (length > maxPositions)
    refuse(`at most ${maxPositions + 1} tokens, by the model's positions`, String(length + 1));
  model.ids([[...prompt, ...continuation]]); // checks that the tokens are the model's
}

/** Texts by length, so many at a time. */
function* batches(
  texts: readonly TokensToScore[],
  which: readonly number[],
  batch: number,
): Generator<number[]> {
  const length = (i: number): number => texts[i]!.prompt.length + texts[i]!.continuation.length;
  const sorted = [...which].sort((a, b) => length(b) - length(a) || a - b);
  for (let at = 0; at < sorted.length; at += batch) yield sorted.slice(at, at + batch);
}

async function readPrompt(
  model: CausalLM,
  prompt: readonly number[],
  signal: AbortSignal | undefined,
): Promise<KVCache> {
  const cache = model.newCache({ capacity: roundUp(prompt.length) });
  for (let at = 0; at < prompt.length; at += CHUNK) {
    await letEventsRun();
    signal?.throwIfAborted();
    const part = prompt.slice(at, at + CHUNK);
    const ids = [...part, ...new Array<number>(roundUp(part.length) - part.length).fill(0)];
    model.hidden(model.ids([ids]), { cache });
    await evaluate(...cache.pending());
    cache.advance(part.length);
  }
  return cache;
}

/** Scores one batch. Continuations begin to be predicted at place prompt − 1 of their rows, or at 0 behind a cache. */
async function scoreRows(
  model: CausalLM,
  texts: readonly TokensToScore[],
  part: readonly number[],
  rows: readonly number[][],
  behindCache: 0 | 1,
  scores: ContinuationScore[],
  cache: KVCache | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  await letEventsRun();
  signal?.throwIfAborted();
  const width = Math.min(
    roundUp(Math.max(...rows.map((row) => row.length))),
    Math.max(model.config.maxPositions, ...rows.map((row) => row.length)),
  );
  const ids = rows.map((row) => [...row, ...new Array<number>(width - row.length).fill(0)]);
  const places: number[] = [];
  const targets: number[] = [];
  for (const [r, i] of part.entries()) {
    const { prompt, continuation } = texts[i]!;
    const first = behindCache ? 0 : prompt.length - 1;
    for (const [j, id] of continuation.entries()) {
      places.push(r * width + first + j);
      targets.push(id);
    }
  }
  const hidden = model.hidden(model.ids(ids), { cache });
  const flat = hidden.reshape([rows.length * width, -1]);
  await evaluate(flat);
  const logprobs: number[] = [];
  const likeliest: boolean[] = [];
  for (let at = 0; at < places.length; at += LOGIT_ROWS) {
    signal?.throwIfAborted();
    const end = Math.min(at + LOGIT_ROWS, places.length);
    const got = await scorePlaces(model, flat, places.slice(at, end), targets.slice(at, end));
    for (let i = 0; i < end - at; i++) {
      logprobs.push(-got.loss[i]!);
      likeliest.push(got.hits[i] !== 0);
    }
  }
  flat.dispose();
  let from = 0;
  for (const i of part) {
    const { continuation } = texts[i]!;
    const to = from + continuation.length;
    const own = logprobs.slice(from, to);
    scores[i] = {
      logprob: own.reduce((sum, x) => sum + x, 0),
      isGreedy: likeliest.slice(from, to).every(Boolean),
      ids: continuation,
      logprobs: own,
    };
    from = to;
  }
}

/** −log p of the targets at places of the states [rows, width], and whether each is the likeliest; padded at the end. */
async function scorePlaces(
  model: CausalLM,
  states: Tensor,
  places: readonly number[],
  targets: readonly number[],
): Promise<{ loss: ArrayLike<number>; hits: ArrayLike<number> }> {
  const index = (values: readonly number[]): Tensor =>
    tensor([...values, ...new Array<number>(roundUp(values.length) - values.length).fill(0)], {
      dtype: "i32",
    });
  const wanted = index(targets);
  const logits = model.logits(take(states, index(places), 0)).astype("f32"); // [n, vocabulary]
  const loss = crossEntropy(logits, wanted, { reduction: "none" });
  const hits = eq(argmax(logits, -1), wanted).astype("i32");
  await evaluate(loss, hits);
  return { loss: await loss.data(), hits: await hits.data() };
}
