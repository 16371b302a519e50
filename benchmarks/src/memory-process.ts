/** Runs one loop and prints its memory, one JSON object a line: `memory-process.ts LOOP STEPS EVERY THREADS`. */
import { wasm } from "@lowrank/backend-wasm";
import { memory, setDefaultBackend } from "@lowrank/tensor";
import type { Point } from "./memory.js";
import { LOOPS, type LoopName } from "./memory-loops.js";

const [row, steps, every, threads] = [process.argv[2] as LoopName, ...process.argv.slice(3).map(Number)] as [
  LoopName,
  number,
  number,
  number,
];
setDefaultBackend(await wasm({ threads }));
await LOOPS[row].run(steps, (i, loss) => {
  if (i !== 1 && i !== 10 && i % every !== 0) return;
  const { ownedBytes, arenaBytes } = memory();
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage();
  const point: Point = {
    bench: "memory",
    row,
    step: i,
    loss,
    live_bytes: ownedBytes + arenaBytes,
    owned_bytes: ownedBytes,
    arena_bytes: arenaBytes,
    heap_bytes: heapUsed,
    external_bytes: external,
    array_buffer_bytes: arrayBuffers,
    rss_bytes: rss,
  };
  console.log(JSON.stringify(point));
});
process.exit(0);
