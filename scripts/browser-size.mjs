// What a page loads at most of the core with a backend: everything that the page imports, bundled and minified by Vite,
// gzipped. What only an import() fetches when it is needed (another backend, the reader of PEFT's expressions) counts where
// `later` says so. Needs a build.
//
//   node scripts/browser-size.mjs

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const PAGES = [
  {
    name: "tensor and backend-wasm, all of both",
    program: `import * as tensor from "@lowrank/tensor"; import * as backend from "@lowrank/backend-wasm"; globalThis.lowrank = { ...tensor, ...backend };`,
    later: true, // kernels and threads
    limit: 98_500, // the aim is 90,000; scripts/bundles weighs what a page uses
  },
  {
    name: "tensor, all of it, backend-webgpu and adapters (LoRA)",
    program: `import * as tensor from "@lowrank/tensor"; import { webgpu } from "@lowrank/backend-webgpu"; import { activate, attach, lora } from "@lowrank/adapters"; globalThis.lowrank = { ...tensor, webgpu, activate, attach, lora };`,
    later: false,
    limit: 90_000,
  },
  {
    name: "the same, and PEFT's files",
    program: `import * as tensor from "@lowrank/tensor"; import { webgpu } from "@lowrank/backend-webgpu"; import { activate, attach, loadPeft, lora, peftFiles } from "@lowrank/adapters"; globalThis.lowrank = { ...tensor, webgpu, activate, attach, loadPeft, lora, peftFiles };`,
    later: false,
    limit: 95_000,
  },
];

const entry = join(root, "everything.js"); // in no file: its text is the program

for (const { name, program, later, limit } of PAGES) {
  const { output } = await build({
    root,
    configFile: false,
    logLevel: "error",
    plugins: [
      {
        name: "program",
        resolveId: (id) => (id === entry ? id : undefined),
        load: (id) => (id === entry ? program : undefined),
      },
    ],
    // the helper that loads style sheets before an import() is not ours
    build: { target: "es2022", write: false, modulePreload: false, rollupOptions: { input: entry } },
  });
  const counted = later ? output : atOnce(output);
  let total = 0;
  for (const { fileName, code, source } of counted) {
    const text = code ?? source;
    const gzipped = gzipSync(text, { level: 9 }).length;
    total += gzipped;
    console.log(
      `${String(text.length).padStart(8)} bytes, ${String(gzipped).padStart(6)} gzipped  ${fileName}`,
    );
  }
  console.log(`${name}: ${total} bytes gzipped, at most ${limit} allowed`);
  if (!(total > 10_000 && total <= limit)) process.exitCode = 1;
}

/** The chunk of the program and those that it imports, and they in turn. */
function atOnce(output) {
  const chunks = new Map(output.map((chunk) => [chunk.fileName, chunk]));
  const wanted = new Set(output.filter(({ isEntry }) => isEntry));
  for (const chunk of wanted) for (const file of chunk.imports ?? []) wanted.add(chunks.get(file));
  return [...wanted];
}
