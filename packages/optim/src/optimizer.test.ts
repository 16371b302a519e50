import {
  ConfigError,
  defaultBackend,
  evaluate,
  key,
  normal,
  type Parameter,
  parameter,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { AdamW } from "./adamw.js";
import { clipByGlobalNorm } from "./clip.js";
import { noDecay, type Optimizer } from "./optimizer.js";
import { constantSchedule, cosineSchedule, linearSchedule } from "./schedule.js";
import { SGD } from "./sgd.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const close = (a: readonly number[], b: readonly number[], digits = 6): void => {
  expect(a.length).toBe(b.length);
  for (const [i, x] of b.entries()) expect(a[i]).toBeCloseTo(x, digits);
};

const GRADIENTS = [
  [0.1, -2, 0],
  [0.3, 1, 1e-6],
  [-0.2, 0.5, 4],
];

async function run(optimizer: Optimizer, p: Parameter, gradients = GRADIENTS): Promise<number[]> {
  for (const g of gradients) await optimizer.step(new Map([["p", tensor(g)]]));
  return read(p);
}

describe("AdamW", () => {
  test("moves as the formula of the paper, computed by hand in float64", async () => {
    const start = [1, -2, 0.5];
    const p = parameter(tensor(start));
    const moved = await run(
      new AdamW([["p", p]], { lr: 0.01, betas: [0.8, 0.95], eps: 1e-6, weightDecay: 0.1 }),
      p,
    );
    const expected = start.map((x0, i) => {
      let [x, m, v] = [x0, 0, 0];
      for (const [t, g] of GRADIENTS.entries()) {
        m = 0.8 * m + 0.2 * g[i]!;
        v = 0.95 * v + 0.05 * g[i]! ** 2;
        const [mHat, vHat] = [m / (1 - 0.8 ** (t + 1)), v / (1 - 0.95 ** (t + 1))];
        x = x - 0.01 * 0.1 * x - (0.01 * mHat) / (Math.sqrt(vHat) + 1e-6);
      }
      return x;
    });
    close(moved, expected);
  });

  test("the first step has the size of the learning rate, whatever the gradient", async () => {
    const p = parameter(tensor([0, 0, 0]));
    await new AdamW([["p", p]], { lr: 0.01, weightDecay: 0 }).step(new Map([["p", tensor([5, -0.001, 70])]]));
    close(await read(p), [-0.01, 0.01, -0.01]);
  });

  test("goes on from a saved state bit for bit", async () => {
    const options = { lr: cosineSchedule({ peak: 0.1, warmup: 2, total: 6 }) };
    const gradients = Array.from({ length: 6 }, (_, i) => [Math.sin(i), Math.cos(i), i]);
    // The reference backend computes f32 without rounding it, so a copy in f32 would lose digits there.
    const dtype = (await defaultBackend()).name === "reference" ? "f64" : "f32";
    const copy = async (t: Tensor): Promise<Tensor> => tensor(await t.data(), { dtype });
    const whole = parameter(tensor([1, 2, 3], { dtype }));
    const straight = await run(new AdamW([["p", whole]], options), whole, gradients);

    const first = parameter(tensor([1, 2, 3], { dtype }));
    const before = new AdamW([["p", first]], options);
    await run(before, first, gradients.slice(0, 3));
    const { step, tensors } = before.state();
    expect([...tensors.keys()]).toEqual(["p.exp_avg", "p.exp_avg_sq"]);
    const saved = new Map<string, Tensor>();
    for (const [name, t] of tensors) saved.set(name, await copy(t));
    const second = parameter(await copy(first));
    const after = new AdamW([["p", second]], options);
    after.loadState({ step, tensors: saved });
    expect(await run(after, second, gradients.slice(3))).toEqual(straight);
  });

  test("groups take parameters out of the decay and scale the rate", async () => {
    const [w, b] = [parameter(tensor([[1]])), parameter(tensor([1]))];
    const optimizer = new AdamW(
      [
        ["w", w],
        ["b", b],
      ],
      {
        lr: 0.1,
        weightDecay: 0.5,
        groups: [{ match: noDecay, weightDecay: 0, lrScale: 2 }],
      },
    );
    await optimizer.step(
      new Map([
        ["w", tensor([[0]])],
        ["b", tensor([3])],
      ]),
    );
    close(await read(w), [0.95]);
    close(await read(b), [0.8]);
  });

  test("keeps state and arithmetic in f32 for parameters in 16 bits", async () => {
    const p = parameter(tensor([1, 1], { dtype: "bf16" }));
    const optimizer = new AdamW([["p", p]], { lr: 0.1, weightDecay: 0 });
    await optimizer.step(new Map([["p", tensor([1, -1], { dtype: "bf16" })]]));
    expect([...optimizer.state().tensors.values()].map((t) => t.dtype)).toEqual(["f32", "f32"]);
    close(await read(p), [0.9, 1.1], 2);
  });

  test("a gradient of an unknown path and a state that does not fit are refused", async () => {
    const optimizer = new AdamW([["p", parameter(tensor([1]))]], { lr: 0.1 });
    await expect(optimizer.step(new Map([["q", tensor([1])]]))).rejects.toThrow(/one for "q"/);
    expect(optimizer.stepCount).toBe(0);
    expect(() => optimizer.loadState({ step: 1, tensors: new Map([["p.exp_avg", tensor([1, 2])]]) })).toThrow(
      /1 missing \(p.exp_avg_sq\); 1 of another shape/,
    );
    expect(() => new AdamW([], { lr: 0.1 })).toThrow(ConfigError);
    expect(() => new AdamW([["p", parameter(tensor([1]))]], { lr: 0.1, betas: [1, 0.9] })).toThrow(/betas/);
  });

  test("computes the loss in the same plan, before the parameters move", async () => {
    const p = parameter(tensor([3]));
    const loss = p.square().sum();
    await new SGD([["p", p]], { lr: 0.1 }).step(new Map([["p", p.mul(2)]]), { also: [loss] });
    expect(await loss.item()).toBe(9);
    close(await read(p), [2.4]);
  });
});

describe("SGD", () => {
  test.each([
    [{ lr: 0.1 }, (g: number[]) => 1 - 0.1 * (g[0]! + g[1]! + g[2]!)],
    [{ lr: 0.1, momentum: 0.5 }, (g: number[]) => 1 - 0.1 * (1.75 * g[0]! + 1.5 * g[1]! + g[2]!)],
    [
      { lr: 0.1, momentum: 0.5, nesterov: true },
      (g: number[]) => 1 - 0.1 * (1.875 * g[0]! + 1.75 * g[1]! + 1.5 * g[2]!),
    ],
  ])("with %o sums its gradients as written out", async (options, expected) => {
    const p = parameter(tensor([1, 1, 1]));
    const moved = await run(new SGD([["p", p]], options), p);
    close(
      moved,
      [0, 1, 2].map((i) => expected(GRADIENTS.map((g) => g[i]!))),
    );
  });
});

describe("clipByGlobalNorm", () => {
  test("scales all gradients by one factor, and only when they are too long", async () => {
    const grads = new Map([
      ["a", tensor([3, 0])],
      ["b", tensor([[4]])],
    ]);
    const { grads: clipped, norm } = clipByGlobalNorm(grads, 1);
    await evaluate(norm, ...clipped.values());
    expect(await norm.item()).toBe(5);
    close(await read(clipped.get("a")!), [0.6, 0]);
    close(await read(clipped.get("b")!), [0.8]);
    expect(await read(clipByGlobalNorm(grads, 10).grads.get("b")!)).toEqual([4]);
  });
});

describe("schedules", () => {
  test("warm-up reaches the peak at its last update, then the curves fall to the end", () => {
    const linear = linearSchedule({ peak: 1, warmup: 4, total: 12, final: 0.2 });
    close([0, 1, 3, 4, 8, 12, 99].map(linear), [0.25, 0.5, 1, 1, 0.6, 0.2, 0.2], 12);
    const cosine = cosineSchedule({ peak: 1, total: 10 });
    expect(cosine(0)).toBe(1);
    expect(cosine(5)).toBeCloseTo(0.5);
    expect(cosine(10)).toBe(0);
    expect(constantSchedule(0.3)(7)).toBe(0.3);
    expect(() => linearSchedule({ peak: 1, warmup: 5, total: 4 })).toThrow(/warmup ≤ total/);
  });
});

test("training a line by AdamW finds it", async () => {
  const w = parameter(tensor([0, 0]));
  const x = normal([64, 2], { key: key(1) });
  const y = x.mul(tensor([2, -3])).sum(-1);
  const optimizer = new AdamW([["w", w]], { lr: 0.1, weightDecay: 0 });
  for (let i = 0; i < 150; i++) {
    const error = x.mul(w).sum(-1).sub(y);
    await optimizer.step(
      new Map([
        [
          "w",
          x
            .mul(error.reshape([64, 1]))
            .mean(0)
            .mul(2),
        ],
      ]),
    );
  }
  close(await read(w), [2, -3], 2);
});
