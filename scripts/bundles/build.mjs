// Bundles the programs of this folder for browsers into dist/, minified, so that size-limit can weigh them.
//
//   node scripts/bundles/build.mjs

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

await build({
  entryPoints: [here("training.mjs"), here("everything.mjs")],
  outdir: here("dist"),
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  external: ["node:*"],
});
