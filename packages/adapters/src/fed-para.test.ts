import { numericalRank } from "@lowrank/linalg";
import { Linear, Sequential } from "@lowrank/nn";
import { key, matmul, normal, setDefaultBackend, type Tensor, variance, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { fedPara, type FedParaConfig, type FedParaParams, fedParaRank } from "./fed-para.js";
import { loha } from "./loha.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** 2 R (in + out) */
const count = ({ inFeatures, outFeatures }: Target, { rank, gamma = 0 }: FedParaConfig): number =>
  2 * (rank ?? fedParaRank(inFeatures, outFeatures, gamma)) * (inFeatures + outFeatures);
for (const config of [{ rank: 3 }, { gamma: 0.5, personal: true }, { rank: 2, tanh: true }]) {
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

  test("the mean of products is not the product of means", async () => {
    const [a, b] = [drawn(2), { X1: drawn(2).X2, Y1: drawn(2).Y2, X2: drawn(2).X1, Y2: drawn(2).Y1.neg() }];
    const merge = (p: FedParaParams): Tensor => fedPara.merge(none, p, { rank: 2 }, target);
    const mean = Object.fromEntries(
      (Object.keys(a) as (keyof FedParaParams)[]).map((f) => [f, a[f].add(b[f]).mul(0.5)]),
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
