import { afterEach, expect, test } from "vitest";
import { errorIn } from "../src/contender-process.js";
import { filled } from "../src/inputs.js";
import { race } from "../src/race.js";
import { coreMarkdown } from "../src/results.js";
import { CORE_ROWS, chooseRows } from "../src/rows/index.js";
import type { Row } from "../src/rows/row.js";
import { coreTable } from "../src/table.js";

const small: Row = {
  name: "matmul-8-tn",
  tolerance: 1e-5,
  spec: {
    kind: "matmul",
    a: filled([8, 8], 1, 2),
    b: filled([8, 8], 2, 2),
    transposeA: true,
    transposeB: false,
  },
};
const python = process.env["BENCH_PYTHON"];

afterEach(() => {
  if (python === undefined) delete process.env["BENCH_PYTHON"];
  else process.env["BENCH_PYTHON"] = python;
});

test("a race gives a line for each library, absent ones too, and a summary", async () => {
  process.env["BENCH_PYTHON"] = "no-such-python";
  const lines = await race(small, {
    bench: "core",
    libraries: ["lowrank-wasm", "jax-js", "tfjs-wasm", "numpy"],
    threads: 1,
    turns: 3,
    turnMs: 0,
    warmUpMs: 0,
  });
  expect(lines.map((l) => ("lib" in l ? l.lib : "summary"))).toEqual([
    "lowrank-wasm",
    "jax-js",
    "tfjs-wasm",
    "numpy",
    "summary",
  ]);
  for (const line of lines.slice(0, 3)) {
    expect(line).toMatchObject({
      bench: "core",
      row: "matmul-8-tn",
      threads: 1,
      samples: 3,
      details: expect.any(String),
    });
    expect(line).toHaveProperty("median_ms", expect.any(Number));
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
  });
  expect(coreMarkdown(lines)).toMatch(/\| matmul-8-tn \| [\d.]+ \| [\d.]+ \| [\d.]+ \| – \| [\d.]+ \| – \|/);
  expect(coreTable(lines)).toMatch(/numpy: absent: no-such-python/);
});

test("rows are chosen by name or beginning, and a name that fits none is an error", () => {
  const names = (asked?: string): string[] => chooseRows(CORE_ROWS, asked).map((r) => r.name);
  expect(names("mlp,matmul-512*")).toEqual([
    "matmul-512",
    "matmul-512-tn",
    "matmul-512-nt",
    "matmul-512-tt",
    "mlp",
  ]);
  expect(names()).toHaveLength(CORE_ROWS.length);
  expect(new Set(names())).toHaveLength(CORE_ROWS.length);
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
