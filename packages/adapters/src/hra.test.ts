import { Linear, Sequential, valueAndGrad } from "@lowrank/nn";
import { eye, flip, key, matmul, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { hra, type HraConfig } from "./hra.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** r in */
const count = ({ inFeatures }: Target, { rank }: HraConfig): number => rank * inFeatures;
for (const check of contractChecks(hra, { rank: 6 }, { count })) test(check.name, check.run);
for (const check of contractChecks(hra, { rank: 3, orthogonal: true }, { count })) {
  test(`strictly orthogonal: ${check.name}`, check.run);
}

const W = normal([6, 9], { key: key(1) });
const target = targetOf("linear", 9, 6);
const merged = (U: Tensor, config: Partial<HraConfig> = {}, weight = W): Tensor =>
  hra.merge(weight, { U }, { rank: U.shape[1]!, ...config }, target);
const unit = (U: Tensor): Tensor => U.div(U.square().sum(0).sqrt());

describe("hra", () => {
  test.each([1, 2, 4, 5, 7])(
    "the compact form of %i reflections is their product, in order",
    async (rank) => {
      const U = normal([9, rank], { key: key(2) });
      const V = unit(U);
      let H = eye(9);
      for (let i = 0; i < rank; i++) {
        const v = V.slice([null, [i, i + 1]]);
        H = matmul(H, eye(9).sub(matmul(v, v.T).mul(2)));
      }
      close(await read(merged(U, {}, eye(9))), await read(H), 1e-5);
      // In the other order it is the transpose.
      close(await read(merged(flip(U, [1]), {}, eye(9))), await read(H.T), 1e-5);
    },
  );

  test("H is orthogonal: the Gram matrix of the weight, its lengths and angles stay", async () => {
    for (const orthogonal of [false, true]) {
      const changed = merged(normal([9, 4], { key: key(3) }), { orthogonal });
      close(await read(matmul(changed, changed.T)), await read(matmul(W, W.T)), 1e-5);
    }
  });

  test("neither length nor sign of a vector counts", async () => {
    const U = normal([9, 4], { key: key(4) });
    close(await read(merged(U.mul(-3))), await read(merged(U)), 1e-5);
  });

  test("two reflections at an angle t turn by 2 t: the trace of H is in − 2 + 2 cos 2 t", async () => {
    const U = normal([9, 2], { key: key(5) });
    const gram = await read(matmul(unit(U).T, unit(U)));
    const trace = await merged(U, {}, eye(9)).mul(eye(9)).sum().item();
    expect(trace).toBeCloseTo(7 + 2 * Math.cos(2 * Math.acos(gram[1]!)), 4);
  });

  test("strictly orthogonal, H is its own inverse and has trace in − 2 r", async () => {
    const H = merged(normal([9, 3], { key: key(6) }), { orthogonal: true }, eye(9));
    close(await read(matmul(H, H)), await read(eye(9)), 1e-5);
    expect(await H.mul(eye(9)).sum().item()).toBeCloseTo(9 - 6, 4);
  });

  test("nearly equal vectors still give an orthogonal H", async () => {
    const first = normal([9, 1], { key: key(7) });
    const U = matmul(first, normal([1, 4], { key: key(8) })).add(normal([9, 4], { key: key(9), std: 1e-3 }));
    for (const orthogonal of [false, true]) {
      const H = merged(U, { orthogonal }, eye(9));
      close(await read(matmul(H, H.T)), await read(eye(9)), 1e-5);
    }
  });

  test("at the paired start the two gradients of a pair are opposite and not zero", async () => {
    const model = new Sequential(new Linear(9, 6, { key: key(10) }));
    attach(model, hra, { rank: 4 }, { targets: ["0"], key: key(11) });
    const { grads } = valueAndGrad(model, () => model.forward(W).square().sum())();
    const dU = await read([...grads][0]![1]);
    for (let i = 0; i < 9; i++) expect(dU[4 * i]! + dU[4 * i + 1]!).toBeCloseTo(0, 3);
    expect(Math.max(...dU.map(Math.abs))).toBeGreaterThan(0.1);
  });

  test("gradients are orthogonal to their vectors", async () => {
    const model = new Sequential(new Linear(9, 6, { key: key(10) }));
    const adapted = await randomised(attach(model, hra, { rank: 3, init: "random" }, { targets: ["0"] }), 12);
    const { grads } = valueAndGrad(model, () => model.forward(W).square().sum())();
    const U = [...adapted.parameters()][0]![1];
    close(await read([...grads][0]![1].mul(U).sum(0)), [0, 0, 0], 1e-4);
  });

  test("the term for the loss is λ ‖I − Vᵀ V‖²_F: 2 λ per pair at the start, and none where it must be zero", async () => {
    const U = normal([9, 3], { key: key(13) });
    const gram = matmul(unit(U).T, unit(U)).sub(eye(3)).square().sum();
    const term = (config: Partial<HraConfig>): Tensor | undefined =>
      hra.penalty!({ U }, { rank: 3, ...config }, target);
    expect(await term({ penalty: 0.5 })!.item()).toBeCloseTo(0.5 * (await gram.item()), 5);
    expect(await term({ penalty: 0.5, squaredPenalty: false })!.item()).toBeCloseTo(
      0.5 * Math.sqrt(await gram.item()),
      5,
    );
    expect(term({})).toBeUndefined();
    expect(term({ penalty: 1, orthogonal: true })).toBeUndefined();
    const model = new Sequential(new Linear(9, 6, { key: key(10) }));
    const adapted = attach(model, hra, { rank: 2, penalty: 3 }, { targets: ["0"] });
    expect(await adapted.penalty()!.item()).toBeCloseTo(6, 4);
  });

  test.each([
    [{ rank: 3 }, /init for rank 3 to be one of "random", got "paired"/],
    [{ rank: 2, orthogonal: true, init: "paired" }, /init for orthogonal vectors/],
    [{ rank: 10 }, /rank to be an integer from 1 to 9/],
    [{ rank: 2, penalty: -1 }, /penalty to be a finite number of at least 0/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(9, 6));
    expect(() => attach(model, hra, config as HraConfig, { targets: ["0"] })).toThrow(message);
  });
});
