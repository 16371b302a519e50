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
 * top-k, top-p, min-p, then a draw. `random` gives numbers from 0 to below 1; `seen` are the tokens so far. Among equally
 * likely tokens those of smaller id are kept. The time is linear in the vocabulary: nothing is sorted.
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
  const scores = repetitionPenalty === 1 ? logits : penalized(logits, seen, repetitionPenalty);
  const best = argmax(scores);
  if (greedy) return best;
  const most = scores[best]!;
  const weights = new Float64Array(scores.length); // probabilities relative to the likeliest token's
  for (let i = 0; i < weights.length; i++) weights[i] = Math.exp((scores[i]! - most) / temperature);
  // A token is kept if its weight is above the cut, or equals it and is among the first `ties` of those that do.
  let cut = { weight: 0, ties: weights.length };
  if (topK !== undefined && topK < weights.length) cut = likeliest(weights, topK);
  if (topP < 1) cut = nucleus(weights, cut, topP);
  if (minP > cut.weight) cut = { weight: minP, ties: weights.length };
  const { ids, total } = kept(weights, cut);
  let draw = random() * total;
  for (const id of ids) {
    draw -= weights[id]!;
    if (draw < 0) return id;
  }
  return best; // rounding left a rest
}

/** log p of every token of logits [vocabulary]: x − log Σ exp x. */
export function logProbabilities(logits: ArrayLike<number>): Float64Array {
  const most = logits[argmax(logits)]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - most);
  const shift = most + Math.log(sum);
  const all = new Float64Array(logits.length);
  for (let i = 0; i < all.length; i++) all[i] = logits[i]! - shift;
  return all;
}

/** The n ids of highest score, the highest first, the smaller id first among equals. */
export function highest(scores: ArrayLike<number>, n: number): number[] {
  const best: number[] = [];
  for (let id = 0; id < scores.length; id++) {
    if (best.length === n && !(scores[id]! > scores[best[n - 1]!]!)) continue;
    let at = best.length;
    while (at > 0 && scores[best[at - 1]!]! < scores[id]!) at--;
    best.splice(at, 0, id);
    if (best.length > n) best.pop();
  }
  return best;
}

function penalized(logits: ArrayLike<number>, seen: Iterable<number>, penalty: number): Float64Array {
  const scores = Float64Array.from(logits);
  for (const id of new Set(seen)) {
    const score = scores[id]!;
    scores[id] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
}

interface Cut {
  readonly weight: number;
  readonly ties: number;
}

function kept(weights: Float64Array, { weight, ties }: Cut): { ids: Int32Array; total: number } {
  const ids = new Int32Array(weights.length);
  let [count, total, left] = [0, 0, ties];
  for (let id = 0; id < weights.length; id++) {
    const w = weights[id]!;
    if (w > weight || (w === weight && left-- > 0)) {
      ids[count++] = id;
      total += w;
    }
  }
  return { ids: ids.subarray(0, count), total };
}

/** Keeps the k largest weights. */
function likeliest(weights: Float64Array, k: number): Cut {
  return fewest(weights.slice(), (_, count) => count >= k);
}

/** Keeps the fewest of the weights kept so far that reach a share p of their sum. */
function nucleus(weights: Float64Array, cut: Cut, p: number): Cut {
  const { ids, total } = kept(weights, cut);
  // All weights below this one together have less than the share that is left out.
  const least = ((1 - p) * total) / ids.length;
  const values = new Float64Array(ids.length);
  let count = 0;
  for (const id of ids) if (weights[id]! >= least) values[count++] = weights[id]!;
  return fewest(values.subarray(0, count), (sum) => sum >= p * total);
}

/**
 * The cut that keeps the fewest of the largest values whose sum and count are enough, found as a median is by
 * quickselect: each round throws away the part of the values on whose side the cut does not lie. Reorders `values`.
 */
function fewest(values: Float64Array, enough: (sum: number, count: number) => boolean): Cut {
  let [from, to] = [0, values.length]; // values before `from` are kept, those from `to` on are not
  let sum = 0;
  for (;;) {
    if (from >= to) return { weight: 0, ties: values.length }; // all together are not enough, by rounding
    const pivot = middle(values[from]!, values[(from + to) >> 1]!, values[to - 1]!);
    // values[from..above) > pivot, values[above..below) = pivot, values[below..to) < pivot
    let [above, below, at, larger] = [from, to, from, 0];
    while (at < below) {
      const value = values[at]!;
      if (value > pivot) {
        larger += value;
        values[at++] = values[above]!;
        values[above++] = value;
      } else if (value < pivot) {
        values[at] = values[--below]!;
        values[below] = value;
      } else at++;
    }
    if (above > from && enough(sum + larger, above)) {
      to = above;
      continue;
    }
    for (let ties = 1; ties <= below - above; ties++) {
      if (enough(sum + larger + ties * pivot, above + ties)) return { weight: pivot, ties };
    }
    sum += larger + (below - above) * pivot;
    from = below;
  }
}

const middle = (a: number, b: number, c: number): number =>
  Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));

/** The first place of the largest value; of a NaN, if there is one. */
export function argmax(scores: ArrayLike<number>): number {
  let best = 0;
  for (let i = 0; i < scores.length; i++) {
    if (scores[i]! > scores[best]!) best = i;
    else if (Number.isNaN(scores[i])) return i;
  }
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
