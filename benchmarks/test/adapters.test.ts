import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as adapters from "@lowrank/adapters";
import { expect, test } from "vitest";
import { type AdapterLine, type AdapterRun, type AdaptersOptions, compareAdapters } from "../src/adapters.js";
import { ADAPTER_METHODS } from "../src/adapters-methods.js";
import { drawAdapters, drawChanges } from "../src/adapters-plot.js";
import { adaptersMarkdown, linesOf } from "../src/adapters-results.js";

const run = (
  row: AdapterRun["row"],
  seed: number,
  perplexity: number,
  merge_error: number | null,
): AdapterRun => ({
  bench: "adapters",
  part: "run",
  row,
  seed,
  steps: 10,
  lr: row === "frozen" ? 0 : 0.01,
  parameters: row === "frozen" ? 0 : 1234,
  perplexity,
  merge_error,
  losses: row === "frozen" ? [] : Array.from({ length: 10 }, (_, i) => 5 - i / 10),
  machine: "a machine",
});
const time = (row: AdapterRun["row"], step_ms: number): AdapterLine => ({
  bench: "adapters",
  part: "time",
  row,
  threads: 1,
  samples: 9,
  step_ms,
  q1_ms: step_ms,
  q3_ms: step_ms,
  machine: "a machine",
});
const change = (row: AdapterRun["row"], path: string, step: number): AdapterLine => ({
  bench: "adapters",
  part: "change",
  row,
  seed: 1,
  step,
  path,
  magnitude: 2 * step,
  direction: step,
});

const lines: AdapterLine[] = [
  run("frozen", 1, 200, null),
  run("lora", 1, 100, 1e-6),
  run("lora", 2, 104, 3e-6),
  run("sira", 1, 210, null),
  time("lora", 200),
  time("sira", 300),
  time("dora", 250),
  ...["q_proj", "v_proj"].flatMap((p) => [1, 2, 3].map((step) => change("lora", `layers.0.${p}`, step))),
];

test("means, spreads and ratios of a comparison, best first", () => {
  const text = adaptersMarkdown(lines);
  expect(text).toContain("| lora | 1,234 | 0.01 | 200 | 1.00 | 102.0 | ± 2.83 | 3.0e-6 |");
  expect(text).toContain("| frozen | 0 | – | – | – | 200.0 | – | – |");
  expect(text.indexOf("| lora |")).toBeLessThan(text.indexOf("| frozen |"));
  expect(text).toContain("| lora | q_proj | 3 | 1.00 | 2.00 |");
});

test("what is worse than the frozen base is said", () => {
  expect(adaptersMarkdown(lines)).toContain("Worse than the frozen base: sira.");
  expect(adaptersMarkdown(lines.slice(0, 3))).toContain("No method is worse than the frozen base.");
});

test("DoRA's step stands beside what was asked of it, and beside PEFT's", () => {
  const peft = (row: AdapterRun["row"], step_ms: number) =>
    ({
      bench: "adapters",
      part: "peft",
      row,
      threads: 1,
      samples: 9,
      step_ms,
      q1_ms: 1,
      q3_ms: 1,
      details: "torch",
    }) as const;
  const text = adaptersMarkdown([...lines, peft("lora", 100), peft("dora", 160)]);
  expect(text).toContain("at most 1.35: reached");
  expect(text).toContain("| dora | 1.25 | 1.60 |");
});

test("the plots have a part for each method", () => {
  expect(drawAdapters(linesOf(lines, "run"))).toContain(">sira<");
  expect(drawChanges(linesOf(lines, "change"))).toContain(">lora<");
});

test("every adapter of the package is compared", () => {
  const compared = new Set(Object.values(ADAPTER_METHODS).map(({ adapter }) => adapter?.name));
  const missing = Object.values(adapters).flatMap((value) =>
    typeof value === "object" &&
    value !== null &&
    "merge" in value &&
    "init" in value &&
    !compared.has(value.name)
      ? [value.name]
      : [],
  );
  expect(missing).toEqual([]);
});

test("a method is trained, scored and merged, and not again when its line is there", async () => {
  const scratch = await mkdtemp(join(tmpdir(), "lowrank-test-"));
  try {
    const found: AdapterLine[] = [];
    const resume = join(scratch, "adapters.jsonl");
    const options: AdaptersOptions = {
      part: "quality",
      rows: ["ia3"],
      seeds: 1,
      steps: 2,
      threads: 1,
      samples: 3,
      resume,
      onLine: (line) => found.push(line),
    };
    await compareAdapters(options);
    expect(found).toHaveLength(1);
    const [line] = linesOf(found, "run");
    expect(line!.losses).toHaveLength(2);
    expect(line!.perplexity).toBeGreaterThan(100);
    expect(line!.perplexity).toBeLessThan(400);
    expect(line!.merge_error).toBeLessThan(1e-4);
    await writeFile(resume, JSON.stringify(line));
    await compareAdapters({ ...options, onLine: () => expect.unreachable() });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
});
