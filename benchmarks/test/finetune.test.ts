import { expect, test } from "vitest";
import { type FinetuneSample, measureFinetune } from "../src/finetune.js";
import { apart, drawFinetune, finetuneMarkdown } from "../src/finetune-results.js";

const sample = (lib: FinetuneSample["lib"], step_ms: number, peak: number, losses: number[]) =>
  ({
    bench: "finetune",
    row: "smollm2",
    lib,
    threads: 2,
    batch: 4,
    length: 256,
    rank: 8,
    runs: 3,
    steps: losses.length,
    step_ms,
    step_cpu_ms: 2 * step_ms,
    tokens_per_second: 1_024_000 / step_ms,
    first_ms: step_ms,
    load_ms: 1,
    peak_rss_bytes: peak * 2 ** 20,
    losses,
    details: lib,
    machine: "a machine",
  }) satisfies FinetuneSample;

const lines = [
  sample("torch", 3000, 4000, [4, 3]),
  sample("lowrank-wasm", 6000, 2000, [4.004, 3]),
  sample("lowrank-native", 4000, 5000, [4, 3]),
];

test("speed and memory stand beside torch's, with what was asked", () => {
  const text = finetuneMarkdown(lines);
  expect(text).toContain(
    "| smollm2, lowrank-wasm | 171 | 0.50 | 12.00 | 2000 | 0.50 | – | 4.0040 | 3.0000 |",
  );
  expect(text).toContain(
    "smollm2, lowrank-wasm: 0.50 of torch's speed (0.45 asked: reached), 0.50 of its memory",
  );
  expect(text).toContain(
    "lowrank-native: 0.75 of torch's speed (0.8 asked: missed), 1.25 of its memory (below 1 asked: missed)",
  );
  expect(text).toContain("losses of 2 steps at most 0.10 % apart");
  expect(drawFinetune(lines).match(/stroke-width="1.6"/g)).toHaveLength(1); // one group with a line for each
});

test("curves are apart by their largest relative distance", () => {
  expect(apart([2, 4], [2.02, 4])).toBeCloseTo(0.01);
});

test("models that are not there are named, with how to make them", async () => {
  const asked = measureFinetune({
    rows: ["smollm2"],
    libraries: [],
    steps: 1,
    runs: 1,
    threads: 1,
    models: "none",
  });
  await expect(asked).rejects.toThrow(
    /expected none\/smollm2-hf; make it with benchmarks\/scripts\/dequantize/,
  );
});
