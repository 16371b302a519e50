import { Linear, mse, Sequential, valueAndGrad, withContext } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  defaultBackend,
  evaluate,
  key,
  matmul,
  normal,
  planStats,
  setDefaultBackend,
  type Tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read, targetOf } from "../test/layers.js";
import { attach, type Attached } from "./attach.js";
import { attachUpdates } from "./compose/attach-updates.js";
import { dyLora, type DyLoraConfig, type DyLoraParams, dyLoraUpdates, withRank } from "./dylora.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

for (const check of [
  ...contractChecks(
    dyLora,
    { rank: 4, alpha: 6 },
    {
      // r (in + out)
      count: ({ inFeatures, outFeatures }) => 4 * (inFeatures + outFeatures),
    },
  ),
  ...contractChecks(dyLora, { rank: 4, alpha: 6, active: 3 }),
])
  test(check.name, check.run);

const W = normal([6, 9], { key: key(1) });
const target = targetOf("linear", 9, 6);
const params: DyLoraParams = { A: normal([4, 9], { key: key(2) }), B: normal([6, 4], { key: key(3) }) };
const x = normal([3, 9], { key: key(4) });

async function adapted(config: Partial<DyLoraConfig> = {}): Promise<Attached<Sequential>> {
  const model = new Sequential(new Linear(9, 6, { key: key(5) })).eval() as Sequential;
  const attached = attach(model, dyLora, { rank: 4, alpha: 6, ...config }, { targets: ["0"] });
  return (await randomised(attached, 6)) as Attached<Sequential>;
}

test("at rank b it is the LoRA of the first b rows and columns, scaled by alpha / b", async () => {
  for (let b = 1; b <= 4; b++) {
    const prefix = { A: params.A.slice([[0, b]]), B: params.B.slice([null, [0, b]]) };
    close(
      await read(dyLora.merge(W, params, { rank: 4, alpha: 6, active: b }, target)),
      await read(lora.merge(W, prefix, { rank: b, alpha: 6 }, target)),
      1e-6,
    );
  }
});

describe("a pass", () => {
  test("of a rank from withRank is that of the rank in the configuration, in training too", async () => {
    for (let b = 1; b <= 4; b++) {
      const [free, fixed] = [await adapted(), await adapted({ active: b })];
      const want = await read(fixed.model.forward(x));
      expect(await read(withRank(b, () => free.model.forward(x)))).toEqual(want);
      free.model.train();
      expect(await read(withRank(b, () => free.model.forward(x)))).toEqual(want);
    }
    const { model } = await adapted();
    expect(() => withRank(5, () => model.forward(x))).toThrow(
      /the rank of a pass to be an integer from 1 to 4, got 5/,
    );
  });

  test("of the training draws each rank from minRank on, the same in all layers, by one plan", async () => {
    const model = new Sequential(new Linear(9, 9, { key: key(5) }), new Linear(9, 6, { key: key(6) }));
    const attached = attach(model, dyLora, { rank: 4, alpha: 6, minRank: 2 }, { targets: ["0", "1"] });
    await randomised(attached, 7);
    const prefixes: number[][] = [];
    for (let b = 1; b <= 4; b++) prefixes.push(await read(withRank(b, () => model.forward(x))));
    const drawn = [0, 0, 0, 0];
    const pass = (i: number): Promise<number[]> =>
      read(withContext({ key: key(8).fold(i) }, () => model.forward(x)));
    await pass(99);
    const before = planStats(await defaultBackend()).misses;
    for (let i = 0; i < 60; i++) {
      const y = await pass(i);
      const near = prefixes.map((p) => Math.max(...p.map((v, j) => Math.abs(v - y[j]!))));
      const best = near.indexOf(Math.min(...near));
      expect(near[best]).toBeLessThan(1e-4);
      drawn[best]!++;
    }
    expect(planStats(await defaultBackend()).misses).toBe(before);
    expect(drawn[0]).toBe(0);
    for (const count of drawn.slice(1)) expect(count).toBeGreaterThan(8);
  });

  test("of the training needs a key", async () => {
    const { model } = await adapted();
    model.train();
    expect(() => model.forward(x)).toThrow(/a key for the random rank of this pass/);
  });
});

describe("gradients", () => {
  /** Which rows of A and columns of B have a gradient at a drawn rank, and the rank. */
  async function touched(frozen: boolean, seed: number): Promise<{ A: boolean[]; B: boolean[] }> {
    const { model } = await adapted({ frozen });
    model.train();
    const step = valueAndGrad(model, () => model.forward(x).square().sum());
    const { grads } = withContext({ key: key(seed) }, () => step());
    const some = async (name: string, axis: number): Promise<boolean[]> => {
      const g = [...grads].find(([path]) => path.includes(name))![1];
      return (await read(g.abs().sum(axis))).map((v) => v > 0);
    };
    return { A: await some("_A", 1), B: await some("_B", 0) };
  }

  test("reach the rows up to b, or with frozen row b alone", async () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const all = await touched(false, seed);
      const b = all.A.lastIndexOf(true) + 1;
      expect(all.A).toEqual([1, 2, 3, 4].map((i) => i <= b));
      expect(all.B).toEqual(all.A);
      const one = await touched(true, seed);
      expect(one.A).toEqual([1, 2, 3, 4].map((i) => i === b));
      expect(one.B).toEqual(one.A);
    }
  });
});

describe("after training", () => {
  test.each([false, true])(
    "each rank up to the largest does better than the one before; frozen: %s",
    async (frozen) => {
      const model = new Sequential(new Linear(12, 10, { key: key(1), bias: false }));
      const change = matmul(normal([10, 4], { key: key(2) }), normal([4, 12], { key: key(3) })).mul(0.3);
      const inputs = normal([64, 12], { key: key(4) });
      const wanted = matmul(inputs, (model.at("0") as Linear).weight.add(change).T);
      await evaluate(wanted, inputs);
      const attached = attach(model, dyLora, { rank: 4, alpha: 4, frozen }, { targets: ["0"], key: key(5) });
      const loss = (): Tensor => mse(model.forward(inputs), wanted);
      const bare = await withRank(4, loss).item();
      const step = valueAndGrad(model, loss);
      const optimizer = new AdamW(model.trainableParameters(), { lr: 0.03, weightDecay: 0 });
      for (let i = 0; i < 400; i++) {
        const { grads } = withContext({ key: key(6).fold(i) }, () => step());
        await optimizer.step(grads);
      }
      const losses = [bare];
      for (let b = 1; b <= 4; b++) losses.push(await withRank(b, loss).item());
      for (let b = 1; b <= 4; b++) expect(losses[b]).toBeLessThan(0.9 * losses[b - 1]!);
      expect(attached.report().trainable).toBe(4 * 22);
    },
  );

  test("a smaller rank is cut out as a LoRA in PEFT's files", async () => {
    const attached = await adapted();
    const { model } = attached;
    const want = await read(withRank(2, () => model.forward(x)));
    const updates = dyLoraUpdates(attached, 2);
    await evaluate(...[...updates.values()].flatMap(({ A, B }) => [A, B]));
    attached.disable();
    const small = await attachUpdates(model, updates, { name: "small" });
    close(await read(model.forward(x)), want, 1e-6);
    const files = await peftFiles(small);
    small.detach();
    await loadPeft(model, files, { name: "again" });
    close(await read(model.forward(x)), want, 1e-6);
  });
});

describe("refused are", () => {
  const put = (config: DyLoraConfig) => () =>
    attach(new Sequential(new Linear(9, 6)), dyLora, config, { targets: ["0"] });
  test("a smallest rank above the largest", () =>
    expect(put({ rank: 3, minRank: 4 })).toThrow(/minRank to be an integer from 1 to 3, got 4/));
  test("an active rank that there is not", () =>
    expect(put({ rank: 3, active: 4 })).toThrow(/active to be an integer from 1 to 3, got 4/));
  test("updates of another adapter", () => {
    const other = attach(new Sequential(new Linear(9, 6)), lora, { rank: 2 }, { targets: ["0"] });
    expect(() => dyLoraUpdates(other, 1)).toThrow(/an adapter of dyLora, got lora/);
  });
});
