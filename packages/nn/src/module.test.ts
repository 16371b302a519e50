import { ConfigError, evaluate, key, normal, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Dropout } from "./dropout.js";
import { Embedding } from "./embedding.js";
import { Linear } from "./linear.js";
import { mse } from "./loss.js";
import { Module } from "./module.js";
import { LayerNorm } from "./norm.js";
import { Sequential } from "./sequential.js";
import { valueAndGrad } from "./value-and-grad.js";
import { withContext } from "./context.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

class Block extends Module {
  norm = new LayerNorm(4);
  linear = new Linear(4, 4, { key: key(1) });
}

class Net extends Module {
  embed = new Embedding(7, 4, { key: key(2) });
  layers = [new Block(), new Block()];
  head = new Linear(4, 7, { bias: false });
  constructor() {
    super();
    this.head.weight = this.embed.weight;
  }
}

const paths = (m: Module): string[] => [...m.parameters()].map(([path]) => path);
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

describe("Module", () => {
  test("paths are field names and array indices, and a shared parameter comes once", () => {
    expect(paths(new Net())).toEqual([
      "embed.weight",
      "layers.0.norm.weight",
      "layers.0.norm.bias",
      "layers.0.linear.weight",
      "layers.0.linear.bias",
      "layers.1.norm.weight",
      "layers.1.norm.bias",
      "layers.1.linear.weight",
      "layers.1.linear.bias",
    ]);
  });

  test("Sequential names its layers by their place alone", () => {
    expect(paths(new Sequential(new Linear(2, 3), (x) => x, new Linear(3, 1, { bias: false })))).toEqual([
      "0.weight",
      "0.bias",
      "2.weight",
    ]);
  });

  test("counts follow freeze and unfreeze", () => {
    const net = new Net();
    const total = 28 + 2 * (4 + 4 + 16 + 4);
    expect(net.countParameters()).toEqual({ total, trainable: total, share: 1 });
    net.freeze().unfreeze((path) => path.endsWith("norm.bias"));
    expect(net.countParameters()).toEqual({ total, trainable: 8, share: 8 / total });
    expect([...net.trainableParameters()].map(([path]) => path)).toEqual([
      "layers.0.norm.bias",
      "layers.1.norm.bias",
    ]);
  });

  test("loadState lists what is missing, unexpected and of another shape, and changes nothing then", async () => {
    const layer = new Linear(2, 2, { key: key(3) });
    const before = await read(layer.weight);
    const values = new Map([
      ["weight", tensor([[1, 2, 3]])],
      ["wieght", tensor([1])],
    ]);
    expect(() => layer.loadState(values)).toThrow(
      /1 missing \(bias\); 1 unexpected \(wieght\); 1 of another shape \(weight \[1, 3\] instead of \[2, 2\]\)/,
    );
    expect(await read(layer.weight)).toEqual(before);
    layer.loadState(
      new Map([
        [
          "weight",
          tensor([
            [1, 2],
            [3, 4],
          ]),
        ],
      ]),
      { strict: false },
    );
    expect(await read(layer.weight)).toEqual([1, 2, 3, 4]);
  });

  test("loadState casts to the parameter's dtype, or exchanges the parameter, at both ends of a tie", async () => {
    const value = new Map([
      ["embed.weight", tensor(new Array(28).fill(1.5), { dtype: "f16", shape: [7, 4] })],
    ]);
    const cast = new Net();
    cast.loadState(value, { strict: false });
    expect(cast.embed.weight.dtype).toBe("f32");
    const exchanged = new Net();
    exchanged.loadState(value, { strict: false, dtype: "value" });
    expect(exchanged.embed.weight.dtype).toBe("f16");
    expect(exchanged.head.weight).toBe(exchanged.embed.weight);
    expect(await read(exchanged.head.weight)).toEqual(await read(cast.embed.weight));
  });
});

describe("Linear", () => {
  test("computes x Wᵀ + b", async () => {
    const layer = new Linear(2, 3);
    layer.loadState(
      new Map([
        [
          "weight",
          tensor([
            [1, 2],
            [3, 4],
            [5, 6],
          ]),
        ],
        ["bias", tensor([10, 20, 30])],
      ]),
    );
    expect(
      await read(
        layer.forward(
          tensor([
            [1, -1],
            [2, 0.5],
          ]),
        ),
      ),
    ).toEqual([9, 19, 29, 13, 28, 43]);
  });

  test("a weight in half precision gives what its widened copy gives", async () => {
    const half = new Linear(8, 5, { key: key(1), bias: false, dtype: "f16" });
    const wide = new Linear(8, 5, { bias: false });
    wide.loadState(new Map([["weight", half.weight.astype("f32")]]));
    const x = normal([3, 8], { key: key(2) });
    const [a, b] = [await read(half.forward(x)), await read(wide.forward(x))];
    for (const [i, y] of b.entries()) expect(a[i]).toBeCloseTo(y, 5);
  });

  test("refuses an input of another width in the caller's words", () => {
    expect(() => new Linear(4, 2).forward(tensor([[1, 2, 3]]))).toThrow(
      /Linear: expected an input of shape \[\.\.\., 4\], got \[1, 3\]/,
    );
  });

  test("starts within ±1/√in", async () => {
    const layer = new Linear(64, 32, { key: key(5) });
    const largest = Math.max(...(await read(layer.weight)).map(Math.abs));
    expect(largest).toBeLessThanOrEqual(1 / 8);
    expect(largest).toBeGreaterThan(0.12);
  });
});

describe("Dropout", () => {
  test("keeps the mean, repeats for a key, differs between calls of one pass, and rests in evaluation mode", async () => {
    const layer = new Dropout(0.25);
    const x = tensor(new Float32Array(4000).fill(1));
    const run = (seed: number): Tensor[] =>
      withContext({ key: key(seed) }, () => [layer.forward(x), layer.forward(x)]);
    const [first, second] = await Promise.all(run(1).map(read));
    expect(await read(run(1)[0]!)).toEqual(first);
    expect(second).not.toEqual(first);
    expect(first!.filter((v) => v !== 0).every((v) => Math.abs(v - 4 / 3) < 1e-6)).toBe(true);
    expect(first!.reduce((a, b) => a + b, 0) / 4000).toBeCloseTo(1, 1);
    expect(() => layer.forward(x)).toThrow(ConfigError);
    expect(await read(layer.eval().forward(x))).toEqual(await read(x));
  });
});

describe("valueAndGrad", () => {
  test("differentiates with respect to what is trainable now", async () => {
    const layer = new Linear(2, 1);
    layer.loadState(
      new Map([
        ["weight", tensor([[1, 2]])],
        ["bias", tensor([0.5])],
      ]),
    );
    const step = valueAndGrad(layer, (x: Tensor, y: Tensor) => mse(layer.forward(x), y));
    const [x, y] = [
      tensor([
        [1, 1],
        [2, 0],
      ]),
      tensor([[3], [3]]),
    ];
    const all = step(x, y);
    await evaluate(all.value, ...all.grads.values());
    // errors 0.5 and -0.5: dW = (2/2) Σ e x, db = Σ e
    expect(await all.value.item()).toBeCloseTo(0.25);
    expect(await read(all.grads.get("weight")!)).toEqual([-0.5, 0.5]);
    expect(await read(all.grads.get("bias")!)).toEqual([0]);
    layer.weight.trainable = false;
    expect([...step(x, y).grads.keys()]).toEqual(["bias"]);
    layer.freeze();
    expect(() => step(x, y)).toThrow(/trainable parameters, got none/);
  });

  test("refuses a loss of several numbers", () => {
    const layer = new Linear(2, 2, { key: key(1) });
    expect(() => valueAndGrad(layer, () => layer.forward(tensor([[1, 2]])))()).toThrow(
      /a loss of one number/,
    );
  });
});
