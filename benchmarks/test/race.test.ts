import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { errorIn } from "../src/contender-process.js";
import { enterAll } from "../src/entrant.js";
import { filled } from "../src/inputs.js";
import type { Library } from "../src/libraries.js";
import { PEERS, peerEntry } from "../src/peers.js";
import { race } from "../src/race.js";
import type { Sample, Summary } from "../src/result.js";
import { coreMarkdown } from "../src/results.js";
import { CORE_ROWS, chooseRows } from "../src/rows/index.js";
import { matvecRow } from "../src/rows/matvec.js";
import type { Row } from "../src/rows/row.js";
import { startRow } from "../src/rows/start.js";
import { coreTable } from "../src/table.js";

const small = (name: string, spec: Row["spec"], tolerance = 1e-4): Row => ({ name, spec, tolerance });
const product = (transposeA: boolean, transposeB: boolean): Row =>
  small("matmul-8", {
    kind: "matmul",
    a: filled([8, 8], 1, 2),
    b: filled([8, 8], 2, 2),
    transposeA,
    transposeB,
  });
const JAVASCRIPT: Library[] = ["lowrank-wasm", "jax-js", "tfjs-wasm", ...PEERS];

/** Starts are timed with the built packages, which need not be there for a test run. */
const built = createRequire(import.meta.url)
  .resolve("@lowrank/backend-wasm/package.json")
  .replace("package.json", "dist/index.js");
const python = process.env["BENCH_PYTHON"];

beforeEach(() => {
  process.env["BENCH_PYTHON"] = "no-such-python";
});
afterEach(() => {
  if (python === undefined) delete process.env["BENCH_PYTHON"];
  else process.env["BENCH_PYTHON"] = python;
});

const run = (row: Row, libraries: Library[], threads = 1): Promise<[...Sample[], Summary]> =>
  race(row, { bench: "core", libraries, threads, turns: 3, turnMs: 0, warmUpMs: 0, budgetMs: 1e5 });

/** What each library said, by name: how often it was timed, or why not. */
const outcomes = (lines: readonly (Sample | Summary)[]): Record<string, unknown> =>
  Object.fromEntries(lines.flatMap((l) => ("lib" in l ? [[l.lib, l.absent ?? l.cannot ?? l.samples]] : [])));

/** What a peer with an install of its own says: `then` where it is installed, else that it is not. */
const ofPeers = (then: unknown): Record<string, unknown> =>
  Object.fromEntries(
    PEERS.map((peer) => [
      peer,
      peerEntry(peer) ? then : `Error: ${peer} is not installed: pnpm install in benchmarks/peers`,
    ]),
  );

test("a race gives a line for each library, absent ones too, and a summary", async () => {
  const lines = await run(product(true, false), ["lowrank-wasm", "jax-js", "tfjs-wasm", "numpy"]);
  expect(lines.map((l) => ("lib" in l ? l.lib : "summary"))).toEqual([
    "lowrank-wasm",
    "jax-js",
    "tfjs-wasm",
    "numpy",
    "summary",
  ]);
  for (const line of lines.slice(0, 3)) {
    expect(line).toMatchObject({ bench: "core", row: "matmul-8", threads: 1, samples: 3 });
    expect(line).toMatchObject({ details: expect.any(String), machine: expect.any(String) });
    const { best_ms, q1_ms, median_ms, q3_ms } = line as Sample;
    const ordered = [best_ms!, q1_ms!, median_ms!, q3_ms!];
    expect(ordered.every((ms, i) => ms > 0 && ms >= (ordered[i - 1] ?? 0))).toBe(true);
  }
  expect(lines[3]).toMatchObject({
    median_ms: null,
    best_ms: null,
    samples: 0,
    absent: "no-such-python is not on this machine",
  });
  expect(lines[4]).toMatchObject({
    summary: true,
    best_js: expect.stringMatching(/jax-js|tfjs-wasm/),
    ratio_best_js: expect.any(Number),
    native: null,
    ratio_native: null,
    ratios: { "jax-js": expect.any(Number), "tfjs-wasm": expect.any(Number) },
  });
  expect(coreMarkdown(lines)).toMatch(
    /\| matmul-8 \| [\d.]+ \([\d.]+–[\d.]+\) \| [\d.]+ \| [\d.]+ \| – \| [\d.]+ \| – \| – \| – \|/,
  );
  expect(coreTable(lines)).toMatch(/numpy: absent: no-such-python/);
});

// The race throws where two libraries do not compute the same.
describe("libraries agree on", () => {
  test("a product with both transposed, ours without relaxed SIMD and on one thread too", async () => {
    const libraries: Library[] = [...JAVASCRIPT, "lowrank-wasm-plain", "lowrank-wasm-1"];
    const lines = await run(product(true, true), libraries, 2);
    expect(outcomes(lines)).toEqual({
      ...Object.fromEntries(libraries.map((lib) => [lib, 3])),
      ...ofPeers(3),
    });
    const threads = Object.fromEntries(lines.flatMap((l) => ("lib" in l ? [[l.lib, l.threads_used]] : [])));
    expect(threads).toMatchObject({ "lowrank-wasm-1": 1, "tfjs-wasm": 1, "lowrank-wasm": undefined });
    expect(JSON.stringify(lines)).toMatch(/without relaxed SIMD/);
  });

  const [x, dy] = [filled([16, 24], 1, 4), filled([16, 24], 2, 2)];
  const factors = { a: filled([24, 4], 3, 1), b: filled([4, 24], 4, 1) };
  const affine = { weight: filled([24], 5, 2), bias: filled([24], 6, 2), eps: 1e-5 };
  const gradients = [
    small("rank", { kind: "rank", x, ...factors, dy }),
    small("softmax", { kind: "softmax", x, dy }),
    small("layernorm", { kind: "layernorm", x, ...affine, dy }),
  ];
  test.each(gradients)("the gradients of $name", async (row) => {
    const lines = await run(row, JAVASCRIPT);
    expect(outcomes(lines)).toEqual({
      "lowrank-wasm": 3,
      "jax-js": 3,
      "tfjs-wasm": 3,
      ...ofPeers("it runs models and makes no gradients"),
    });
  });

  const forward = [
    small("rank", { kind: "rank", x, ...factors, dy: null }),
    small("softmax", { kind: "softmax", x, dy: null }),
    small("layernorm", { kind: "layernorm", x, ...affine, dy: null }),
    small("chain", { kind: "chain", x, y: dy, z: dy }),
  ];
  test.each(forward)("$name", async (row) => {
    const lines = await run(row, ["lowrank-wasm", ...PEERS]);
    expect(outcomes(lines)).toEqual({ "lowrank-wasm": 3, ...ofPeers(3) });
  });

  test.each(["f32", "f16", "int8", "int4"] as const)("x Wᵀ with %s weights", async (dtype) => {
    const lines = await run(matvecRow(dtype, 64, 2 ** 14), [...JAVASCRIPT, "reading"]);
    const floats = dtype === "f32" ? 3 : expect.any(String);
    expect(outcomes(lines)).toEqual({
      "lowrank-wasm": 3,
      "jax-js": floats,
      "tfjs-wasm": floats,
      ...ofPeers(3),
      reading: 3,
    });
  });

  test("the first product of a process", async () => {
    const lines = await run(startRow, [...JAVASCRIPT, "numpy", "node"]);
    expect(outcomes(lines)).toEqual({
      "lowrank-wasm": existsSync(built) ? 3 : expect.stringMatching(/Cannot find/),
      "jax-js": 3,
      "tfjs-wasm": 3,
      ...Object.fromEntries(PEERS.map((p) => [p, peerEntry(p) ? 3 : expect.any(String)])),
      numpy: "no library of JavaScript",
      node: 3,
    });
  });
});

test("only a library on a GPU is asked what a run asks of it: others do not know the question", async () => {
  const entrant = (await enterAll(["lowrank-wasm"], product(false, false), 1)).get("lowrank-wasm")!;
  if (!("turn" in entrant)) throw new Error(`it did not enter: ${JSON.stringify(entrant)}`);
  expect(entrant.count).toBeUndefined();
  await entrant.stop();
});

test("a row of first runs takes each from another process", async () => {
  const lines = await run({ ...product(false, false), fresh: true }, ["lowrank-wasm"]);
  const [sample] = lines as [Sample, Summary];
  expect(sample.samples).toBe(3);
  // A first run plans and lays out: what a warm one takes is far below it.
  const [warm] = (await run(product(false, false), ["lowrank-wasm"])) as [Sample, Summary];
  expect(sample.best_ms!).toBeGreaterThan(2 * warm.best_ms!);
});

test("a library that has used its time on a row takes three turns, and its line says so", async () => {
  const lines = await race(product(false, false), {
    bench: "core",
    libraries: ["lowrank-wasm"],
    threads: 1,
    turns: 9,
    turnMs: 0,
    warmUpMs: 0,
    budgetMs: 0,
  });
  expect(lines[0]).toMatchObject({ samples: 3, fewer: expect.stringMatching(/filled the 0 s/) });
});

test("rows are chosen by name or beginning, and a name that fits none is an error", () => {
  const names = (asked?: string, threads?: number): string[] =>
    chooseRows(CORE_ROWS, asked, threads).map((r) => r.name);
  expect(names("mlp,matmul-512*")).toEqual([
    "matmul-512",
    "matmul-512-tn",
    "matmul-512-nt",
    "matmul-512-tt",
    "mlp",
  ]);
  expect(names()).toHaveLength(CORE_ROWS.length);
  expect(new Set(names())).toHaveLength(CORE_ROWS.length);
  expect(names(undefined, 2)).not.toContain("start");
  expect(names("start", 2)).toEqual(["start"]);
  expect(() => names("matmull-512")).toThrow(/expected --rows among .*, got "matmull-512"/);
});

test("the reason of a failed start is the line that names the error", () => {
  const node =
    "node:internal/x\n    throw e;\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'p'\n    at f (y)\n\nNode.js v24.0.0\n";
  expect(errorIn(node)).toBe("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'p'");
  expect(errorIn("Traceback:\n  File x\nModuleNotFoundError: No module named 'torch'\n")).toBe(
    "ModuleNotFoundError: No module named 'torch'",
  );
  expect(errorIn("")).toBeNull();
});
