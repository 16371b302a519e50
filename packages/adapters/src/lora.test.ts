import { Conv2d, Embedding, Linear, Module, Sequential, valueAndGrad, withContext } from "@lowrank/nn";
import {
  ConfigError,
  evaluate,
  key,
  matmul,
  normal,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { AdamW } from "@lowrank/optim";
import { beforeAll, describe, expect, test } from "vitest";
import { activate, attach, attachedTo } from "./attach.js";
import type { Target } from "./adapter.js";
import { lora, type LoraConfig } from "./lora.js";
import { contractChecks } from "./testing.js";
import { testBackend } from "../test/backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

class Pair extends Module {
  embed = new Embedding(12, 8, { key: key(1) });
  body: Linear[] = [new Linear(8, 8, { key: key(2) }), new Linear(8, 6, { key: key(3) })];
  forward(ids: Tensor): Tensor {
    return this.body.reduce((x: Tensor, layer) => layer.forward(x), this.embed.forward(ids));
  }
}

const ids = tensor(Int32Array.of(3, 0, 11, 5), { shape: [4] });
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

/** r (in + out) */
const count = ({ inFeatures, outFeatures }: Target, { rank }: LoraConfig): number =>
  rank * (inFeatures + outFeatures);

for (const check of contractChecks(lora, { rank: 4, alpha: 6 }, { count })) test(check.name, check.run);
for (const check of contractChecks(
  lora,
  { rank: 2, alpha: 3, useRslora: true, init: "gaussian" },
  { count },
)) {
  test(`rsLoRA, Gaussian start: ${check.name}`, check.run);
}

describe("lora", () => {
  test("the update has rank r: every (r + 1)-row minor of B A vanishes", async () => {
    const params = { A: normal([1, 5], { key: key(4) }), B: normal([4, 1], { key: key(5) }) };
    const target = {
      path: "x",
      kind: "linear",
      inFeatures: 5,
      outFeatures: 4,
      weightShape: [4, 5],
      dtype: "f32",
    } as const;
    const zero = tensor(new Float32Array(20), { shape: [4, 5] });
    const update = await read(lora.merge(zero, params, { rank: 1 }, target));
    const at = (i: number, j: number): number => update[i * 5 + j]!;
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j < 4; j++)
        expect(at(i, j) * at(i + 1, j + 1)).toBeCloseTo(at(i, j + 1) * at(i + 1, j), 5);
    }
  });

  test("rsLoRA with alpha / √r is LoRA with alpha", async () => {
    const params = { A: normal([4, 5], { key: key(4) }), B: normal([6, 4], { key: key(5) }) };
    const target = {
      path: "x",
      kind: "linear",
      inFeatures: 5,
      outFeatures: 6,
      weightShape: [6, 5],
      dtype: "f32",
    } as const;
    const W = normal([6, 5], { key: key(6) });
    const plain = await read(lora.merge(W, params, { rank: 4, alpha: 8 }, target));
    const stable = await read(lora.merge(W, params, { rank: 4, alpha: 4, useRslora: true }, target));
    expect(stable).toEqual(plain);
  });

  test("a 768 to 3072 layer at rank 8 trains 30,720 numbers", () => {
    const model = new Sequential(new Linear(768, 3072));
    const attached = attach(model, lora, { rank: 8 }, { targets: ["0"] });
    expect(attached.report()).toMatchObject({
      trainable: 30_720,
      layers: [{ path: "0", parameters: 30_720 }],
    });
    expect(attached.report().total).toBe(768 * 3072 + 3072 + 30_720);
  });

  test("training moves the adapter and leaves every base weight bit for bit", async () => {
    const model = new Pair();
    const before = new Map(
      await Promise.all([...model.state()].map(async ([p, t]) => [p, await read(t)] as const)),
    );
    const attached = attach(model, lora, { rank: 2 }, { targets: ["embed", "1"], key: key(9) });
    const optimizer = new AdamW(model.trainableParameters(), { lr: 0.05 });
    const step = valueAndGrad(model, () => model.forward(ids).square().mean());
    const losses: number[] = [];
    for (let i = 0; i < 12; i++) {
      const { value, grads } = step();
      await optimizer.step(grads, { also: [value] });
      losses.push(await value.item());
    }
    expect(losses.at(-1)!).toBeLessThan(losses[0]! * 0.9);
    for (const [path, t] of model.state()) expect(await read(t), path).toEqual(before.get(path));
    const adapted = await read(model.forward(ids));
    attached.disable();
    expect(await read(model.forward(ids))).not.toEqual(adapted);
    attached.detach();
    expect([...model.parameters()].every(([, p]) => p.trainable)).toBe(true);
  });

  test("dropout acts in training mode only, repeats for a key, and asks for one", async () => {
    const model = new Sequential(new Linear(16, 16, { key: key(1) }));
    const attached = attach(model, lora, { rank: 4, dropout: 0.5 }, { targets: ["0"], key: key(2) });
    await evaluate(
      ...[...attached.parameters()].map(([path, p]) =>
        p.assign(normal(p.shape, { key: key(3).foldName(path) })),
      ),
    );
    const x = normal([3, 16], { key: key(4) });
    const trained = (seed: number): Promise<number[]> =>
      read(withContext({ key: key(seed) }, () => model.forward(x)));
    expect(await trained(5)).toEqual(await trained(5));
    expect(await trained(5)).not.toEqual(await trained(6));
    expect(() => model.forward(x)).toThrow(/expected a key/);
    model.eval();
    expect(await read(model.forward(x))).toEqual(await trained(5));
  });

  test("several adapters on one layer add up, switch, and merge to what they compute", async () => {
    const model = new Sequential(new Linear(10, 7, { key: key(1) })).eval();
    const x = normal([3, 10], { key: key(2) });
    const base = await read((model as Sequential).forward(x));
    for (const [i, name] of ["a", "b"].entries()) {
      const one = attach(model, lora, { rank: 2, alpha: 4 }, { targets: ["0"], name, key: key(10 + i) });
      await evaluate(
        ...[...one.parameters()].map(([path, p]) =>
          p.assign(normal(p.shape, { key: key(20 + i).foldName(path) })),
        ),
      );
    }
    const result = (): Promise<number[]> => read((model as Sequential).forward(x));
    const both = await result();
    activate(model, ["a"]);
    const a = await result();
    activate(model, ["b"]);
    const b = await result();
    activate(model, []);
    expect(await result()).toEqual(base);
    for (let i = 0; i < base.length; i++) expect(both[i]).toBeCloseTo(a[i]! + b[i]! - base[i]!, 4);
    activate(model, ["a", "b"]);
    const [first] = attachedTo(model);
    await first!.merge();
    const merged = await result();
    for (let i = 0; i < base.length; i++) expect(merged[i]).toBeCloseTo(both[i]!, 4);
    expect(() => activate(model, ["a"])).toThrow(/merged/);
    expect([...model.trainableParameters()]).toEqual([]);
    first!.unmerge();
    expect(await result()).toEqual(both);
    expect([...model.trainableParameters()].length).toBe(4);
    expect(() => activate(model, ["c"])).toThrow(ConfigError);
  });

  test("over a base in half precision, merging keeps the digits of the update unless f16 is asked for", async () => {
    const model = new Sequential(new Linear(32, 16, { key: key(1), dtype: "f16" })).eval() as Sequential;
    const attached = attach(model, lora, { rank: 2 }, { targets: ["0"] });
    await evaluate(
      ...[...attached.parameters()].map(([path, p]) =>
        p.assign(normal(p.shape, { key: key(3).foldName(path) })),
      ),
    );
    const x = normal([4, 32], { key: key(4) });
    const apart = await read(model.forward(x));
    const worst = async (): Promise<number> =>
      Math.max(...(await read(model.forward(x))).map((y, i) => Math.abs(y - apart[i]!)));
    await attached.merge();
    expect(await worst()).toBeLessThan(1e-4);
    await attached.unmerge().merge({ dtype: "f16" });
    expect(await worst()).toBeGreaterThan(1e-4);
    expect(attached.unmerge().model.state().get("0.weight")!.dtype).toBe("f16");
  });

  test("merging an embedding for good parts a tied head and leaves the head as it was", async () => {
    class Tied extends Module {
      embed = new Embedding(9, 5, { key: key(1) });
      head = new Linear(5, 9, { bias: false });
      constructor() {
        super();
        this.head.weight = this.embed.weight;
      }
      forward(x: Tensor): Tensor {
        return this.head.forward(this.embed.forward(x));
      }
    }
    const model = new Tied().eval() as Tied;
    expect([...model.parameters()].map(([path]) => path)).toEqual(["embed.weight"]);
    const attached = attach(model, lora, { rank: 2 }, { targets: ["embed"] });
    await evaluate(
      ...[...attached.parameters()].map(([path, p]) =>
        p.assign(normal(p.shape, { key: key(3).foldName(path) })),
      ),
    );
    const before = await read(model.forward(ids));
    await attached.mergeAndUnload();
    const after = await read(model.forward(ids));
    for (let i = 0; i < before.length; i++) expect(after[i]).toBeCloseTo(before[i]!, 4);
    expect([...model.parameters()].map(([path]) => path)).toEqual(["embed.weight", "head.weight"]);
    expect(attachedTo(model)).toEqual([]);
  });

  test("gradients are dB = s gᵀ (x Aᵀ) and dA = s Bᵀ gᵀ x", async () => {
    const model = new Sequential(new Linear(6, 5, { key: key(1), bias: false }));
    const attached = attach(model, lora, { rank: 2, alpha: 6 }, { targets: ["0"], key: key(2) });
    await evaluate(
      ...[...attached.parameters()].map(([path, p]) =>
        p.assign(normal(p.shape, { key: key(3).foldName(path) })),
      ),
    );
    const x = normal([4, 6], { key: key(4) });
    const g = normal([4, 5], { key: key(5) });
    const { grads } = valueAndGrad(model, () => model.forward(x).mul(g).sum())();
    const [A, B] = [...attached.parameters()].map(([, p]) => p);
    const dB = matmul(g.T, matmul(x, A!.T)).mul(3);
    const dA = matmul(B!.T, matmul(g.T, x)).mul(3);
    for (const [name, want] of [
      ["lora_A", dA],
      ["lora_B", dB],
    ] as const) {
      const got = await read(grads.get(`0.${name}.default.weight`)!);
      for (const [i, w] of (await read(want)).entries()) expect(got[i]).toBeCloseTo(w, 3);
    }
  });

  test.each([
    [{ rank: 0 }, /rank to be an integer from 1 to 6/],
    [{ rank: 2.5 }, /rank to be an integer from 1 to 6/],
    [{ rank: 7 }, /layer "body.1"/],
    [{ rank: 2, alpha: Number.NaN }, /alpha to be a finite number/],
    [{ rank: 2, dropout: 1 }, /dropout to be a finite number of at least 0 below 1/],
  ])("refuses %o before anything has changed", (config, message) => {
    const model = new Pair();
    expect(() => attach(model, lora, config, { targets: ["1"] })).toThrow(message);
    expect([...model.parameters()].every(([path, p]) => p.trainable && !path.includes("lora"))).toBe(true);
  });
});

test("on a convolution with groups it is refused, with what has groups", () => {
  const model = new Sequential(new Conv2d(4, 6, 3, { groups: 2 }));
  expect(() => attach(model, lora, { rank: 2 }, { targets: ["0"] })).toThrow(
    /convolutions without groups \(layer "0"\), got 2 groups; leave the layer out, or take a method/,
  );
});

test("on a convolution its parameters are filters and a kernel of 1, as in PEFT's files", async () => {
  const model = new Sequential(new Conv2d(4, 6, [3, 2]));
  const adapted = attach(model, lora, { rank: 2 }, { targets: ["0"] });
  expect([...adapted.parameters()].map(([path, { shape }]) => [path, shape])).toEqual([
    ["0.lora_A.default.weight", [2, 4, 3, 2]],
    ["0.lora_B.default.weight", [6, 2, 1, 1]],
  ]);
});
