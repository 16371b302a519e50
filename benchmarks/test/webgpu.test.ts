import { describe, expect, test } from "vitest";
import { judgeRun } from "../src/goals.js";
import { filled } from "../src/inputs.js";
import type { Library } from "../src/libraries.js";
import { expectOneAdapter, race } from "../src/race.js";
import type { Sample, Summary } from "../src/result.js";
import { attentionRow } from "../src/rows/attention.js";
import { chooseRows, WEBGPU_ROWS } from "../src/rows/index.js";
import type { Row } from "../src/rows/row.js";
import { summarize } from "../src/statistics.js";
import { raceOnGpu } from "../src/webgpu.js";
import { webgpuMarkdown } from "../src/webgpu-results.js";
import { workOf } from "../src/work.js";

const GPU: Library[] = ["lowrank-webgpu", "jax-js-webgpu", "tfjs-webgpu"];
const SLOW = 300_000; // a software adapter compiles every kernel by LLVM

const row = (name: string, spec: Row["spec"], tolerance = 1e-4): Row => ({ name, spec, tolerance });
const run = (r: Row, libraries: Library[]): Promise<[...Sample[], Summary]> =>
  race(r, {
    bench: "webgpu",
    libraries,
    threads: 1,
    turns: 3,
    turnMs: 0,
    warmUpMs: 0,
    budgetMs: 1e6,
    fillMs: 1e6,
  });
const outcomes = (lines: readonly (Sample | Summary)[]): Record<string, unknown> =>
  Object.fromEntries(lines.flatMap((l) => ("lib" in l ? [[l.lib, l.absent ?? l.cannot ?? l.samples]] : [])));

// The race throws where two libraries do not compute the same; ours on the processor is one of them.
describe("libraries agree on a GPU on", () => {
  const square = (seed: number) => filled([24, 24], seed, 2);
  const rows = [
    row("product of transposed factors", {
      kind: "matmul",
      a: square(1),
      b: square(2),
      transposeA: true,
      transposeB: true,
    }),
    attentionRow(24, 2, 16, true),
  ];
  test.each(rows)(
    "$name",
    async (r) => {
      const libraries: Library[] = ["lowrank-wasm", ...GPU];
      const lines = await run(r, libraries);
      expect(outcomes(lines)).toEqual(Object.fromEntries(libraries.map((lib) => [lib, 3])));
      for (const line of lines) if ("lib" in line) expect(line.together).toBe(16);
    },
    SLOW,
  );
});

test("lines tell the adapter, what a run asks of it, and shares of what it can do", {
  timeout: SLOW,
}, async () => {
  const spec = { kind: "matmul", a: filled([64, 64], 1, 2), b: filled([64, 64], 2, 2) } as const;
  const printed: (Sample | Summary)[] = [];
  const lines = await raceOnGpu({
    rows: [
      ...WEBGPU_ROWS.filter((r) => r.spec.kind === "probe"),
      row("matmul-64", { ...spec, transposeA: false, transposeB: false }),
    ],
    libraries: ["lowrank-webgpu", "jax-js-webgpu", "adapter"],
    turns: 3,
    quick: true,
    onLine: (line) => void printed.push(line),
  });
  expect(printed).toEqual(lines);
  expect(lines.map((l) => ("lib" in l ? l.lib : "summary"))).toEqual([
    "adapter",
    "adapter",
    "adapter",
    "lowrank-webgpu",
    "jax-js-webgpu",
    "summary",
  ]);
  const ours = lines[3] as Sample;
  expect(ours.adapter).toMatch(/\w/);
  for (const line of lines.slice(0, 3)) expect(line).toMatchObject({ adapter: ours.adapter });
  // The product and the slice of its last number, each submitted by itself, and the read.
  expect(lines[4]).toMatchObject({ counts: { dispatches: 2, passes: 2, submits: 3, reads: 1 } });
  // Ours submits them together, unless earlier submits took so long that it cuts.
  expect(ours.counts).toMatchObject({ reads: 1, writes: 0 });
  expect(ours.counts!.passes).toBeLessThanOrEqual(ours.counts!.dispatches);
  const fma = lines[2] as Sample;
  const rate = (2 * 2 ** 18 * 12 * 128) / fma.best_ms!;
  expect(ours.of_f32).toBeCloseTo((2 * 64 ** 3) / ours.median_ms! / rate, 3);
  expect(webgpuMarkdown(lines)).toMatch(
    /Adapter: \*\*\w.*\*\*\.[\s\S]*copy [\d.]+ GB\/s.*fma [\d.e+]+ GFLOP\/s[\s\S]*\| matmul-64 \| [\d.]+ \([\d.]+–[\d.]+\) \| [\d.]+ \| [\d.]+ \| [\d.]+ \| \d\.\d\d \| \d\.\d\d \|[\s\S]*\| 2 \/ 2 \/ 3 \|/,
  );
});

test("the least work of a row comes from its shapes", () => {
  const work = (name: string) => workOf(WEBGPU_ROWS.find((r) => r.name === name)!.spec);
  expect(work("copy")).toEqual({ bytes: 2 ** 27, flops: 0 });
  expect(work("matmul-512")).toEqual({ bytes: 3 * 4 * 512 ** 2, flops: 2 * 512 ** 3 });
  expect(work("softmax")).toEqual({ bytes: 2 * 4 * 4096 * 1024, flops: 0 });
  expect(work("rank-8").flops).toBe(2 * 1024 * 8 * (576 + 576));
  // Two products of half a square each forward, five more backward.
  expect(work("attention-512").flops).toBe(2 * 8 * 512 ** 2 * 64);
  expect(work("attention-512-grad").flops).toBe(7 * 8 * 512 ** 2 * 64);
  expect(work("mlp").flops).toBe(2 * 128 * (2 * 784 * 1024 + 3 * 1024 * 1024 + 3 * 1024 * 10));
});

const samples = (adapter: string, name: string, times: Record<string, number>, more = {}): Sample[] =>
  Object.entries(times).map(([lib, ms]) => ({
    bench: "webgpu",
    row: name,
    lib,
    threads: 1,
    median_ms: ms,
    best_ms: ms,
    q1_ms: ms,
    q3_ms: ms,
    cpu_ms: 2 * ms,
    samples: 9,
    adapter,
    ...(lib === "lowrank-webgpu" ? more : {}),
  }));
const times = { "lowrank-webgpu": 10, "jax-js-webgpu": 20, "tfjs-webgpu": 12 };

test("a software adapter is judged beside peers, a real one by its limits too", () => {
  const soft = samples("mesa, software, llvmpipe", "matmul-2048", times, { of_f32: 0.1 });
  expect(judgeRun(soft)).toEqual([
    { row: "matmul-2048", what: "× best peer", goal: "≥ 1", measured: 1.2, met: true },
    { row: "matmul-2048", what: "× best peer, work", goal: "≥ 1", measured: 1.2, met: true },
  ]);
  const hard = samples("nvidia, ampere", "matmul-2048", times, { of_f32: 0.45 });
  expect(judgeRun(hard)).toMatchObject([
    { what: "× best peer", measured: 1.2, met: true },
    { what: "of the f32 rate", goal: "≥ 0.5", measured: 0.45, met: false },
  ]);
  const rows = samples("nvidia, ampere", "softmax", times, { of_bandwidth: 0.8 });
  expect(judgeRun(rows)).toMatchObject([{ what: "of the copy bandwidth", measured: 0.8, met: true }]);
  const step = samples("mesa, software, llvmpipe", "mlp", times);
  expect(judgeRun(step)).toMatchObject([
    { what: "× best peer", goal: "≥ 1.5", measured: 1.2, met: false },
    { what: "× best peer, work", goal: "≥ 1.5", measured: 1.2, met: false },
  ]);
});

test("a summary holds ours on the GPU against the peers on it", () => {
  expect(summarize("webgpu", "mlp", 1, samples("x", "mlp", times))).toMatchObject({
    best_js: "tfjs-webgpu",
    ratio_best_js: 1.2,
    ratio_cpu: 1.2,
    native: null,
  });
});

test("a row that was measured again is shown as it was last", () => {
  const runs = [20, 10].flatMap((ms) => {
    const lines = samples("mesa, software, llvmpipe", "mlp", { "lowrank-webgpu": ms, "jax-js-webgpu": 30 });
    return [...lines, summarize("webgpu", "mlp", 1, lines)];
  });
  const shown = webgpuMarkdown(runs);
  expect(shown).toContain("| mlp | 10.0 (10.0–10.0) | 30.0 | 3.00 | 3.00 |");
  expect(shown.match(/^\| mlp \| [\d.]+ \(/gm)).toHaveLength(1);
});

test("libraries on two adapters are an error", () => {
  const entrant = (lib: Library, adapter?: string) => ({ lib, adapter });
  expect(() => expectOneAdapter([entrant("lowrank-webgpu", "a"), entrant("numpy")])).not.toThrow();
  expect(() => expectOneAdapter([entrant("lowrank-webgpu", "a"), entrant("tfjs-webgpu", "b")])).toThrow(
    /expected one adapter for all libraries, got lowrank-webgpu on "a", tfjs-webgpu on "b"/,
  );
});

test("transposed products are run only where they are asked for", () => {
  const names = (asked?: string): string[] => chooseRows(WEBGPU_ROWS, asked).map((r) => r.name);
  expect(names()).toContain("matmul-2048");
  expect(names()).not.toContain("matmul-2048-tn");
  expect(names("matmul-256*")).toEqual(["matmul-256", "matmul-256-tn", "matmul-256-nt", "matmul-256-tt"]);
  expect(new Set(WEBGPU_ROWS.map((r) => r.name)).size).toBe(WEBGPU_ROWS.length);
});
