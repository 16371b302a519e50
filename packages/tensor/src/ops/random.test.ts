import { beforeAll, expect, test } from "vitest";
import "../evaluate.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import type { Tensor } from "../tensor.js";
import { ones, tensor, zeros } from "./create.js";
import { threefryOp } from "./logic.js";
import {
  bernoulli,
  bits,
  categorical,
  dropout,
  gumbel,
  key,
  normal,
  permutation,
  randint,
  uniform,
} from "./random.js";

beforeAll(() => setDefaultBackend(reference()));

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const average = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length;

// Known answers of the authors' implementation (Random123, kat_vectors, threefry2x32 with 20 rounds).
test("threefry gives the published words", () => {
  const f = threefryOp.scalar!;
  expect(f(0, 0, 0, 0)).toBe(0x6b200159);
  expect(f(0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff)).toBe(0x1cb996fc);
  expect(f(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3)).toBe(0xc4923a9c);
});

test("element i depends on the key and i only", async () => {
  const k = key(7);
  const [short, long] = [await numbers(bits([8], { key: k })), await numbers(bits([4, 4], { key: k }))];
  expect(long.slice(0, 8)).toEqual(short);
  expect(await numbers(bits([8], { key: key(8) }))).not.toEqual(short);
});

test("keys that are split, folded or named differ, and are the same each time", async () => {
  const k = key(123456789012345n);
  const derived = [k, ...k.split(3), k.fold(0), k.fold(1), k.fold(2 ** 40), k.foldName("a"), k.foldName("b")];
  const first = await Promise.all(derived.map(async (d) => (await numbers(bits([1], { key: d })))[0]!));
  expect(new Set(first).size).toBe(first.length);
  expect(await bits([], { key: key(123456789012345n).foldName("a") }).item()).toBe(first[7]);
  expect(() => k.fold(-1)).toThrow(/fold: expected an integer from 0/);
});

test("uniform numbers fill their interval", async () => {
  const u = await numbers(uniform([4000], { key: key(1), min: -2, max: 4 }));
  expect(Math.min(...u)).toBeGreaterThanOrEqual(-2);
  expect(Math.max(...u)).toBeLessThan(4);
  expect(Math.abs(average(u) - 1)).toBeLessThan(0.1); // 3.6 standard errors
});

test("normal numbers have the mean, the variance and the fourth moment that were asked for", async () => {
  const z = (await numbers(normal([8000], { key: key(2), mean: 3, std: 2 }))).map((x) => (x - 3) / 2);
  expect(Math.abs(average(z))).toBeLessThan(0.045);
  expect(Math.abs(average(z.map((x) => x * x)) - 1)).toBeLessThan(0.065);
  expect(Math.abs(average(z.map((x) => x ** 4)) - 3)).toBeLessThan(0.45);
});

test("integers cover their range evenly, also one wider than 16 bits", async () => {
  const r = await numbers(randint([6000], { key: key(3), min: -1, max: 5 }));
  const counts = [-1, 0, 1, 2, 3, 4].map((v) => r.filter((x) => x === v).length);
  expect(counts.reduce((a, b) => a + b, 0)).toBe(6000);
  for (const c of counts) expect(Math.abs(c - 1000)).toBeLessThan(120);
  const raw = await numbers(bits([50], { key: key(4) }));
  const range = 1_000_003;
  const expected = raw.map((x) => Number((BigInt(x) * BigInt(range)) >> 32n));
  expect(await numbers(randint([50], { key: key(4), max: range }))).toEqual(expected);
});

test("bernoulli and dropout keep their rates; dropout keeps the mean", async () => {
  expect(Math.abs(average(await numbers(bernoulli([5000], 0.3, { key: key(5) }))) - 0.3)).toBeLessThan(0.03);
  const dropped = await numbers(dropout(ones([5000]), 0.25, { key: key(6) }));
  expect(new Set(dropped)).toEqual(new Set([0, Math.fround(1 / 0.75)]));
  expect(Math.abs(average(dropped) - 1)).toBeLessThan(0.04);
  expect(() => dropout(ones([2]), 1, { key: key(0) })).toThrow(
    "dropout: expected p from 0 to below 1, got 1",
  );
});

test("categorical draws by probability and never what is impossible", async () => {
  const inf = Number.POSITIVE_INFINITY;
  const logits = tensor([[0, Math.log(3), -inf]]).add(zeros([3000, 3]));
  const drawn = await numbers(categorical(logits, { key: key(9) }));
  expect(drawn.includes(2)).toBe(false);
  expect(Math.abs(average(drawn) - 0.75)).toBeLessThan(0.035);
  expect(Math.abs(average(await numbers(gumbel([5000], { key: key(10) }))) - 0.5772)).toBeLessThan(0.08);
});

test("a permutation has every number once", async () => {
  const p = await numbers(permutation(100, { key: key(11) }));
  expect([...p].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  expect(p).not.toEqual([...p].sort((a, b) => a - b));
});
