import { ConfigError } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { checkSampling, randomStream, sampleToken, type SamplingOptions } from "./sampling.js";

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

test("a random stream repeats for its seed, and differs for others, large ones too", () => {
  const take = (seed: number): number[] => Array.from({ length: 4 }, randomStream(seed));
  expect(take(5)).toEqual(take(5));
  expect(new Set([0, 1, 2 ** 32, 2 ** 33 + 1].flatMap(take)).size).toBe(16);
  const random = randomStream(3);
  let sum = 0;
  for (let i = 0; i < 10_000; i++) sum += random();
  expect(sum / 10_000).toBeCloseTo(0.5, 1);
});
