import { expect, test } from "vitest";
import { digest, disagreement } from "../src/check.js";
import { filled, integers, numbers } from "../src/inputs.js";

test("inputs are the same numbers on every machine and in every language", () => {
  // From src/contenders/native.py: unit(4, 7) · 1000.
  const drawn = integers({ shape: [4], seed: 7, below: 1000 });
  expect([...drawn]).toEqual([471, 972, 471, 132]);
  expect(numbers(filled([2, 3], 1, 2, 10)).every((x) => x >= 9 && x < 11)).toBe(true);
});

test("inputs are spread evenly and do not repeat between seeds", () => {
  const a = numbers(filled([100_000], 1, 1));
  const b = numbers(filled([100_000], 2, 1));
  const mean = (f: (i: number) => number): number => a.reduce((s, _, i) => s + f(i), 0) / a.length;
  expect(Math.abs(mean((i) => a[i]!))).toBeLessThan(0.005);
  expect(mean((i) => a[i]! ** 2)).toBeCloseTo(1 / 12, 3);
  expect(Math.abs(mean((i) => a[i]! * b[i]!))).toBeLessThan(0.002);
});

test("a digest tells apart arrays that differ in values, order or length", () => {
  const x = numbers(filled([5000], 1, 2));
  const reversed = x.slice().reverse();
  const scaled = x.map((v) => v * 1.001);
  expect(disagreement(digest(x), digest(x.slice()), 1e-6)).toBeNull();
  expect(disagreement(digest(reversed), digest(x), 1e-2)).toMatch(/^elements\[\d+\] is/);
  expect(disagreement(digest(scaled), digest(x), 1e-4)).toMatch(/^elements\[0\] is/);
  expect(disagreement(digest(scaled), digest(x), 1e-2)).toBeNull();
});

test("parts that are missing, short or NaN disagree", () => {
  expect(disagreement({ loss: [1] }, { loss: [1], w: [2] }, 0.1)).toMatch(/w has no numbers/);
  expect(disagreement({ loss: [1, 2] }, { loss: [1] }, 0.1)).toMatch(/loss has 2 numbers where 1/);
  expect(disagreement({ loss: [Number.NaN] }, { loss: [1] }, 0.1)).toMatch(/NaN where 1/);
});
