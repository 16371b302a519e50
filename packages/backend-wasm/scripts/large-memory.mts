// Holds six GiB of tensors on the embedded backend, computes with all of them in one plan, and frees them.
//
//   node --import tsx packages/backend-wasm/scripts/large-memory.mts

import { wasm } from "@lowrank/backend-wasm";
import { evaluate, full, memory, parameter, setDefaultBackend, sum } from "@lowrank/tensor";

const GIB = 2 ** 30;
const backend = await wasm({ maxMemoryBytes: 8 * GIB });
setDefaultBackend(backend);
const size = GIB / 8; // elements: half a GiB
const parts = Array.from({ length: 12 }, (_, i) => parameter(full([size], i)));
let began = performance.now();
await evaluate(...parts);
const held = memory().ownedBytes;
console.log(`${(held / GIB).toFixed(2)} GiB made in ${((performance.now() - began) / 1000).toFixed(1)} s`);
began = performance.now();
const total = parts.map((p) => sum(p)).reduce((a, b) => a.add(b));
const found = await total.item();
console.log(`summed in ${((performance.now() - began) / 1000).toFixed(1)} s: ${found / size}, expected 66`);
began = performance.now();
// A step that reads and writes tensors of different memories.
await evaluate(...parts.map((p, i) => p.assign(p.add(parts[(i + 6) % 12]!))));
const after = await parts
  .map((p) => sum(p))
  .reduce((a, b) => a.add(b))
  .item();
console.log(
  `exchanged in ${((performance.now() - began) / 1000).toFixed(1)} s: ${after / size}, expected 132`,
);
for (const p of parts) p.dispose();
console.log(`${memory().ownedBytes} bytes left`);
backend.dispose();
if (held < 6 * GIB || found !== 66 * size || after !== 132 * size) process.exitCode = 1;
