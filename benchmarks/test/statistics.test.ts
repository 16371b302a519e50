import { expect, test } from "vitest";
import type { Sample } from "../src/result.js";
import { median, quantile, summarize } from "../src/statistics.js";

const sample = (lib: string, median_ms: number | null): Sample => ({
  bench: "core",
  row: "chain",
  lib,
  threads: 1,
  median_ms,
  best_ms: median_ms,
  q1_ms: median_ms,
  q3_ms: median_ms,
  samples: 9,
});

test("a quantile lies between the two nearest numbers", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect([0, 0.25, 0.75, 1].map((p) => quantile([1, 2, 3, 4, 5], p))).toEqual([1, 2, 4, 5]);
  expect(quantile([], 0.5)).toBeNaN();
});

test("a summary holds ours against the fastest peer and the fastest native library", () => {
  const lines = [
    sample("lowrank-wasm", 10),
    sample("lowrank-wasm-plain", 12),
    sample("jax-js", 30),
    sample("tfjs-wasm", 20),
    sample("numpy", null),
    sample("torch", 5),
    sample("onnxruntime-node", 4),
  ];
  expect(summarize("core", "chain", 1, lines)).toEqual({
    bench: "core",
    row: "chain",
    threads: 1,
    summary: true,
    best_js: "tfjs-wasm",
    ratio_best_js: 2,
    native: "torch",
    ratio_native: 0.5,
    ratios: { "lowrank-wasm-plain": 1.2, "jax-js": 3, "tfjs-wasm": 2, torch: 0.5, "onnxruntime-node": 0.4 },
  });
});

test("a summary without times of others, or of ours, has no ratios", () => {
  expect(summarize("core", "chain", 1, [sample("lowrank-wasm", 10)])).toMatchObject({
    best_js: null,
    ratio_best_js: null,
    native: null,
    ratio_native: null,
    ratios: {},
  });
  expect(summarize("core", "chain", 1, [sample("lowrank-wasm", null), sample("jax-js", 3)])).toMatchObject({
    best_js: "jax-js",
    ratio_best_js: null,
  });
});
