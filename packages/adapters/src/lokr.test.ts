import { kron, numericalRank } from "@lowrank/linalg";
import { type LayerKind, Linear, Sequential } from "@lowrank/nn";
import { key, matmul, normal, setDefaultBackend, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { factorPair, lokr, type LokrConfig, lokrShapes } from "./lokr.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** o₁ i₁ + o₂ i₂ k, r (o + i k) for a factor that is a product, r (o + i + r k) for one with a core */
function count(target: Target, config: LokrConfig): number {
  const { rank: r } = config;
  const { first, second, split1, split2, kernel, core } = lokrShapes(target, config);
  const places = kernel.reduce((a, b) => a * b, 1);
  const size = ([o, i]: readonly [number, number], split: boolean, k: number): number =>
    split ? r * (o + i * k) : o * i * k;
  const [o2, i2] = second;
  const between = split2 && core ? r * (o2 + i2 + r * places) : size(second, split2, places);
  return size(first, split1, 1) + between;
}
for (const [name, config] of [
  ["whole factors", { rank: 8 }],
  ["a core", { rank: 1, core: true }],
  ["a second factor that is a product", { rank: 2, alpha: 3 }],
  ["two products", { rank: 1, both: true, zero: "second" }],
] as const) {
  // Of a convolution of sequences PEFT orders the numbers of a whole second factor in another way: refused.
  const kinds: readonly LayerKind[] = config.rank > 1 ? ["linear", "conv2d"] : ["linear", "conv1d", "conv2d"];
  for (const check of contractChecks(lokr, config as LokrConfig, { count, kinds }))
    test(`${name}: ${check.name}`, check.run);
}

describe("lokr", () => {
  test.each([
    [256, undefined, [16, 16]],
    [128, undefined, [8, 16]],
    [127, undefined, [1, 127]],
    [128, 4, [4, 32]],
    [12, 5, [3, 4]],
    [8, 3, [2, 4]],
  ])("%i by %s is %o", (n, factor, pair) => {
    expect(factorPair(n, factor)).toEqual(pair);
  });

  test("the rank of the update is the product of the factors' ranks", async () => {
    const target = targetOf("linear", 30, 20);
    const params = {
      w1: matmul(
        normal([4, 2], { key: key(1), dtype: "f64" }),
        normal([2, 5], { key: key(2), dtype: "f64" }),
      ),
      w2A: normal([5, 3], { key: key(3), dtype: "f64" }),
      w2B: normal([3, 6], { key: key(4), dtype: "f64" }),
    };
    const update = lokr.merge(zeros([20, 30], { dtype: "f64" }), params, { rank: 3, alpha: 6 }, target);
    expect(await numericalRank(update).item()).toBe(6);
    const want = kron(params.w1, matmul(params.w2A, params.w2B)).mul(2);
    close(await read(update), await read(want), 1e-12);
  });

  test.each([
    [{ rank: 0 }, /rank to be an integer of at least 1/],
    [{ rank: 1, factor: 0 }, /factor to be an integer of at least 1/],
    [{ rank: 1, zero: "none" }, /zero to be one of/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(16, 6));
    expect(() => attach(model, lokr, config as LokrConfig, { targets: ["0"] })).toThrow(message);
  });
});
