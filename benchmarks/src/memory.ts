import { fileURLToPath } from "node:url";
import { attach, lora } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { fromPretrained } from "@lowrank/models";
import { Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { crossEntropy, key, memory, relu, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { integers, numbers } from "./inputs.js";

export interface MemoryOptions {
  json: boolean;
  quick: boolean;
  threads: number;
}

interface Point {
  bench: "memory";
  row: string;
  step: number;
  /** Bytes in buffers that programs and parameters hold, and in the arena of temporaries. */
  owned_bytes: number;
  arena_bytes: number;
  heap_bytes: number;
  rss_bytes: number;
}

/** Live memory over training loops in which nothing is disposed of. */
export async function benchMemory({ json, quick, threads }: MemoryOptions): Promise<void> {
  setDefaultBackend(await wasm({ threads }));
  for (const [row, steps, make] of [
    ["mlp", quick ? 100 : 1000, smallNetwork],
    ["quickstart", quick ? 20 : 300, quickStart],
  ] as const) {
    const step = await make();
    const points: Point[] = [];
    for (let i = 1; i <= steps; i++) {
      await step(i);
      if (i === 10 || i % Math.max(1, steps / 20) === 0) {
        const { ownedBytes, arenaBytes } = memory();
        const { heapUsed, rss } = process.memoryUsage();
        const point: Point = {
          bench: "memory",
          row,
          step: i,
          owned_bytes: ownedBytes,
          arena_bytes: arenaBytes,
          heap_bytes: heapUsed,
          rss_bytes: rss,
        };
        points.push(point);
        if (json) console.log(JSON.stringify(point));
      }
    }
    const live = (p: Point): number => p.owned_bytes + p.arena_bytes;
    const tenth = points.find((p) => p.step === 10)!;
    const most = Math.max(...points.filter((p) => p.step >= 10).map(live));
    const growth = most / live(tenth) - 1;
    if (!json) console.log(curve(row, points.map(live)));
    const verdict = {
      bench: "memory",
      row,
      summary: true,
      steps,
      live_bytes_at_10: live(tenth),
      most_bytes: most,
      growth,
    };
    console.log(
      json
        ? JSON.stringify(verdict)
        : `${row}: ${steps} steps, growth after step 10: ${(100 * growth).toFixed(2)} %\n`,
    );
  }
}

/** A curve of bars, one for each point. */
function curve(row: string, values: readonly number[]): string {
  const most = Math.max(...values);
  const bars = values.map((v) => "▁▂▃▄▅▆▇█"[Math.min(7, Math.floor((v / most) * 7.999))]).join("");
  return `${row}: ${bars}  ${(values[0]! / 2 ** 20).toFixed(1)} to ${(values.at(-1)! / 2 ** 20).toFixed(1)} MiB`;
}

class Net extends Module {
  first = new Linear(64, 128, { key: key(1) });
  second = new Linear(128, 10, { key: key(2) });
  forward(x: Tensor): Tensor {
    return this.second.forward(relu(this.first.forward(x)));
  }
}

async function smallNetwork(): Promise<(i: number) => Promise<void>> {
  const model = new Net();
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3 });
  const step = valueAndGrad(model, (x: Tensor, y: Tensor) => crossEntropy(model.forward(x), y));
  return async (i) => {
    const x = tensor(numbers(32 * 64, i), { shape: [32, 64] });
    const { value, grads } = step(x, tensor(integers(32, i, 10), { dtype: "i32", shape: [32] }));
    await optimizer.step(grads, { also: [value] });
    await value.item();
  };
}

async function quickStart(): Promise<(i: number) => Promise<void>> {
  const model = await fromPretrained(
    fileURLToPath(new URL("../../examples/quickstart/model", import.meta.url)),
  );
  attach(model, lora, { rank: 6, alpha: 12 }, { targets: "all-linear", key: key(1) });
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3, weightDecay: 0 });
  model.train();
  const step = valueAndGrad(model, (ids: Tensor) => model.loss(ids, ids));
  return async (i) => {
    const ids = tensor(integers(4 * 128, i, 4096), { dtype: "i32", shape: [4, 128] });
    const { value, grads } = step(ids);
    await optimizer.step(grads, { also: [value] });
    await value.item();
  };
}
