import { ConfigError } from "@lowrank/tensor";

export interface SamplingOptions {
  /** Takes the most likely token always; the other settings but the repetition penalty have no effect. Default false. */
  greedy?: boolean;
  /** Divides the logits. Default 1. */
  temperature?: number;
  /** Keeps the k most likely tokens. Default: all. */
  topK?: number;
  /** Keeps the fewest tokens whose probabilities reach this sum. Default 1. */
  topP?: number;
  /** Keeps tokens at least this fraction as likely as the most likely one. Default 0. */
  minP?: number;
  /** Divides positive and multiplies negative logits of tokens that occurred. Default 1. */
  repetitionPenalty?: number;
}

const RULES: readonly [keyof SamplingOptions, string, (x: number) => boolean][] = [
  ["temperature", "a number above 0 (for the most likely token: greedy)", (x) => x > 0 && Number.isFinite(x)],
  ["topK", "an integer of at least 1", (x) => Number.isInteger(x) && x >= 1],
  ["topP", "a number above 0, at most 1", (x) => x > 0 && x <= 1],
  ["minP", "a number from 0 to 1", (x) => x >= 0 && x <= 1],
  ["repetitionPenalty", "a number above 0", (x) => x > 0 && Number.isFinite(x)],
];

/** @throws ConfigError naming the setting that is out of range. */
export function checkSampling(where: string, options: SamplingOptions): void {
  for (const [name, expected, holds] of RULES) {
    const value = options[name];
    if (value !== undefined && !(typeof value === "number" && holds(value))) {
      throw new ConfigError({ where, expected: `${name} to be ${expected}`, got: String(value) });
    }
  }
}

/**
 * Chooses a token from logits [vocabulary] in the order of Hugging Face's generation: repetition penalty, temperature,
 * top-k, top-p, min-p, then a draw. `random` gives numbers from 0 to below 1; `seen` are the tokens so far.
 *
 * Sources: repetition penalty: Keskar et al. 2019, arXiv:1909.05858, section 4.1; top-k: Fan et al. 2018,
 * arXiv:1805.04833; top-p: Holtzman et al. 2019, arXiv:1904.09751; min-p: Nguyen et al. 2024, arXiv:2407.01082.
 */
export function sampleToken(
  logits: ArrayLike<number>,
  options: SamplingOptions,
  random: () => number,
  seen: Iterable<number> = [],
): number {
  const { greedy = false, temperature = 1, topK, topP = 1, minP = 0, repetitionPenalty = 1 } = options;
  const scores = Float64Array.from(logits);
  if (repetitionPenalty !== 1) {
    for (const id of new Set(seen)) {
      const score = scores[id]!;
      scores[id] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    }
  }
  const best = argmax(scores);
  if (greedy) return best;
  const weights = scores.map((score) => Math.exp((score - scores[best]!) / temperature)); // relative to the likeliest
  let kept = Array.from(weights.keys());
  if (topK !== undefined && topK < kept.length) kept = likeliest(kept, scores, topK);
  if (topP < 1) kept = nucleus(kept, weights, topP);
  if (minP > 0) kept = kept.filter((id) => weights[id]! >= minP);
  let draw = random() * kept.reduce((sum, id) => sum + weights[id]!, 0);
  for (const id of kept) {
    draw -= weights[id]!;
    if (draw < 0) return id;
  }
  return best; // rounding left a rest
}

/** The k ids of highest score, the smaller id first among equals. */
function likeliest(ids: readonly number[], scores: Float64Array, k: number): number[] {
  const least = scores.slice().sort()[scores.length - k]!;
  return byScore(
    ids.filter((id) => scores[id]! >= least),
    scores,
  ).slice(0, k);
}

/** The fewest ids whose weights reach a share p of the sum. */
function nucleus(ids: readonly number[], weights: Float64Array, p: number): number[] {
  const total = ids.reduce((sum, id) => sum + weights[id]!, 0);
  // All ids below this weight together have less than the share that is left out, so they need not be sorted.
  const floor = ((1 - p) * total) / ids.length;
  const order = byScore(
    ids.filter((id) => weights[id]! >= floor),
    weights,
  );
  let [sum, count] = [0, 0];
  while (count < order.length && sum < p * total) sum += weights[order[count++]!]!;
  return order.slice(0, count);
}

/** The likeliest first; equal ones by id, so that the choice does not depend on the sort. */
const byScore = (ids: number[], scores: Float64Array): number[] =>
  ids.sort((a, b) => scores[b]! - scores[a]! || a - b);

function argmax(scores: Float64Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[best]!) best = i;
  return best;
}

/** Numbers from 0 to below 1, the same for the same seed on every host: the generator sfc32 (C. Doty-Humphrey, PractRand). */
export function randomStream(seed: number): () => number {
  let [a, b, c, d] = [0, seed | 0, Math.floor(seed / 2 ** 32) | 0, 1];
  const next = (): number => {
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 15; i++) next(); // mixes the seed in
  return () => (next() * 2 ** 21 + (next() >>> 11)) / 2 ** 53;
}
