import { type Adapter, attach, dora, lora } from "@lowrank/adapters";
import { Embedding, Linear, Module, QuantizedWeight, valueAndGrad } from "@lowrank/nn";
import { evaluate, gradients, key, normal, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const [WIDTH, OUT] = [64, 48];

class Layers extends Module {
  embed = new Embedding(OUT, WIDTH);
  linear = new Linear(WIDTH, OUT, { bias: false });
  forward(ids: Tensor): Tensor {
    return this.linear.forward(this.embed.forward(ids));
  }
}

/** The same model on 4-bit codes and on the numbers that they stand for. */
async function twins(): Promise<{ coded: Layers; dense: Layers }> {
  const weight = (seed: number, rows: number, columns: number) => {
    const codes = Array.from({ length: (rows * columns) / 2 }, (_, i) => (i * 37 + seed) % 256);
    const groups = [rows, columns / 32];
    return new QuantizedWeight({
      codes: tensor(codes, { dtype: "u8", shape: [rows, columns / 2] }),
      scales: normal(groups, { key: key(seed), std: 0.02 }),
      mins: normal(groups, { key: key(seed + 1), std: 0.02 }),
      bits: 4,
      groupSize: 32,
    });
  };
  const [coded, dense] = [new Layers(), new Layers()];
  const values = new Map([
    ["embed.weight", weight(1, OUT, WIDTH)],
    ["linear.weight", weight(3, OUT, WIDTH)],
  ]);
  coded.loadState(values);
  dense.loadState(new Map([...values].map(([path, w]) => [path, w.dense()])));
  await evaluate(...dense.state().values());
  return { coded, dense };
}

const ids = (): Tensor => tensor([5, 0, 47, 5], { dtype: "i32", shape: [2, 2] });
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

async function near(got: Tensor, want: Tensor, bound = 2e-5): Promise<void> {
  const [a, b] = [await read(got), await read(want)];
  const size = Math.max(...b.map(Math.abs));
  expect(a.length).toBe(b.length);
  expect(Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) / size).toBeLessThan(bound);
}

/** An adapter whose parameters all have left their start. */
async function attachMoved<M extends Module>(model: M, adapter: Adapter, targets: string[]) {
  const attached = attach(model, adapter, { rank: 4 }, { targets, key: key(9) });
  const moves = [...attached.parameters()].map(([path, p]) =>
    p.assign(p.add(normal(p.shape, { key: key(10).foldName(path), std: 0.1 }))),
  );
  await evaluate(...moves);
  return attached;
}

describe.each([
  ["lora on a linear layer", lora, ["linear"]],
  ["lora on both layers", lora, ["linear", "embed"]],
  ["dora on a linear layer", dora, ["linear"]],
] as const)("%s over codes", (_, adapter, targets) => {
  const erased = adapter as unknown as Adapter;

  test("does what it does over the numbers, and so do its gradients", async () => {
    const { coded, dense } = await twins();
    for (const model of [coded, dense]) await attachMoved(model, erased, [...targets]);
    await near(coded.forward(ids()), dense.forward(ids()));
    const grads = (model: Layers) => valueAndGrad(model, () => model.forward(ids()).square().sum())().grads;
    const [own, want] = [grads(coded), grads(dense)];
    expect([...own.keys()]).toEqual([...want.keys()]);
    expect(own.size).toBe([...coded.trainableParameters()].length);
    for (const [path, g] of own) await near(g, want.get(path)!);
    const x = normal([3, WIDTH], { key: key(11) });
    const dx = (model: Layers) => gradients(model.linear.forward(x).square().sum(), [x])[0]!;
    await near(dx(coded), dx(dense));
  });

  test("merges into numbers and leaves the codes as they were", async () => {
    const { coded } = await twins();
    const { linear } = coded;
    const before = await read(coded.forward(ids()));
    const weight = linear.weight;
    const attached = await attachMoved(coded, erased, [...targets]);
    const adapted = coded.forward(ids());
    await evaluate(adapted);
    await attached.merge();
    await near(coded.forward(ids()), adapted);
    attached.unmerge();
    await near(coded.forward(ids()), adapted);
    attached.disable();
    expect(await read(coded.forward(ids()))).toEqual(before);
    attached.enable();
    await attached.mergeAndUnload();
    expect(linear.weight).not.toBeInstanceOf(QuantizedWeight);
    await near(coded.forward(ids()), adapted);
    expect(await read(weight)).toHaveLength(OUT * WIDTH);
  });
});
