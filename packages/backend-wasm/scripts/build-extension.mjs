// Compiles assembly/index.ts of another package and packs it into its src/generated/kernels.ts, as an extension of the Wasm
// backend. In the folder of that package:
//
//   node ../backend-wasm/scripts/build-extension.mjs [--force]

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { buildExtension } from "./build-wasm.mjs";

/** Where a package has its kernels when they are compiled. */
export const generatedOf = (root) => join(root, "src", "generated", "kernels.ts");

/** Brings the kernels of the package at `root` up to date; true if they had to be compiled. */
export const buildExtensionOf = (root, { force = false } = {}) =>
  buildExtension({ sources: join(root, "assembly"), generated: generatedOf(root), force });

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const began = Date.now();
  const built = await buildExtensionOf(process.cwd(), { force: process.argv.includes("--force") });
  console.log(
    `kernels: ${built ? `compiled in ${((Date.now() - began) / 1000).toFixed(1)} s` : "up to date"}`,
  );
}
