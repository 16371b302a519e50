import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { gelu, key, normal, setDefaultBackend } from "@lowrank/tensor";
import { program, run } from "./child.js";
import { gpu, noGpu } from "./gpu.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

describe.skipIf(noGpu)("nothing is left behind", { timeout: 300_000 }, () => {
  test("1,000 training steps hold the memory of the GPU flat", async () => {
    const backend = await gpu();
    setDefaultBackend(backend);
    const model = new Sequential(
      new Linear(16, 32, { key: key(1) }),
      gelu,
      new Linear(32, 4, { key: key(2) }),
    );
    const x = normal([64, 16], { key: key(3) });
    const y = normal([64, 4], { key: key(4) });
    const step = valueAndGrad(model, () => mse(model.forward(x), y));
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3 });
    const owned: number[] = [];
    const held: number[] = [];
    const losses: number[] = [];
    for (let i = 1; i <= 1000; i++) {
      const { value, grads } = step();
      await optimizer.step(grads, { also: [value] });
      losses.push(await value.item());
      if (i % 100 !== 0) continue;
      collect();
      await new Promise((done) => setTimeout(done, 20));
      owned.push(backend.memory().ownedBytes);
      held.push(backend.heldBytes);
    }
    // The last loss may or may not have been collected: 16 bytes.
    expect(Math.max(...owned) - Math.min(...owned), `bytes of tensors: ${owned.join(", ")}`).toBeLessThan(64);
    // Buffers that wait to be used again are a few more or less, as the collector comes by.
    expect(held.at(-1)! - held[0]!, `bytes of buffers: ${held.join(", ")}`).toBeLessThan(16 << 10);
    expect(losses.at(-1)).toBeLessThan(losses[0]!);
    await backend.dispose();
    expect(backend.heldBytes).toBe(0);
  });

  test("200 devices are made and destroyed in one process, which ends", async () => {
    const { stdout, stderr, status, signal } = run(await program("leak-child"), ["200"]);
    expect([status, signal], stderr).toEqual([0, null]);
    const rss = stdout.trim().split("\n").map(Number);
    expect(rss).toHaveLength(20);
    // A device that stays takes 7 MiB: 150 of them would be a gigabyte.
    expect(rss.at(-1)! - rss[4]!, `MiB after each tenth: ${rss.join(", ")}`).toBeLessThan(100);
  });
});
