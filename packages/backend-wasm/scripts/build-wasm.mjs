// Compiles assembly/index.ts twice, with relaxed multiply-add and without, and packs both into src/generated/kernels.ts.
//
//   node scripts/build-wasm.mjs [--force] [--sizes]
//
// Does nothing when the generated module carries the hash of the sources as they are. --sizes lists the largest functions.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { pack } from "./pack.mjs";

const scripts = dirname(fileURLToPath(import.meta.url));
const root = dirname(scripts);
const assembly = join(root, "assembly");
const target = join(root, "src", "generated", "kernels.ts");

// biome-ignore format: an option with its value per line
const COMMON = [
  "--runtime", "stub",
  "--optimizeLevel", "3",
  "--shrinkLevel", "1", // exp, log and pow of f64 without tables: they would be a quarter of all that is packed
  "--noAssert",
  "--use", "abort=",
];

// biome-ignore format: an option with its value per line
const LINKED = [
  ...COMMON,
  "--importMemory",
  "--noExportMemory",
  "--sharedMemory",
  "--initialMemory", "16",
  "--maximumMemory", "65536",
  "--enable", "simd,threads,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals",
];
const KERNELS = [...LINKED, "--exportTable", "--memoryBase", "8192"]; // STATIC_BASE in assembly/layout.ts

/** Room for 1.5 MiB of kernels, from OUTPUT in assembly/unpack.ts on. */
const UNPACKER = [...COMMON, "--initialMemory", "40"];
/** Room for the parse too. */
const PACKER = [...COMMON, "--initialMemory", "512"];

function hashSources(sources) {
  const hash = createHash("sha256");
  for (const folder of [sources, scripts]) {
    for (const name of readdirSync(folder).sort()) {
      if (folder === sources ? !name.endsWith(".ts") : !["build-wasm.mjs", "pack.mjs"].includes(name))
        continue;
      hash
        .update(name)
        .update("\0")
        .update(readFileSync(join(folder, name)));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

async function compile(entry, options, sources = assembly) {
  const { default: asc } = await import("assemblyscript/asc");
  let binary;
  const { error, stderr } = await asc.main(
    [entry, ...options, "--baseDir", sources, "--outFile", "out.wasm"],
    {
      readFile: (name, base) => {
        try {
          return readFileSync(join(base, name), "utf8");
        } catch {
          return null;
        }
      },
      writeFile: (name, contents) => {
        if (name.endsWith(".wasm")) binary = contents;
      },
      listFiles: () => [],
    },
  );
  if (error || !binary) {
    throw new Error(
      `build-wasm: expected ${join(sources, entry)} to compile\n${stderr.toString()}${error?.message ?? ""}`,
    );
  }
  return Buffer.from(binary);
}

/**
 * The kernels, with calls inlined as for speed: at this shrink level the compiler leaves loops of small calls. The two
 * passes together are as fast as the highest level alone and a third smaller when packed.
 */
async function compileKernels(extra, { names = false, options = KERNELS, sources = assembly } = {}) {
  const wasm = await compile("index.ts", [...options, ...extra, ...(names ? ["--debug"] : [])], sources);
  const nearCompiler = createRequire(createRequire(import.meta.url).resolve("assemblyscript/package.json"));
  const { default: binaryen } = await import(pathToFileURL(nearCompiler.resolve("binaryen")).href);
  const module = binaryen.readBinary(wasm);
  const has = binaryen.Features;
  module.setFeatures(
    [has.Atomics, has.BulkMemory, has.BulkMemoryOpt, has.SIMD128, has.RelaxedSIMD]
      .concat(has.NontrappingFPToInt, has.SignExt, has.MutableGlobals)
      .reduce((all, feature) => all | feature),
  );
  binaryen.setDebugInfo(names);
  binaryen.setOptimizeLevel(4);
  binaryen.setShrinkLevel(0);
  binaryen.setAlwaysInlineMaxSize(12);
  binaryen.setFlexibleInlineMaxSize(70);
  binaryen.setOneCallerInlineMaxSize(200);
  binaryen.setAllowInliningFunctionsWithLoops(true);
  module.optimize();
  module.optimize();
  const binary = Buffer.from(module.emitBinary());
  module.dispose();
  return binary;
}

/** Whether there is a generated module, up to date or not. */
export const isBuilt = () => existsSync(target);

const isCurrent = (file, hash) => {
  try {
    return readFileSync(file, "utf8").includes(`sources ${hash}`);
  } catch {
    return false; // not generated yet
  }
};

function writeGenerated(file, text) {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, file); // several test runs may do this at once
}

/** Both forms of the kernels, packed; most of the second is in the first. */
async function packBoth(relaxed, plain) {
  const unpacker = await compile("unpack.ts", [...UNPACKER, "--use", "PACKING=0"]);
  const packer = await compile("unpack.ts", [...PACKER, "--use", "PACKING=1"]);
  return { packed: pack(Buffer.concat([relaxed, plain]), packer, unpacker), unpacker };
}

const literal = (bytes) => JSON.stringify(bytes.toString("base64"));

/** Brings src/generated/kernels.ts up to date; true if it had to be compiled. */
export async function buildWasm({ force = false } = {}) {
  const hash = hashSources(assembly);
  if (!force && isCurrent(target, hash)) return false;
  const relaxed = await compileKernels(RELAXED);
  const plain = await compileKernels([]);
  const { packed, unpacker } = await packBoth(relaxed, plain);
  const text = `// Generated by scripts/build-wasm.mjs from assembly/*.ts, sources ${hash}. Base64.
// Bytes: relaxed ${relaxed.length}, plain ${plain.length}, both packed ${packed.length}, unpacker ${unpacker.length}.
export const relaxedBytes = ${relaxed.length};
export const plainBytes = ${plain.length};
/** Both kernels, the relaxed first. */
export const packedKernels = ${literal(packed)};
export const unpacker = ${literal(unpacker)};
`;
  writeGenerated(target, text);
  return true;
}

/**
 * The kernels of another package as an `Extension` of src/emit.ts: `sources`/index.ts, which exports
 * `f(args, chunk, chunks, scratch)` and has no static data, becomes the file `generated`. True if it had to be compiled.
 */
export async function buildExtension({ sources, generated, force = false }) {
  const hash = hashSources(sources);
  if (!force && isCurrent(generated, hash)) return false;
  const relaxed = await compileKernels(RELAXED, { options: LINKED, sources });
  const plain = await compileKernels([], { options: LINKED, sources });
  const { packed } = await packBoth(relaxed, plain);
  const text = `// Generated from assembly/*.ts, sources ${hash}. Base64.
// Bytes: relaxed ${relaxed.length}, plain ${plain.length}, both packed ${packed.length}.
export const extension = {
  relaxedBytes: ${relaxed.length},
  plainBytes: ${plain.length},
  packed: ${literal(packed)},
};
`;
  writeGenerated(generated, text);
  return true;
}

const RELAXED = ["--enable", "relaxed-simd"];

/** The largest functions by name, in bytes. */
function largestFunctions(wasm, count) {
  let at = 8; // magic and version
  const number = () => {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  const text = () => {
    const length = number();
    return wasm.toString("utf8", at, (at += length));
  };
  const sizes = [];
  let imports = 0; // they have the first numbers
  const names = new Map();
  while (at < wasm.length) {
    const section = wasm[at++];
    const size = number();
    const end = at + size;
    if (section === 2) {
      for (let left = number(); left > 0; left--) {
        text();
        text();
        const kind = wasm[at++];
        if (kind === 0) {
          number(); // its type
          imports++;
        } else {
          const flags = number();
          number();
          if (flags & 1) number();
        }
      }
    } else if (section === 10) {
      for (let left = number(); left > 0; left--) {
        const bytes = number();
        sizes.push(bytes);
        at += bytes;
      }
    } else if (section === 0 && text() === "name") {
      while (at < end) {
        const kind = wasm[at++];
        const next = number() + at;
        if (kind === 1) for (let left = number(); left > 0; left--) names.set(number(), text());
        at = next;
      }
    }
    at = end;
  }
  return sizes
    .map((bytes, i) => ({ name: names.get(i + imports) ?? `function ${i}`, bytes }))
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, count);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const began = Date.now();
  const built = await buildWasm({ force: process.argv.includes("--force") });
  console.log(
    `kernels: ${built ? `compiled in ${((Date.now() - began) / 1000).toFixed(1)} s` : "up to date"}`,
  );
  if (process.argv.includes("--sizes")) {
    console.log(readFileSync(target, "utf8").split("\n")[1].slice(3));
    for (const { name, bytes } of largestFunctions(await compileKernels(RELAXED, { names: true }), 25))
      console.log(`${String(bytes).padStart(7)} ${name}`);
  }
}
