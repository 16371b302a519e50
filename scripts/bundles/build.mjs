// A bundle for a browser, minified: what the page of examples/browser, which fine-tunes and runs a language model and reads
// and writes its files, loads of the core and the embedded backend. Writes dist/training.js, which size-limit weighs;
// browser-size.mjs weighs the whole of both packages. Needs a build.
//
//   node scripts/bundles/build.mjs

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const page = join(here, "../../examples/browser/src/worker.ts");
const settings = { bundle: true, format: "esm", platform: "browser", target: "es2022", external: ["node:*"] };

/** Names of the core that the program imports once a bundler has dropped what it does not use. */
async function namesOfCore() {
  const { outputFiles } = await build({
    ...settings,
    entryPoints: [page],
    outdir: here,
    write: false,
    splitting: true,
    external: [...settings.external, "@lowrank/tensor", "@lowrank/backend-*", "*?url"],
  });
  const names = new Set();
  for (const { text } of outputFiles) {
    for (const [, list] of text.matchAll(/^import \{([^}]*)\} from "@lowrank\/tensor"/gm)) {
      for (const part of list.split(",")) names.add(part.trim().split(" as ")[0]);
    }
  }
  if (names.size < 20) throw new Error(`bundles: expected the imports of a page, got ${names.size} names`);
  return [...names].sort();
}

await build({
  ...settings,
  stdin: {
    contents: `export { ${(await namesOfCore()).join(", ")} } from "@lowrank/tensor";\nexport { wasm } from "@lowrank/backend-wasm";\n`,
    resolveDir: here,
  },
  outfile: join(here, "dist/training.js"),
  minify: true,
});
