import { singularValues, svd } from "@lowrank/linalg";
import { eye, key, matmul, normal, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { dora } from "./dora.js";
import { edora, type EdoraConfig, type EdoraParams } from "./edora.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** r² + out */
const count = ({ outFeatures }: Target, { rank }: EdoraConfig): number => rank * rank + outFeatures;
for (const check of contractChecks(edora, { rank: 3, alpha: 6, normGradient: "exact" }, { count }))
  test(check.name, check.run);

const W = normal([6, 9], { key: key(1) });
const target = targetOf("linear", 9, 6);
const config = { rank: 3, alpha: 6 };
const start = (): EdoraParams => edora.init(target, config, key(2), () => W) as EdoraParams;
/** A merged weight whose neurons keep the lengths of V, which is V. */
function direction(R: Tensor): Tensor {
  const { A, B } = start();
  const V = W.add(matmul(B, matmul(R, A)).mul(2));
  return edora.merge(W, { A, B, R, m: V.square().sum(-1).sqrt() }, config, target);
}

describe("edora", () => {
  test("B has orthonormal columns, A Aᵀ holds the squared singular values, B A is the best of its rank", async () => {
    const { A, B } = start();
    const { u, s, vt } = svd(W);
    close(await read(matmul(B.T, B)), await read(eye(3)), 1e-5);
    const values = (await read(s)).slice(0, 3);
    close(
      await read(matmul(A, A.T)),
      [values[0]! ** 2, 0, 0, 0, values[1]! ** 2, 0, 0, 0, values[2]! ** 2],
      1e-5,
    );
    const best = matmul(u.slice([null, [0, 3]]).mul(s.slice([[0, 3]])), vt.slice([[0, 3]]));
    close(await read(matmul(B, A)), await read(best), 1e-5);
  });

  test("R = −I / s takes the leading part away, and R = c I scales it by 1 + s c", async () => {
    const values = await read(singularValues(W));
    const without = await read(singularValues(direction(eye(3).mul(-0.5))));
    close(without, [...values.slice(3), 0, 0, 0], 1e-5);
    const scaled = await read(singularValues(direction(eye(3).mul(0.25))));
    close(scaled, [...values.slice(0, 3).map((v) => 1.5 * v), ...values.slice(3)], 1e-5);
  });

  test("signs of the singular vectors do not count", async () => {
    const { A, B, m } = start();
    const R = normal([3, 3], { key: key(3) });
    const D = eye(3).mul(tensor([1, -1, -1], { shape: [3, 1] }));
    const flipped = { A: matmul(D, A), B: matmul(B, D), R: matmul(matmul(D, R), D), m };
    close(
      await read(edora.merge(W, flipped, config, target)),
      await read(edora.merge(W, { A, B, R, m }, config, target)),
      1e-5,
    );
  });

  test("it is the DoRA with down projection R A", async () => {
    const { A, B, m } = start();
    const R = normal([3, 3], { key: key(3) });
    close(
      await read(edora.merge(W, { A, B, R, m }, config, target)),
      await read(dora.merge(W, { A: matmul(R, A), B, m }, config, target)),
      1e-6,
    );
  });

  test("every neuron of the merged weight has length |m|", async () => {
    const m = normal([6], { key: key(5) });
    const changed = edora.merge(W, { ...start(), R: normal([3, 3], { key: key(3) }), m }, config, target);
    close(await read(changed.square().sum(-1).sqrt()), await read(m.abs()), 1e-5);
  });

  test("a 768 to 768 layer at rank 16 trains 1,024 numbers", () => {
    expect(count(targetOf("linear", 768, 768), { rank: 16 })).toBe(1024);
  });
});
