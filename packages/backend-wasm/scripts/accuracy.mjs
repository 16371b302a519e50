// Prints the worst error of every function of f32, in units of the last place, over a dense sample of all numbers.
//
//   node scripts/accuracy.mjs [samples] [function ...]

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { tsImport } from "tsx/esm/api";
import { buildWasm } from "./build-wasm.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const options = { parentURL: import.meta.url, tsconfig: join(root, "tsconfig.json") };

await buildWasm();
const [asked, ...names] = process.argv.slice(2);
const { accuracyOf, FUNCTIONS } = await tsImport("../test/accuracy.ts", options);
const { wasm } = await tsImport("../src/index.ts", options);
const backend = await wasm({ threads: 1 });
for (const name of names.length ? names : Object.keys(FUNCTIONS)) {
  const { worst, at, got, expected, samples } = await accuracyOf(backend, name, Number(asked ?? 500000));
  console.log(
    `${name.padEnd(12)}${worst.toFixed(3).padStart(9)} ulp at ${at.map(String).join(", ")}: ${got}, not ${expected}` +
      ` (${samples} points)`,
  );
}
backend.dispose();
