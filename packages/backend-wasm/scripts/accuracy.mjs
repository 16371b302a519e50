// Prints the worst and mean error of the functions of f32 in units of the last place, against their definitions in f64.
//
//   node scripts/accuracy.mjs [--stride N] [--all] [--binary relaxed|plain] [--json] [function ...]
//
// One argument: every N-th of the 2^32 bit patterns (257 unless told; any odd N is coprime to 2^32) and every number within
// 4,096 steps of the edges that test/accuracy.ts lists (ends of ranges and intervals, overflow, underflow, powers of 2, 0);
// with --all every pattern. Two arguments: as many pairs, a quarter each of any bits, numbers between -4 and 4, bases up to 4
// with exponents up to 40, and numbers close to powers of 2; and all pairs of special numbers. NaN, infinities and the signs
// of zeros count as infinite errors where they are wrong. V8's functions of f64, ports of fdlibm, are within 1 f64 unit.

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
  },
});
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const options = { parentURL: import.meta.url, tsconfig: join(root, "tsconfig.json") };
const stride = values.all ? 1 : Number(values.stride);
if (!Number.isInteger(stride) || stride < 1) {
  throw new Error(`accuracy: expected --stride to be a whole number from 1, got ${values.stride}`);
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
    if (values.json) {
      // JSON has no NaN and no infinities: those are strings
      console.log(
        JSON.stringify(row, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x)),
      );
      continue;
    }
    console.log(
      `${name.padEnd(11)}${binary.padEnd(9)}worst ${worst.toFixed(3)} mean ${mean.toFixed(3)}` +
        ` at ${at.join(", ")}: ${got}, not ${expected} (${samples} points)`,
    );
  }
  backend.dispose();
}
