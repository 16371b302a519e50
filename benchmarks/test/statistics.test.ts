import { expect, test } from "vitest";
import { decoderShapes, integers, matmulRow, numbers } from "../src/inputs.js";
import { median, summarize } from "../src/statistics.js";

test("the median is the middle, or the mean of the two middle ones", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
});

test("a summary holds ours against the fastest peer and the fastest native library", () => {
  const sample = (lib: string, median_ms?: number) => ({
    bench: "core",
    row: "chain",
    lib,
    threads: 1,
    median_ms,
  });
  const lines = [
    sample("lowrank-wasm", 10),
    sample("jax-js", 30),
    sample("tfjs-wasm", 20),
    sample("numpy"),
    sample("torch", 5),
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
  });
  expect(summarize("core", "chain", 1, [sample("lowrank-wasm", 10)])).toMatchObject({
    best_js: null,
    ratio_native: null,
  });
});

test("row names say size and transposes", () => {
  expect(matmulRow("matmul-512-tn")).toEqual({ n: 512, transposeA: true, transposeB: false });
  expect(matmulRow("matmul-256")).toEqual({ n: 256, transposeA: false, transposeB: false });
  expect(matmulRow("chain")).toBeNull();
});

test("inputs lie in their ranges and differ by seed", () => {
  expect(Math.max(...numbers(1000, 1).map(Math.abs))).toBeLessThanOrEqual(0.5);
  expect(numbers(10, 1)).not.toEqual(numbers(10, 2));
  expect(integers(1000, 3, 10).every((i) => i >= 0 && i < 10)).toBe(true);
  expect(decoderShapes().reduce((n, [, s]) => n + s.reduce((a, b) => a * b, 1), 0)).toBe(3_802_368);
});
