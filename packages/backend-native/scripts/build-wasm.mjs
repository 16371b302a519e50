// Compiles assembly/index.ts and packs it into src/generated/kernels.ts, as an extension of the Wasm backend: kernels that prepare operands for the library.
//
//   node scripts/build-wasm.mjs [--force]

import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildExtension } from "../../backend-wasm/scripts/build-wasm.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Brings src/generated/kernels.ts up to date; true if it had to be compiled. */
export const buildWasm = ({ force = false } = {}) =>
  buildExtension({
    sources: join(root, "assembly"),
    generated: join(root, "src", "generated", "kernels.ts"),
    force,
  });

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const began = Date.now();
  const built = await buildWasm({ force: process.argv.includes("--force") });
  console.log(
    `kernels: ${built ? `compiled in ${((Date.now() - began) / 1000).toFixed(1)} s` : "up to date"}`,
  );
}
