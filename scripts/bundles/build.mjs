// Bundles for a browser, minified, what a page loads of the core and the embedded backend to fine-tune and run a language
// model: all that nn, optim, adapters and models take from @lowrank/tensor, and wasm(). Writes dist/training.js, which
// size-limit weighs; browser-size.mjs weighs the whole of both packages. Needs a build.
//
//   node scripts/bundles/build.mjs

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const packages = join(here, "../../packages");

const names = new Set();
for (const path of globSync("{nn,optim,adapters,models}/src/**/*.ts", { cwd: packages })) {
  if (path.endsWith(".test.ts")) continue;
  const text = readFileSync(join(packages, path), "utf8");
  for (const [, list] of text.matchAll(/import \{([^}]*)\} from "@lowrank\/tensor"/g)) {
    for (const part of list.split(",").map((name) => name.trim())) {
      if (part && !part.startsWith("type ")) names.add(part.split(" as ")[0]);
    }
  }
}
if (names.size < 20)
  throw new Error(`bundles: expected the imports of four packages, got ${names.size} names`);

await build({
  stdin: {
    contents: `export { ${[...names].sort().join(", ")} } from "@lowrank/tensor";\nexport { wasm } from "@lowrank/backend-wasm";\n`,
    resolveDir: here,
  },
  outfile: join(here, "dist/training.js"),
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  external: ["node:*"],
});
