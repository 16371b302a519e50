import { ConfigError } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  checkSampling,
  highest,
  logProbabilities,
  randomStream,
  sampleToken,
  type SamplingOptions,
} from "./sampling.js";

// Probabilities 0.5, 0.25, 0.15, 0.1, in another order.
const P = [0.15, 0.5, 0.1, 0.25];
const logits = P.map(Math.log);

/** Share of each token in many draws. */
function shares(options: SamplingOptions, seen: number[] = []): number[] {
  const random = randomStream(1);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 20_000; i++) counts[sampleToken(logits, options, random, seen)]!++;
  return counts.map((c) => c / 20_000);
}

const near = (got: number[], want: number[]): void => {
  for (const [i, w] of want.entries()) expect(Math.abs(got[i]! - w)).toBeLessThan(0.015);
};

describe("sampleToken", () => {
  test("draws by the probabilities", () => near(shares({}), P));
  test("greedy takes the likeliest", () => expect(shares({ greedy: true })).toEqual([0, 1, 0, 0]));
  test("temperature ½ squares the odds", () => {
    const total = P.reduce((sum, p) => sum + p * p, 0);
    near(
      shares({ temperature: 0.5 }),
      P.map((p) => (p * p) / total),
    );
  });
  test("top-k keeps the k likeliest", () => near(shares({ topK: 2 }), [0, 2 / 3, 0, 1 / 3]));
  test("top-p keeps the fewest whose sum reaches p", () => {
    near(shares({ topP: 0.75 }), [0, 2 / 3, 0, 1 / 3]);
    near(shares({ topP: 0.76 }), [0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9]);
    expect(shares({ topP: 0.01 })).toEqual([0, 1, 0, 0]);
  });
  test("min-p keeps what is likely enough beside the likeliest", () => {
    near(shares({ minP: 0.3 }), [0.15 / 0.9, 0.5 / 0.9, 0, 0.25 / 0.9]);
    expect(shares({ minP: 1 })).toEqual([0, 1, 0, 0]);
  });
  test("the repetition penalty lowers what was seen, whatever the sign of its logit", () => {
    expect(sampleToken([2, 1.5], { greedy: true, repetitionPenalty: 1.4 }, Math.random, [0])).toBe(1);
    expect(sampleToken([-1, -1.2], { greedy: true, repetitionPenalty: 1.4 }, Math.random, [0, 0])).toBe(1);
    expect(sampleToken([2, 1.5], { greedy: true, repetitionPenalty: 1.2 }, Math.random, [0])).toBe(0);
  });
  test("keeps what sorting would keep, ties and cuts in any combination", () => {
    const random = randomStream(11);
    for (let run = 0; run < 200; run++) {
      const scores = Array.from({ length: 40 }, () => Math.round(random() * 12) / 3); // with ties
      const topK = run % 3 === 0 ? undefined : 1 + Math.floor(random() * 40);
      const topP = run % 4 === 0 ? 1 : random() || 1;
      const minP = run % 5 === 0 ? 0 : random() * 0.3;
      const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, topK);
      const weight = (id: number): number => Math.exp(scores[id]! - scores[order[0]!]!);
      const total = order.reduce((sum, id) => sum + weight(id), 0);
      let [sum, count] = [0, 0];
      while (count < order.length && sum < topP * total * (1 - 1e-12)) sum += weight(order[count++]!);
      const wanted = order.slice(0, topP < 1 ? count : order.length).filter((id) => weight(id) >= minP);
      const got = new Set<number>();
      for (let u = 0; u < 1; u += 1 / 4096) got.add(sampleToken(scores, { topK, topP, minP }, () => u));
      expect([...got].sort((a, b) => a - b)).toEqual(wanted.sort((a, b) => a - b));
    }
  });

  test("equal logits fall to the smaller id", () =>
    expect(sampleToken([1, 1, 1], { topK: 1 }, () => 0.99)).toBe(0));

  test.each([
    [{ temperature: 0 }, /temperature to be a number above 0 \(for the most likely token: greedy\), got 0/],
    [{ topK: 0 }, /topK to be an integer of at least 1/],
    [{ topP: 1.1 }, /topP to be a number above 0, at most 1/],
    [{ minP: -0.1 }, /minP/],
    [{ repetitionPenalty: Number.NaN }, /repetitionPenalty/],
  ])("refuses %o", (options, message) => {
    expect(() => checkSampling("generate", options)).toThrow(message);
    expect(() => checkSampling("generate", options)).toThrow(ConfigError);
  });
});

test("log p add up to 1, and the highest come first, the smaller id before its equals", () => {
  const p = logProbabilities([1, 3, 2, 3, -5]);
  expect(p.reduce((sum, x) => sum + Math.exp(x), 0)).toBeCloseTo(1, 12);
  expect(p[1]! - p[2]!).toBeCloseTo(1, 12);
  expect(highest(p, 4)).toEqual([1, 3, 2, 0]);
  expect(highest(p, 0)).toEqual([]);
});

test("a random stream repeats for its seed, and differs for others, large ones too", () => {
  const take = (seed: number): number[] => Array.from({ length: 4 }, randomStream(seed));
  expect(take(5)).toEqual(take(5));
  expect(new Set([0, 1, 2 ** 32, 2 ** 33 + 1].flatMap(take)).size).toBe(16);
  const random = randomStream(3);
  let sum = 0;
  for (let i = 0; i < 10_000; i++) sum += random();
  expect(sum / 10_000).toBeCloseTo(0.5, 1);
});
