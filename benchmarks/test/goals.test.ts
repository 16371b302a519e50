import { expect, test } from "vitest";
import { judgeRun } from "../src/goals.js";
import type { Sample } from "../src/result.js";
import { coreMarkdown } from "../src/results.js";
import { CORE_ROWS } from "../src/rows/index.js";
import { summarize } from "../src/statistics.js";

const samples = (row: string, times: Record<string, number | null>, threads = 1): Sample[] =>
  Object.entries(times).map(([lib, ms]) => ({
    bench: "core",
    row,
    lib,
    threads,
    median_ms: ms,
    best_ms: ms,
    q1_ms: ms,
    q3_ms: ms,
    samples: ms === null ? 0 : 9,
    ...(ms === null ? { absent: "not here" } : {}),
  }));

test("a product is judged against OpenBLAS, the best peer, without relaxed SIMD, and on a BLAS", () => {
  const lines = samples("matmul-512", {
    "lowrank-wasm": 10,
    "lowrank-wasm-plain": 16,
    "lowrank-native": 5.2,
    "jax-js": 30,
    "onnxruntime-web": 16,
    numpy: 5,
  });
  expect(judgeRun(lines)).toEqual([
    { row: "matmul-512", what: "× OpenBLAS", goal: "≥ 0.47", measured: 0.5, met: true },
    { row: "matmul-512", what: "× best JavaScript peer", goal: "≥ 1.65", measured: 1.6, met: false },
    {
      row: "matmul-512",
      what: "without relaxed SIMD, × OpenBLAS",
      goal: "≥ 0.36",
      measured: 0.313,
      met: false,
    },
    { row: "matmul-512", what: "native, × OpenBLAS", goal: "≥ 0.95", measured: 0.962, met: true },
    { row: "matmul-512", what: "native, × best JavaScript peer", goal: "≥ 3", measured: 3.08, met: true },
  ]);
  expect(coreMarkdown([...lines, summarize("core", "matmul-512", 1, lines)])).toMatch(
    /\| matmul-512 \| 10\.0 \(10\.0–10\.0\) \|[\s\S]*Goals: 3 of 5 reached[\s\S]*\| × best JavaScript peer \| ≥ 1\.65 \| 1\.6 \| no \|/,
  );
});

test("what takes too long is judged by a ceiling", () => {
  const matvec = samples("matvec-4096-int4", { "lowrank-wasm": 1.2, reading: 1 });
  expect(judgeRun(matvec)).toMatchObject([{ goal: "≤ 1.3", measured: 1.2, met: true }]);
  const start = samples("start", { "lowrank-wasm": 90, node: 40 });
  expect(judgeRun(start)).toMatchObject([{ goal: "≤ 40", measured: 50, met: false }]);
});

test("two threads are judged in their own run, and what is missing is neither reached nor missed", () => {
  const two = samples("mlp", { "lowrank-wasm": 10, "lowrank-wasm-1": 17, "jax-js": 30 }, 2);
  expect(judgeRun(two)).toMatchObject([{ what: "× one thread", measured: 1.7, met: true }]);
  expect(judgeRun(samples("rank-8", { "lowrank-wasm": 1, "jax-js": null }))).toMatchObject([
    { measured: null, met: null },
  ]);
});

test("every row has a goal", () => {
  const judged = (name: string): number => judgeRun(samples(name, { "lowrank-wasm": 1 })).length;
  expect(CORE_ROWS.filter(({ name }) => judged(name) === 0)).toEqual([]);
});
