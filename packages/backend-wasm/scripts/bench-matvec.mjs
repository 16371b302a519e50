// Times y = x Wᵀ for one row x and W [4096, 4096] of each storage format, beside plain reading of as many bytes, both by turns
// and each time over another copy, so that nothing is found in a cache.
//
//   node scripts/bench-matvec.mjs [runs] [threads] [part of a name] [size]

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { tsImport } from "tsx/esm/api";
import { buildWasm } from "./build-wasm.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const options = { parentURL: import.meta.url, tsconfig: join(root, "tsconfig.json") };
const runs = Number(process.argv[2] ?? 15);
const threads = Number(process.argv[3] ?? 1);
const part = process.argv[4] ?? "";
const size = Number(process.argv[5] ?? 4096);
/** Copies together are far larger than the caches. */
const COLD_BYTES = 288 << 20;

/** Adds up `bytes` of memory, a multiple of 128: as fast as one core reads. */
const READER = `export function read(at: usize, bytes: usize): i32 {
  let s = i32x4.splat(0), t = s, u = s, v = s;
  for (const end = at + bytes; at < end; at += 128) {
    s = i32x4.add(i32x4.add(s, v128.load(at)), v128.load(at, 16));
    t = i32x4.add(i32x4.add(t, v128.load(at, 32)), v128.load(at, 48));
    u = i32x4.add(i32x4.add(u, v128.load(at, 64)), v128.load(at, 80));
    v = i32x4.add(i32x4.add(v, v128.load(at, 96)), v128.load(at, 112));
  }
  return i32x4.extract_lane(i32x4.add(i32x4.add(s, t), i32x4.add(u, v)), 0);
}`;

/** A function that reads `bytes` of a memory of its own, another part each time. */
async function reader(bytes) {
  let binary;
  const { error, stderr } = await asc.main(
    ["read.ts", "--runtime", "stub", "-O3", "--importMemory", "--enable", "simd", "--outFile", "read.wasm"],
    {
      readFile: (name) => (name === "read.ts" ? READER : null),
      writeFile: (_, contents) => (binary = contents),
      listFiles: () => [],
    },
  );
  if (error) throw new Error(stderr.toString());
  const pages = Math.ceil((COLD_BYTES + bytes) / 65536);
  const memory = new WebAssembly.Memory({ initial: pages });
  new Uint8Array(memory.buffer).fill(1); // every page is memory of its own
  const module = await WebAssembly.instantiate(binary, { env: { memory } });
  const { read } = module.instance.exports;
  const whole = bytes & ~127;
  for (let i = 0; i < 200; i++) read(0, 1 << 16); // until it is optimized
  let at = 0;
  return () => {
    at = at + 2 * whole <= pages * 65536 ? at + whole : 0;
    read(at, whole);
  };
}

await buildWasm();
const t = await tsImport("@lowrank/tensor", options);
const { wasm } = await tsImport("../src/index.ts", options);
const backend = await wasm({ threads, profile: true });
t.setDefaultBackend(backend);

let seed = 1;
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
  return seed / 2 ** 31;
};
const floats = (count) => Float32Array.from({ length: count }, random);
const numbers = floats(size * size);
const codes = Int8Array.from(numbers, (x) => x * 128);
const stored = (data, shape, dtype) => t.parameter(t.tensor(data, { shape, dtype }));

/** Name, bytes, and a function that makes a copy of the weight and gives the product with it. */
function format(name, bits, activations) {
  if (bits === undefined) {
    const bytes = name === "f32" ? 4 : 2;
    const make = () => {
      const w = stored(numbers, [size, size], name);
      return (x) => t.matmul(x, w.T);
    };
    return { name, bytes: bytes * size * size, make };
  }
  const groups = size / 32;
  const make = () => {
    const data = bits === 8 ? codes.slice() : new Uint8Array(codes.slice(0, (size * size) / 2).buffer);
    const w = stored(data, [size, (size * bits) / 8], bits === 8 ? "i8" : "u8");
    const scales = stored(floats(size * groups), [size, groups], "f32");
    return (x) => t.quantizedMatmul(x, w, scales, { bits, activations });
  };
  const label = `int${bits}${activations === "f32" ? "" : `, x in ${activations}`}`;
  return { name: label, bytes: (size * size * bits) / 8 + size * groups * 4, make };
}

const formats = [
  format("f32"),
  format("f16"),
  format("bf16"),
  ...["f32", "int16", "int8"].flatMap((kind) => [format("", 8, kind), format("", 4, kind)]),
];
const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
console.log(
  `W [${size}, ${size}], ${threads} thread(s), medians of ${runs}; ratio of the least times in brackets`,
);
for (const { name, bytes, make } of formats) {
  if (!name.includes(part)) continue;
  const read = await reader(bytes);
  const products = Array.from({ length: Math.ceil(COLD_BYTES / bytes) }, make);
  const x = stored(floats(size), [1, size], "f32");
  const y = stored(new Float32Array(size), [1, size], "f32");
  const [ours, reads] = [[], []];
  for (let i = -8; i < runs; i++) {
    const began = performance.now();
    read();
    const readMs = performance.now() - began;
    await t.evaluate(y.assign(products[(i + 8) % products.length](x)));
    const ms = backend.profile().reduce((sum, row) => sum + row.ms, 0);
    if (i < 0) continue;
    ours.push(ms);
    reads.push(readMs);
  }
  const [a, b] = [median(ours), median(reads)];
  console.log(
    `${name.padEnd(20)}${a.toFixed(3).padStart(8)} ms ${(bytes / a / 1e6).toFixed(1).padStart(6)} GB/s   read ${b
      .toFixed(3)
      .padStart(7)} ms   ratio ${(a / b).toFixed(2)} (${(ours[0] / reads[0]).toFixed(2)})`,
  );
  for (const one of [x, y]) one.dispose();
}
backend.dispose();
