import { Conv2d, Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { evaluate, key, normal, setDefaultBackend, type Tensor, tanh } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { fileURLToPath } from "node:url";
import { readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { attach } from "./attach.js";
import { contributionRanks } from "./contribution-ranks.js";
import { type ContributionsOptions, contributions } from "./contributions.js";
import { lora } from "./lora.js";
import { rankPattern } from "./rank-pattern.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const f64 = { dtype: "f64" } as const;

/** The weights of a model moved at random, all or those that match. */
async function tunedOf(model: Sequential, match = /./): Promise<Map<string, Tensor>> {
  const tuned = new Map<string, Tensor>();
  for (const [path, p] of model.parameters()) {
    if (!match.test(path)) continue;
    const value = p.add(normal(p.shape, { key: key(9).foldName(path), std: 0.3, dtype: p.dtype }));
    await evaluate(value);
    tuned.set(path, value);
  }
  return tuned;
}

/** A linear model with squared error, in f64: quadratic in each of its parameters alone and in all together. */
async function quadratic() {
  const model = new Sequential(new Linear(6, 4, { key: key(1), ...f64 }));
  const [x, y] = [normal([5, 6], { key: key(2), ...f64 }), normal([5, 4], { key: key(3), ...f64 })];
  const loss = (): Tensor => model.forward(x).sub(y).square().sum();
  const tuned = await tunedOf(model);
  const start = await loss().item();
  const layer = model.at("0") as Linear;
  const end = await layer
    .withWeight(x, tuned.get("0.weight")!)
    .sub(layer.bias!)
    .add(tuned.get("0.bias")!)
    .sub(y)
    .square()
    .sum()
    .item();
  return { model, tuned, loss, change: end - start };
}

describe("contributions", () => {
  test("by the middle rule they add up to the change of a quadratic loss at any number of points", async () => {
    const { model, tuned, loss, change } = await quadratic();
    for (const points of [1, 10, 100]) {
      const { total } = await contributions(model, { tuned, loss, batches: [0], points, rule: "middle" });
      expect(Math.abs(total - change)).toBeLessThan(1e-10 * Math.abs(change));
    }
  });

  test("by the end rule the sum comes closer as 1/N", async () => {
    const { model, tuned, loss, change } = await quadratic();
    const miss = async (points: number): Promise<number> =>
      Math.abs((await contributions(model, { tuned, loss, batches: [0], points })).total - change);
    const [ten, hundred] = [await miss(10), await miss(100)];
    expect(ten / hundred).toBeCloseTo(10, 4);
  });

  const net = (): Sequential =>
    new Sequential(
      new Linear(6, 5, { key: key(4) }),
      tanh,
      new Linear(5, 4, { key: key(5) }),
      tanh,
      new Linear(4, 3, { key: key(6) }),
    );
  const x = normal([7, 6], { key: key(7) });
  const y = normal([7, 3], { key: key(8) });
  const squares =
    (model: Sequential, factor = 1) =>
    (): Tensor =>
      model.forward(x).sub(y).square().sum().mul(factor);

  test("are zero where nothing changed, and the ranks are then those of an even share", async () => {
    const model = net();
    const { layers, total } = await contributions(model, {
      tuned: new Map(model.parameters()),
      loss: squares(model),
      batches: [0],
    });
    expect(Object.values(layers).map(({ value }) => value)).toEqual([0, 0, 0]);
    expect(total).toBe(0);
    const even = Object.fromEntries(Object.entries(layers).map(([path, of]) => [path, { ...of, value: 1 }]));
    expect(contributionRanks(layers, { budget: 0.8 })).toEqual(contributionRanks(even, { budget: 0.8 }));
  });

  test("a layer that tuning left alone contributes nothing and gets the least rank", async () => {
    const model = net();
    const { layers } = await contributions(model, {
      tuned: await tunedOf(model, /^[02]/),
      loss: squares(model),
      batches: [0],
    });
    expect(layers["4"]!.value).toBe(0);
    expect(layers["0"]!.value).toBeGreaterThan(0);
    expect(contributionRanks(layers, { budget: 0.9 })["4"]).toBe(1);
    expect(contributionRanks(layers, { budget: 0.9, minRank: 0 })).not.toHaveProperty("4");
  });

  test("grow with the loss's factor all alike, which leaves the ranks as they are", async () => {
    const model = net();
    const tuned = await tunedOf(model);
    const [one, three] = [1, 3].map((factor) => ({ tuned, loss: squares(model, factor), batches: [0] }));
    const [a, b] = [(await contributions(model, one!)).layers, (await contributions(model, three!)).layers];
    close(
      Object.values(b).map(({ value }) => value),
      Object.values(a).map(({ value }) => 3 * value),
      1e-6,
    );
    expect(contributionRanks(b, { budget: 0.7 })).toEqual(contributionRanks(a, { budget: 0.7 }));
  });

  test("leave the model as it is bit for bit, also when the loss fails", async () => {
    const model = net();
    const before = await Promise.all([...model.parameters()].map(([, p]) => read(p)));
    const options: ContributionsOptions<number> = {
      tuned: await tunedOf(model),
      loss: squares(model),
      batches: [0],
      points: 3,
    };
    await contributions(model, options);
    let calls = 0;
    const failing = (): Tensor => {
      if (++calls === 2) throw new Error("no more");
      return squares(model)();
    };
    await expect(contributions(model, { ...options, loss: failing })).rejects.toThrow("no more");
    expect(await Promise.all([...model.parameters()].map(([, p]) => read(p)))).toEqual(before);
  });

  test("refuse weights that do not fit, adapters on the model and no batches", async () => {
    const model = net();
    const options = { tuned: await tunedOf(model), loss: squares(model), batches: [0] };
    await expect(contributions(model, { ...options, tuned: new Map([["7.weight", x]]) })).rejects.toThrow(
      /"7.weight", which the model does not have/,
    );
    await expect(contributions(model, { ...options, tuned: new Map([["0.weight", x]]) })).rejects.toThrow(
      /shape \[5, 6\], got \[7, 6\]/,
    );
    await expect(contributions(model, { ...options, batches: [] })).rejects.toThrow(/no batch/);
    await expect(contributions(model, { ...options, points: 0 })).rejects.toThrow(/points/);
    attach(model, lora, { rank: 1 }, { targets: ["0"] });
    await expect(contributions(model, options)).rejects.toThrow(/adapters default/);
  });

  test("and their ranks agree with numpy's", async () => {
    const golden = await readGoldens(
      fileURLToPath(new URL("../test/goldens/derived/colora.safetensors", import.meta.url)),
    );
    const [first, last] = [new Linear(12, 8), new Linear(8, 6, { bias: false })];
    const model = new Sequential(first, tanh, last);
    const own = { V: first.weight, c: first.bias!, U: last.weight };
    for (const [name, p] of Object.entries(own)) p.replace(golden.tensor(name));
    const { layers, total } = await contributions(model, {
      tuned: new Map([
        ["0.weight", golden.tensor("to.V")],
        ["0.bias", golden.tensor("to.c")],
        ["2.weight", golden.tensor("to.U")],
      ]),
      batches: [0, 1],
      loss: (i) =>
        model
          .forward(golden.tensor(`x.${i}`))
          .sub(golden.tensor(`t.${i}`))
          .square()
          .sum(),
      points: 5,
    });
    for (const [path, name] of [
      ["0", "V"],
      ["2", "U"],
    ] as const) {
      const [want] = golden.numbers(`contribution.${name}`);
      expect(Math.abs(layers[path]!.value - want!)).toBeLessThan(1e-5 * want!);
    }
    expect(Math.abs(total - golden.numbers("total")[0]!)).toBeLessThan(1e-5 * Math.abs(total));
    const [rows, columns, values] = ["rows", "columns", "values"].map((name) => golden.numbers(name));
    const given = values!.map(
      (value, i) => [`l${i}`, { value, rows: rows![i]!, columns: columns![i]! }] as const,
    );
    expect(Object.values(contributionRanks(Object.fromEntries(given), { budget: 0.15 }))).toEqual(
      golden.numbers("ranks"),
    );
    expect(await read(first.weight)).toEqual(golden.numbers("V"));
  });
});

describe("the ranks by contribution", () => {
  const layersOf = (values: number[]) =>
    Object.fromEntries(
      values.map((value, i) => [`l${i}`, { value, rows: 16 + 8 * i, columns: 9 * (16 + 8 * i) }]),
    );
  const trained = (ranks: Record<string, number>, layers: ReturnType<typeof layersOf>): number =>
    Object.entries(ranks).reduce(
      (sum, [path, r]) => sum + r * (layers[path]!.rows + layers[path]!.columns),
      0,
    );

  test("keep to the budget and come within a rank per layer of it", () => {
    const layers = layersOf([0.1, 3, 0.4, 1, 0.2, 0.9]);
    const whole = Object.values(layers).reduce((sum, { rows, columns }) => sum + rows * columns, 0);
    const most = Math.max(...Object.values(layers).map(({ rows, columns }) => rows + columns));
    for (const budget of [0.05, 0.1, 0.3, 0.8]) {
      const numbers = trained(contributionRanks(layers, { budget }), layers);
      expect(numbers).toBeLessThanOrEqual(budget * whole);
      expect(numbers).toBeGreaterThan(budget * whole - 6 * most);
    }
    // The least ranks alone may need more.
    const least = contributionRanks(layers, { budget: 1e-4 });
    expect(Object.values(least)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  test("are those of one share for all layers where all contribute alike", () => {
    const layers = layersOf([2, 2, 2, 2]);
    const ranks = Object.values(contributionRanks(layers, { budget: 0.2 }));
    const shares = ranks.map((r, i) => r / (Object.values(layers)[i]!.rows * 0.9)); // r (m + n) / (m n) = r / (0.9 rows)
    for (const share of shares) expect(share).toBeGreaterThan(0.2 - 1 / 14.4);
    for (const share of shares) expect(share).toBeLessThanOrEqual(0.2 + 1 / 14.4);
  });

  test("grow with the contribution, up to the quantile, and never pass the layer's sides", () => {
    const layers = Object.fromEntries(
      [1, 2, 4, 8, 100].map((value, i) => [`l${i}`, { value, rows: 32, columns: 32 }]),
    );
    const ranks = Object.values(contributionRanks(layers, { budget: 0.2, quantile: 0.75 }));
    expect(ranks).toEqual([...ranks].sort((a, b) => a - b));
    expect(ranks[4]).toBe(ranks[3]);
    const full = contributionRanks({ thin: { value: 1, rows: 2, columns: 400 } }, { budget: 1 });
    expect(full["thin"]).toBeLessThanOrEqual(2);
    expect(contributionRanks({})).toEqual({});
    expect(() => contributionRanks({}, { budget: 0 })).toThrow(/budget/);
  });
});

describe("CoLoRA on convolutions", () => {
  const options = { stride: 2, padding: 1, dilation: 2 } as const;
  const net = (): Sequential =>
    new Sequential(
      new Conv2d(2, 6, 3, { key: key(11), padding: 1 }),
      tanh,
      new Conv2d(6, 8, 3, { key: key(12), ...options }),
      tanh,
      new Conv2d(8, 4, 1, { key: key(13) }),
    );
  const x = normal([2, 2, 9, 9], { key: key(14) });

  test("ranks by contribution are those of a LoRA whose start is the base, with the numbers that were asked for", async () => {
    const model = net();
    const before = await read(model.forward(x));
    const loss = (): Tensor => model.forward(x).square().sum();
    const { layers } = await contributions(model, {
      tuned: await tunedOf(model),
      loss,
      batches: [0],
      points: 4,
    });
    expect(layers["2"]).toMatchObject({ rows: 8, columns: 54 });
    const ranks = contributionRanks(layers, { budget: 0.5 });
    const adapted = attach(
      model,
      lora,
      { rank: 1 },
      { targets: Object.keys(ranks), rankPattern: rankPattern(ranks) },
    );
    const wanted = Object.entries(ranks).map(([path, r]) => ({
      path,
      parameters: r * (layers[path]!.rows + layers[path]!.columns),
    }));
    expect(adapted.report().layers).toEqual(wanted);
    expect(await read(model.forward(x))).toEqual(before);
  });

  test("two convolutions one after the other are one with the filters of B A, at any stride, padding and dilation", async () => {
    const layer = new Conv2d(6, 8, 3, { key: key(12), ...options });
    const model = new Sequential(layer).eval() as Sequential;
    const adapted = await randomised(attach(model, lora, { rank: 3 }, { targets: ["0"] }), 15);
    const input = normal([2, 6, 9, 9], { key: key(16) });
    const { A, B } = adapted.places[0]!.entry.params;
    const filters = layer.denseWeight().add(B!.reshape([8, 3]).matmul(A!.reshape([3, 54])));
    close(await read(model.forward(input)), await read(layer.withWeight(input, filters)), 1e-5);
    await adapted.merge();
    close(await read(model.forward(input)), await read(layer.withWeight(input, filters)), 1e-5);
  });
});

test("on a task that changes one layer, ranks by contribution do better than even ones of as many numbers", async () => {
  const net = (): Sequential =>
    new Sequential(
      new Linear(16, 16, { key: key(21) }),
      tanh,
      new Linear(16, 16, { key: key(22) }),
      tanh,
      new Linear(16, 16, { key: key(23) }),
    );
  const teacher = net();
  const { weight } = teacher.at("2") as Linear;
  await evaluate(weight.assign(weight.add(normal([16, 16], { key: key(24), std: 0.5 }))));
  const inputs = normal([256, 16], { key: key(25) });
  const wanted = teacher.forward(inputs);
  await evaluate(wanted);
  const trained = async (model: Sequential, steps: number): Promise<Sequential> => {
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-2 });
    const step = valueAndGrad(model, () => mse(model.forward(inputs), wanted));
    for (let i = 0; i < steps; i++) await optimizer.step(step().grads);
    return model;
  };
  const tuned = new Map((await trained(net(), 150)).parameters());
  const model = net();
  const loss = (rows: number): Tensor =>
    model
      .forward(inputs.slice([[rows, rows + 8]]))
      .sub(wanted.slice([[rows, rows + 8]]))
      .square()
      .sum();
  const { layers } = await contributions(model, { tuned, batches: [0, 8, 16, 24], loss });
  const ranks = contributionRanks(layers, { budget: 0.5, quantile: 1 });
  expect(ranks["2"]).toBe(Math.max(...Object.values(ranks)));
  expect(ranks["2"]).toBeGreaterThan(Math.max(ranks["0"]!, ranks["4"]!));
  const adapted = async (of: Record<string, number>): Promise<number> => {
    const student = net();
    attach(student, lora, { rank: 1 }, { targets: ["0", "2", "4"], rankPattern: rankPattern(of) });
    return mse((await trained(student, 300)).forward(inputs), wanted).item();
  };
  const total = Object.values(ranks).reduce((a, b) => a + b);
  const even = { "0": Math.ceil(total / 3), "2": Math.ceil(total / 3), "4": Math.ceil(total / 3) };
  expect(await adapted(ranks)).toBeLessThan(await adapted(even));
});
