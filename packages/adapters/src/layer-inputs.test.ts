import { Linear, Module } from "@lowrank/nn";
import { key, normal, setDefaultBackend, type Tensor, tanh } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { attach } from "./attach.js";
import { layerInputs, secondMoments } from "./layer-inputs.js";
import { lora } from "./lora.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** Two layers side by side on the same input, and one on top that may be passed by. */
class Net extends Module {
  left = new Linear(5, 4, { key: key(1) });
  right = new Linear(5, 4, { key: key(2) });
  top = new Linear(4, 3, { key: key(3) });
  forward(x: Tensor, withTop = true): Tensor {
    const h = tanh(this.left.forward(x).add(this.right.forward(x)));
    return withTop ? this.top.forward(h) : h;
  }
}

async function all<T>(of: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const one of of) found.push(one);
  return found;
}

const targets = ["left", "right", "top"];
const batch = (seed: number): Tensor => normal([2, 3, 5], { key: key(seed) });

async function* streamed(seeds: number[]): AsyncGenerator<Tensor> {
  for (const seed of seeds) yield batch(seed);
}

describe("the inputs of layers", () => {
  test("come batch by batch as rows, one tensor for layers that share them", async () => {
    const net = new Net();
    const seeds = [4, 5];
    let i = 0;
    for await (const inputs of layerInputs(
      net,
      { batches: streamed(seeds), forward: (x) => net.forward(x) },
      { targets },
    )) {
      expect([...inputs.keys()]).toEqual(targets);
      expect(inputs.get("left")).toBe(inputs.get("right"));
      const x = batch(seeds[i++]!);
      expect(await read(inputs.get("left")!)).toEqual(await read(x));
      expect(inputs.get("top")!.shape).toEqual([6, 4]);
      close(await read(inputs.get("top")!), await read(net.forward(x, false)), 1e-6);
    }
    expect(i).toBe(2);
  });

  test("may be of some tokens, and lack layers that a batch does not reach", async () => {
    const net = new Net();
    const calibration = { batches: [batch(4)], forward: (x: Tensor) => net.forward(x, false) };
    const [inputs] = await all(layerInputs(net, calibration, { targets, tokens: () => [5, 0] }));
    expect([...inputs!.keys()]).toEqual(["left", "right"]);
    const given = await read(batch(4));
    expect(await read(inputs!.get("left")!)).toEqual([...given.slice(25), ...given.slice(0, 5)]);
  });

  test("are those of the adapted model, whose layers are as before afterwards, also after a fault", async () => {
    const net = new Net();
    await randomised(attach(net, lora, { rank: 2, dropout: 0.5 }, { targets: ["left"] }), 6);
    const overlays = [net.left._overlay, net.right._overlay];
    net.eval();
    const want = await read(net.forward(batch(4), false));
    net.train();
    const calibration = { batches: [batch(4)], forward: (x: Tensor) => net.forward(x) };
    const [inputs] = await all(layerInputs(net, calibration, { targets }));
    close(await read(inputs!.get("top")!), want, 1e-6);
    const broken = {
      batches: [1],
      forward: () => {
        throw new Error("broken");
      },
    };
    await expect(layerInputs(net, broken, { targets }).next()).rejects.toThrow("broken");
    expect([net.left._overlay, net.right._overlay]).toEqual(overlays);
    expect(net.left.training).toBe(true);
  });

  test("cannot be had of a pass that is a promise", async () => {
    const net = new Net();
    const calibration = { batches: [batch(4)], forward: async (x: Tensor) => net.forward(x) };
    await expect(layerInputs(net, calibration, { targets }).next()).rejects.toThrow(
      /forward to build a pass, got a promise/,
    );
  });
});

describe("second moments", () => {
  test("are the mean of x xᵀ over all batches, one matrix for layers that share their inputs", async () => {
    const net = new Net();
    const moments = await secondMoments(
      net,
      { batches: streamed([4, 5, 6]), forward: (x) => net.forward(x) },
      { targets, tokens: () => [0, 1, 2, 3] },
    );
    expect(moments.get("left")!.moment).toBe(moments.get("right")!.moment);
    const sum = new Array<number>(25).fill(0);
    for (const seed of [4, 5, 6]) {
      const x = await read(batch(seed));
      for (let t = 0; t < 4; t++)
        for (let i = 0; i < 25; i++) sum[i]! += x[5 * t + Math.floor(i / 5)]! * x[5 * t + (i % 5)]!;
    }
    expect(moments.get("top")!.tokens).toBe(12);
    close(
      await read(moments.get("left")!.moment),
      sum.map((s) => s / 12),
      1e-5,
    );
  });

  test("count each batch for the layers that it reaches", async () => {
    const net = new Net();
    const forward = (i: number): Tensor => net.forward(batch(i), i !== 5);
    const moments = await secondMoments(net, { batches: [4, 5], forward }, { targets });
    expect(moments.get("left")!.tokens).toBe(12);
    expect(moments.get("top")!.tokens).toBe(6);
  });

  test("need a batch", async () => {
    const net = new Net();
    const nothing = { batches: [], forward: () => undefined };
    await expect(secondMoments(net, nothing, { targets })).rejects.toThrow(/batches for the model, got none/);
  });
});
