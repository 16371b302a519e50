import { Linear, Module } from "@lowrank/nn";
import { evaluate, key, normal, setDefaultBackend, type Tensor, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { type Adapter, defineAdapter } from "./adapter.js";
import { activate, attach, withRows } from "./attach.js";
import { lora } from "./lora.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const gain = defineAdapter<object, { g: Tensor }>({
  name: "gain",
  init: ({ outFeatures, dtype }) => ({ g: zeros([outFeatures, 1], { dtype }) }),
  merge: (W, { g }) => W.mul(g.add(1)),
});

class Net extends Module {
  body: Linear[] = [new Linear(6, 5, { key: key(1) }), new Linear(5, 4, { key: key(2) })];
  forward(x: Tensor): Tensor {
    return this.body.reduce((h: Tensor, layer) => layer.forward(h), x);
  }
}

const x = normal([4, 3, 6], { key: key(3) });
const targets = ["body.0", "body.1"];

/** A net with two LoRA adapters and one of another kind, none of them at its start. */
async function adapted(): Promise<Net> {
  const net = new Net().eval() as Net;
  const two = ["a", "b"].map((name) => attach(net, lora, { rank: 2, alpha: 3 }, { targets, name }));
  const all = [...two, attach(net, gain as unknown as Adapter, {}, { targets, name: "g" })];
  await evaluate(
    ...all.flatMap((one) =>
      [...one.parameters()].map(([path, p]) => p.assign(normal(p.shape, { key: key(4).foldName(path) }))),
    ),
  );
  return net;
}

const rowsOf = async (t: Tensor): Promise<number[][]> => {
  const flat = Array.from(await t.data());
  const size = flat.length / t.shape[0]!;
  return Array.from({ length: t.shape[0]! }, (_, r) => flat.slice(r * size, (r + 1) * size));
};

describe("withRows", () => {
  test("each row is what its adapter alone makes of it, of any kind, and null the bare model", async () => {
    const net = await adapted();
    activate(net, ["b"]); // what is enabled does not count
    const mixed = await rowsOf(withRows(net, ["a", null, "g", "b"], () => net.forward(x)));
    for (const [r, name] of ["a", null, "g", "b"].entries()) {
      activate(net, name === null ? [] : [name]);
      const alone = (await rowsOf(net.forward(x)))[r]!;
      for (const [i, y] of alone.entries()) expect(mixed[r]![i]).toBeCloseTo(y, 5);
    }
  });

  test("weights are those of the change in each layer, and several may act on one row", async () => {
    const net = await adapted();
    const run = (row: Record<string, number>): Promise<number[][]> =>
      rowsOf(withRows(net, [row, row, row, row], () => net.body[0]!.forward(x)));
    const [bare, a, b, both] = [
      await run({}),
      await run({ a: 1 }),
      await run({ b: 1 }),
      await run({ a: 0.5, b: -2 }),
    ];
    for (const [r, row] of both.entries()) {
      for (const [i, y] of row.entries()) {
        const base = bare[r]![i]!;
        expect(y).toBeCloseTo(base + 0.5 * (a[r]![i]! - base) - 2 * (b[r]![i]! - base), 4);
      }
    }
  });

  test("the choice ends with the pass", async () => {
    const net = await adapted();
    activate(net, []);
    const before = await rowsOf(net.forward(x));
    const mixed = withRows(net, ["a", "a", "a", "a"], () => net.forward(x));
    const after = net.forward(x);
    expect(await rowsOf(mixed)).not.toEqual(before);
    expect(await rowsOf(after)).toEqual(before);
  });

  test("an unknown name, a merged layer and another number of rows are refused", async () => {
    const net = await adapted();
    expect(() => withRows(net, ["c"], () => 0)).toThrow(/withRows: expected one of "a", "b", "g", got "c"/);
    expect(() => withRows(net, [{ a: Number.NaN }], () => 0)).toThrow(/a finite weight for "a"/);
    expect(() => withRows(net, ["a"], () => net.forward(x))).toThrow(
      /an input with an axis of 1 rows first, those of withRows, got \[4, 3, 6\]/,
    );
    const one = attach(net, lora, { rank: 1 }, { targets, name: "d" });
    await one.merge();
    expect(() => withRows(net, ["a", "a", "a", "a"], () => net.forward(x))).toThrow(/not merged/);
  });
});
