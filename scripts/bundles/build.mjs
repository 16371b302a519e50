// Bundles the program of this folder for browsers into dist/, minified, so that size-limit can weigh it; browser-size.mjs weighs
// the whole of both packages.
//
//   node scripts/bundles/build.mjs

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

await build({
  entryPoints: [here("training.mjs")],
  outdir: here("dist"),
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  external: ["node:*"],
});
