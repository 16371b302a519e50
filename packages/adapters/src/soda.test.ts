import { kron, qr, singularValues, svd } from "@lowrank/linalg";
import { Linear, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW, StiefelAdam } from "@lowrank/optim";
import { det, inverse } from "@lowrank/linalg";
import { eye, key, matmul, normal, type Parameter, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { kroneckerShape, soda, type SodaConfig, type SodaParams, timesKronecker } from "./soda.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** Σ nⱼ² + k */
const count = (
  { inFeatures, outFeatures }: Target,
  { shape = kroneckerShape(inFeatures) }: SodaConfig,
): number => shape.reduce((sum, n) => sum + n * n, Math.min(inFeatures, outFeatures));
for (const config of [{}, { form: "lq" }, { shape: [4, 6] }] as SodaConfig[]) {
  for (const check of contractChecks(soda, config, { count }))
    test(`${JSON.stringify(config)}: ${check.name}`, check.run);
}

const W = normal([6, 12], { key: key(1) });
const target = targetOf("linear", 12, 6);
const start = (config: SodaConfig = {}): SodaParams =>
  soda.init(target, config, key(2), () => W) as SodaParams;
const rotation = (n: number, seed: number): Tensor => qr(normal([n, n], { key: key(seed) })).q;
const turned = { Q1: rotation(2, 3), Q2: rotation(2, 4), Q3: rotation(3, 5) };

describe("soda", () => {
  test("a Kronecker product is applied factor by factor", async () => {
    const { Q1, Q2, Q3 } = turned;
    close(await read(timesKronecker(W, [Q1, Q2, Q3])), await read(matmul(W, kron(kron(Q1, Q2), Q3))), 1e-5);
  });

  test("widths are split so that the squares of their factors have the least sum", () => {
    expect([640, 768, 12, 7].map(kroneckerShape)).toEqual([[8, 8, 10], [8, 8, 12], [2, 2, 3], [7]]);
    expect(count(targetOf("linear", 1280, 1280), { shape: [4, 16, 20] })).toBe(1952);
  });

  test("without a shift rotations keep the singular values and the Gram matrix of the rows", async () => {
    const changed = soda.merge(W, { ...start(), ...turned }, {}, target);
    close(await read(singularValues(changed)), await read(singularValues(W)), 1e-5);
    close(await read(matmul(changed, changed.T)), await read(matmul(W, W.T)), 1e-5);
  });

  test("without rotations the singular values are relu(S + δ)", async () => {
    const params = start();
    const delta = normal([6], { key: key(6), std: 2 });
    const values = await read(params.S!.add(delta));
    const changed = soda.merge(W, { ...params, delta }, {}, target);
    const want = values.map((v) => Math.max(v, 0)).sort((a, b) => b - a);
    close(await read(singularValues(changed)), want, 1e-5);
  });

  test("lq: the shift stands on the diagonal of a triangular factor", async () => {
    const delta = normal([6], { key: key(7) });
    const params = start({ form: "lq" });
    const L = matmul(soda.merge(W, { ...params, delta }, { form: "lq" }, target), params.Vt.T);
    const before = await read(matmul(W, params.Vt.T));
    const [after, shift] = [await read(L), await read(delta)];
    for (let i = 0; i < 6; i++)
      for (let j = 0; j < 6; j++) {
        expect(after[6 * i + j]).toBeCloseTo(before[6 * i + j]! + (i === j ? shift[i]! : 0), 4);
        if (j > i) expect(after[6 * i + j]).toBeCloseTo(0, 4);
      }
  });

  test("signs of two factors cancel", async () => {
    const params = { ...start(), ...turned };
    const flipped = { ...params, Q1: turned.Q1.neg(), Q3: turned.Q3.neg() };
    close(
      await read(soda.merge(W, flipped, {}, target)),
      await read(soda.merge(W, params, {}, target)),
      1e-6,
    );
  });

  test("with StiefelAdam it finds a rotated basis and a shifted spectrum, and the factors stay rotations", async () => {
    const layer = new Linear(6, 4, { key: key(8), bias: false });
    const model = new Sequential(layer);
    const { u, s, vt } = svd(layer.weight);
    const skew = normal([6, 6], { key: key(9), std: 0.2 });
    const near = (n: number): Tensor => {
      const K = skew.slice([
        [0, n],
        [0, n],
      ]);
      const S = K.sub(K.T);
      return matmul(eye(n).sub(S), inverse(eye(n).add(S)));
    };
    const goal = matmul(matmul(u.mul(s.mul(1.2)), vt), kron(near(2), near(3)));
    const x = normal([64, 6], { key: key(10) });
    const y = matmul(x, goal.T);
    const adapted = attach(model, soda, {}, { targets: ["0"] });
    const all = [...model.trainableParameters()];
    const isFactor = ([path]: readonly [string, Parameter]): boolean => path.includes("soda_Q");
    const lr = (step: number): number => 0.03 * (1 - step / 400);
    const rotations = new StiefelAdam(all.filter(isFactor), { lr });
    const shifts = new AdamW(
      all.filter((p) => !isFactor(p)),
      { lr, weightDecay: 0 },
    );
    const step = valueAndGrad(model, () => model.forward(x).sub(y).square().mean());
    const losses: number[] = [];
    for (let i = 0; i < 400; i++) {
      const { value, grads } = step();
      const [ours, others] = [true, false].map(
        (which) => new Map([...grads].filter(([path]) => path.includes("soda_Q") === which)),
      );
      await rotations.step(ours!, { also: [value, ...others!.values()] });
      await shifts.step(others!);
      losses.push(await value.item());
    }
    expect(losses.at(-1)!).toBeLessThan(1e-4 * losses[0]!);
    for (const [path, p] of adapted.parameters()) {
      if (!path.includes("soda_Q")) continue;
      close(await read(matmul(p.T, p)), await read(eye(p.shape[0]!)), 1e-5);
      expect(await det(p).item()).toBeCloseTo(1, 4);
    }
  });

  test.each([
    [{ shape: [2, 2] }, /the product of shape .* to be one of 12, got 4/],
    [{ shape: [1, 1, 1, 12] }, /number of factors in shape to be one of 1, 2, 3/],
    [{ form: "qr" }, /form to be one of "svd", "lq"/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(12, 6));
    expect(() => attach(model, soda, config as SodaConfig, { targets: ["0"] })).toThrow(message);
  });
});
