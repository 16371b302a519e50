// What a page loads at most of @lowrank/tensor and @lowrank/backend-wasm: everything public, bundled and minified by Vite,
// kernels included, gzipped. Needs a build.
//
//   node scripts/browser-size.mjs

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const LIMIT_BYTES = 98_500; // the aim is 90,000, to which the program of scripts/bundles is held

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const entry = join(root, "everything.js"); // in no file: its text is below
const { output } = await build({
  root,
  configFile: false,
  logLevel: "error",
  plugins: [
    {
      name: "everything",
      resolveId: (id) => (id === entry ? id : undefined),
      load: (id) =>
        id === entry
          ? `import * as tensor from "@lowrank/tensor"; import * as backend from "@lowrank/backend-wasm"; globalThis.lowrank = { ...tensor, ...backend };`
          : undefined,
    },
  ],
  // the helper that loads style sheets before an import() is not ours
  build: { target: "es2022", write: false, modulePreload: false, rollupOptions: { input: entry } },
});

const files = output.map(({ fileName, code, source }) => {
  const text = code ?? source;
  return { fileName, bytes: text.length, gzipped: gzipSync(text, { level: 9 }).length };
});
const total = files.reduce((sum, { gzipped }) => sum + gzipped, 0);
for (const { fileName, bytes, gzipped } of files)
  console.log(`${String(bytes).padStart(8)} bytes, ${String(gzipped).padStart(6)} gzipped  ${fileName}`);
console.log(
  `browser build of tensor and backend-wasm: ${total} bytes gzipped, at most ${LIMIT_BYTES} allowed`,
);
if (!(total > 10_000 && total <= LIMIT_BYTES)) process.exitCode = 1;
