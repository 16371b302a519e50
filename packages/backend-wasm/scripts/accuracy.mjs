// Prints the worst and mean error of the functions of f32 in units of the last place, against their definitions in f64.
//
//   node scripts/accuracy.mjs [--stride N] [--all] [--binary relaxed|plain] [--json] [--keep] [function ...]
//
// One argument: every N-th of the 2^32 bit patterns (257 unless told; any odd N is coprime to 2^32) and every number within
// 4,096 steps of the edges that test/accuracy.ts lists (ends of ranges and intervals, overflow, underflow, powers of 2, 0);
// with --all every pattern. Two arguments: as many pairs, a quarter each of any bits, numbers between -4 and 4, bases up to 4
// with exponents up to 40, and numbers close to powers of 2; and all pairs of special numbers. NaN, infinities and the signs
// of zeros count as infinite errors where they are wrong. V8's functions of f64, ports of fdlibm, are within 1 f64 unit.
//
// --keep puts the lines into benchmarks/results/accuracy.jsonl, in place of those of the same function, binary and stride,
// and writes accuracy.md from them.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { tsImport } from "tsx/esm/api";
import { buildWasm } from "./build-wasm.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stride: { type: "string", default: "257" },
    all: { type: "boolean", default: false },
    binary: { type: "string" },
    json: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const options = { parentURL: import.meta.url, tsconfig: join(root, "tsconfig.json") };
const stride = values.all ? 1 : Number(values.stride);
if (!Number.isInteger(stride) || stride < 1) {
  throw new Error(`accuracy: expected --stride to be a whole number from 1, got ${values.stride}`);
}

/** JSON has no NaN and no infinities: those are strings. */
const textOf = (row) =>
  JSON.stringify(row, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x));

/** Puts a line into the file of results, and writes the table anew. */
function keep(line) {
  const results = join(root, "..", "..", "benchmarks", "results");
  const file = join(results, "accuracy.jsonl");
  const rows = new Map();
  for (const text of [...(existsSync(file) ? readFileSync(file, "utf8").split("\n") : []), line]) {
    if (!text) continue;
    const row = JSON.parse(text);
    rows.set(`${row.name} ${row.binary} ${row.stride}`, row);
  }
  const all = [...rows.values()];
  writeFileSync(file, `${all.map(textOf).join("\n")}\n`);
  writeFileSync(join(results, "accuracy.md"), tableOf(all));
}

/** A table with a line for each function, from the rows of all runs. */
function tableOf(rows) {
  const strides = rows.map((r) => r.stride).filter((n) => n > 1);
  const lines = [...new Set(rows.map((r) => r.name))].map((name) => {
    const own = rows.filter((r) => r.name === name);
    const cells = ["relaxed", "plain"].flatMap((binary) =>
      [true, false].map((every) => {
        const found = own.filter((r) => r.binary === binary && (r.stride === 1) === every);
        const row = found.sort((a, b) => a.stride - b.stride)[0];
        return row ? `${Number(row.worst).toFixed(3)} at ${row.at.join(", ")}` : "";
      }),
    );
    return `| ${[name, own[0].bound, ...cells, own[0].mean.toFixed(3)].join(" | ")} |`;
  });
  return `# Accuracy of the functions of f32

Worst and mean error in units of the last place of the true result, for the kernels with fused multiply-add (relaxed) and those
without (plain). "All" are all 2^32 arguments. "Sample" are every ${Math.min(...strides)}-th bit pattern and all numbers within 4,096 steps of the ends
of ranges and intervals, of 0, overflow and underflow; of functions of two arguments, 16.7 million pairs. Results that are NaN
or infinite and the signs of zeros are right wherever they were tried: a wrong one would count as an infinite error (the sign of
a remainder that is zero is left open). The reference is computed in f64. Tests hold the bounds on a million arguments each.

\`node packages/backend-wasm/scripts/accuracy.mjs --keep\`, also with \`--all --binary relaxed\`, writes this file and
[accuracy.jsonl](accuracy.jsonl).

| function | bound | relaxed, all | relaxed, sample | plain, all | plain, sample | mean |
| --- | ---: | --- | --- | --- | --- | ---: |
${lines.join("\n")}
`;
}

await buildWasm();
const { accuracyOf, backendOf, FUNCTIONS, sampleOf } = await tsImport("../test/accuracy.ts", options);
const names = positionals.length
  ? positionals
  : Object.keys(FUNCTIONS).filter((name) => !values.all || FUNCTIONS[name].arity !== 2);
for (const name of names) {
  if (!FUNCTIONS[name]) {
    throw new Error(`accuracy: expected one of ${Object.keys(FUNCTIONS).join(", ")}, got ${name}`);
  }
}

for (const binary of values.binary ? [values.binary] : ["relaxed", "plain"]) {
  const backend = await backendOf(binary);
  for (const name of names) {
    const { worst, mean, at, got, expected, samples } = await accuracyOf(
      backend,
      name,
      sampleOf(name, stride),
    );
    const row = {
      bench: "accuracy",
      name,
      binary,
      samples,
      stride,
      worst,
      mean,
      at,
      got,
      expected,
      bound: FUNCTIONS[name].bound,
    };
    const line = textOf(row);
    if (values.keep) keep(line);
    if (values.json) {
      console.log(line);
      continue;
    }
    console.log(
      `${name.padEnd(11)}${binary.padEnd(9)}worst ${worst.toFixed(3)} mean ${mean.toFixed(3)}` +
        ` at ${at.join(", ")}: ${got}, not ${expected} (${samples} points)`,
    );
  }
  backend.dispose();
}
