import { numericalRank } from "@lowrank/linalg";
import { Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { key, matmul, normal, setDefaultBackend, type Tensor, variance, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, convTarget, randomised, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { fedPara, type FedParaConfig, type FedParaParams, fedParaRank, fedParaShape } from "./fed-para.js";
import { loha } from "./loha.js";
import { lora } from "./lora.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** 2 R (in + out), with a core 2 R (channels + out + R k) */
function count(target: Target, config: FedParaConfig): number {
  const { R, width, kernel } = fedParaShape(config, target);
  const places = kernel?.reduce((a, b) => a * b) ?? 0;
  return 2 * R * (width + target.outFeatures + R * places);
}
for (const config of [
  { rank: 3 },
  { gamma: 0.5, personal: true },
  { rank: 2, tanh: true },
  { rank: 2, core: false },
]) {
  for (const check of contractChecks(fedPara, config, { count }))
    test(`${JSON.stringify(config)}: ${check.name}`, check.run);
}

const target = targetOf("linear", 40, 32);
const drawn = (R: number): FedParaParams => {
  const at = (rows: number, i: number): Tensor => normal([rows, R], { key: key(i), dtype: "f64" });
  return { X1: at(32, 1), Y1: at(40, 2), X2: at(32, 3), Y2: at(40, 4) };
};
const none = zeros([32, 40], { dtype: "f64" });
const rank = (W: Tensor): Promise<number> => numericalRank(W).item();

describe("fedPara", () => {
  test("reaches rank R² and no more, R (R + 1) when personal", async () => {
    for (const R of [2, 3, 5]) {
      expect(await rank(fedPara.merge(none, drawn(R), { rank: R }, target))).toBe(R * R);
      const personal = fedPara.merge(none, drawn(R), { rank: R, personal: true }, target);
      expect(await rank(personal)).toBe(R * (R + 1));
    }
    // From R² ≥ min(in, out) on the full rank.
    expect(await rank(fedPara.merge(none, drawn(6), { rank: 6 }, target))).toBe(32);
  });

  test("a personal part of zero is the layer of everybody", async () => {
    const params = drawn(3);
    const W = fedPara.merge(none, { ...params, Y2: params.Y2.mul(0) }, { rank: 3, personal: true }, target);
    close(await read(W), await read(matmul(params.X1, params.Y1.T)), 1e-12);
  });

  test("it is LoHa with transposed right factors", async () => {
    const { X1, Y1, X2, Y2 } = drawn(3);
    const other = loha.merge(none, { w1A: X1, w1B: Y1.T, w2A: X2, w2B: Y2.T }, { rank: 3 }, target);
    close(await read(fedPara.merge(none, drawn(3), { rank: 3 }, target)), await read(other), 1e-12);
  });

  test("of a convolution both unfoldings reach rank R² and no more", async () => {
    const [out, channels, kernel] = [20, 18, [3, 2]];
    const at = convTarget(channels, out, kernel);
    for (const R of [2, 3, 4]) {
      const drawing = (dims: number[], i: number): Tensor => normal(dims, { key: key(i), dtype: "f64" });
      const params: FedParaParams = {
        X1: drawing([out, R], 1),
        Y1: drawing([channels, R], 2),
        T1: drawing([R, R, ...kernel], 3),
        X2: drawing([out, R], 4),
        Y2: drawing([channels, R], 5),
        T2: drawing([R, R, ...kernel], 6),
      };
      const W = fedPara.merge(zeros([out, channels * 6], { dtype: "f64" }), params, { rank: R }, at);
      expect(await rank(W)).toBe(R * R);
      const other = W.reshape([out, channels, 6])
        .permute([1, 0, 2])
        .reshape([channels, out * 6]);
      expect(await rank(other)).toBe(R * R);
    }
  });

  test("a core of a kernel of 1 is the linear form with the core in X", async () => {
    const { X1, Y1, X2, Y2 } = drawn(3);
    const core = (i: number): Tensor => normal([3, 3, 1, 1], { key: key(i), dtype: "f64" });
    const [T1, T2] = [core(8), core(9)];
    const W = fedPara.merge(none, { X1, Y1, X2, Y2, T1, T2 }, {}, convTarget(40, 32, [1, 1]));
    const within = (X: Tensor, T: Tensor): Tensor => matmul(X, T.reshape([3, 3]));
    const linear = fedPara.merge(none, { X1: within(X1, T1), Y1, X2: within(X2, T2), Y2 }, {}, target);
    close(await read(W), await read(linear), 1e-12);
  });

  test("a trained layer has rank R² where a low-rank one of as many numbers has 2 R", async () => {
    const x = normal([64, 40], { key: key(11) });
    const y = matmul(x, normal([40, 32], { key: key(12), std: 0.2 }));
    const layer = new Linear(40, 32, { bias: false });
    const model = new Sequential(layer);
    const adapted = attach(model, fedPara, { rank: 5, init: "he" }, { targets: ["0"] });
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-2 });
    const step = valueAndGrad(model, () => mse(model.forward(x), y));
    const losses: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { value, grads } = step();
      await optimizer.step(grads, { also: [value] });
      losses.push(await value.item());
    }
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!);
    await adapted.merge();
    expect(await rank(adapted.places[0]!.stack.effective().weight)).toBe(25);

    const low = attach(new Sequential(new Linear(40, 32)), lora, { rank: 10 }, { targets: ["0"] });
    expect(low.report().layers).toEqual(adapted.report().layers); // 720 numbers each
    await randomised(low, 13);
    expect(await rank(low.places[0]!.stack.effective().weight)).toBe(10);
  });

  test("inner ranks and counts of a convolution of 256 to 256 channels and 3 by 3", () => {
    const square = convTarget(256, 256, [3, 3]);
    const at = (config: FedParaConfig): [number, number] => [
      fedParaShape(config, square).R,
      count(square, config),
    ];
    expect(at({})).toEqual([16, 20_992]);
    expect(at({ gamma: 0.1 })).toEqual([30, 46_920]);
    expect(at({ gamma: 0.5 })).toEqual([85, 217_090]);
    expect(at({ gamma: 1 })).toEqual([154, 584_584]);
    expect(count(square, { rank: 155 })).toBeGreaterThan(589_824);
    expect(count(square, { rank: 16, core: false })).toBe(2 * 16 * (2304 + 256)); // 81,920
  });

  test("inner ranks and counts of a 256 to 256 layer: 16 and 16,384, at gamma 1 64 and 65,536", () => {
    const square = targetOf("linear", 256, 256);
    expect([0, 0.5, 1].map((gamma) => fedParaRank(256, 256, gamma))).toEqual([16, 40, 64]);
    expect([0, 1].map((gamma) => count(square, { gamma }))).toEqual([16_384, 65_536]);
  });

  test("the largest rank has no more numbers than the weight, and the next one has", () => {
    for (const [i, o] of [
      [48, 64],
      [100, 300],
      [7, 90],
    ] as const) {
      const R = Math.max(fedParaRank(i, o, 1), 1);
      if (2 * R * (i + o) > i * o) continue; // too small for any
      expect(2 * (R + 1) * (i + o)).toBeGreaterThan(i * o);
    }
  });

  test("the he start composes a weight of variance 2 / in, personal or not", async () => {
    const square = targetOf("linear", 256, 256);
    for (const personal of [false, true]) {
      let sum = 0;
      for (let seed = 0; seed < 3; seed++) {
        const params = fedPara.init(square, { init: "he", personal }, key(seed), () => none) as FedParaParams;
        sum += await variance(fedPara.merge(zeros([256, 256]), params, { personal }, square)).item();
      }
      expect(sum / 3 / (2 / 256)).toBeGreaterThan(0.85);
      expect(sum / 3 / (2 / 256)).toBeLessThan(1.15);
    }
  });

  test("the he start of a convolution composes a weight of variance 2 / (channels · kernel)", async () => {
    const at = convTarget(96, 128, [3, 3]);
    const empty = zeros([128, 864]);
    for (const personal of [false, true]) {
      let sum = 0;
      for (let seed = 0; seed < 3; seed++) {
        const params = fedPara.init(at, { init: "he", personal }, key(seed), () => empty) as FedParaParams;
        sum += await variance(fedPara.merge(empty, params, { personal }, at)).item();
      }
      expect(sum / 3 / (2 / 864)).toBeGreaterThan(0.7);
      expect(sum / 3 / (2 / 864)).toBeLessThan(1.3);
    }
  });

  test("the mean of products is not the product of means", async () => {
    const a = drawn(2) as Required<Pick<FedParaParams, "X1" | "Y1" | "X2" | "Y2">>;
    const b = { X1: drawn(2).X2, Y1: drawn(2).Y2, X2: drawn(2).X1, Y2: drawn(2).Y1.neg() };
    const merge = (p: FedParaParams): Tensor => fedPara.merge(none, p, { rank: 2 }, target);
    const mean = Object.fromEntries(
      (Object.keys(a) as (keyof typeof a)[]).map((f) => [f, a[f].add(b[f]).mul(0.5)]),
    ) as unknown as FedParaParams;
    const apart = await read(merge(a).add(merge(b)).mul(0.5).sub(merge(mean)).abs().max());
    expect(apart[0]).toBeGreaterThan(1);
  });

  test.each([
    [{ rank: 0 }, /rank to be an integer of at least 1/],
    [{ gamma: 1.5 }, /gamma to be a finite number of at least 0/],
    [{ init: "fan_in" }, /init to be one of "identity", "he"/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(12, 6));
    expect(() => attach(model, fedPara, config as FedParaConfig, { targets: ["0"] })).toThrow(message);
  });
});
