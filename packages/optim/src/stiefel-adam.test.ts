import { polar, det, qr } from "@lowrank/linalg";
import { evaluate, eye, key, matmul, normal, parameter, type Tensor } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { nearestOrthogonal, StiefelAdam } from "./stiefel-adam.js";

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const distance = async (a: Tensor, b: Tensor): Promise<number> => Math.max(...(await read(a.sub(b).abs())));

describe("StiefelAdam", () => {
  test("the retraction is the polar factor", async () => {
    const skew = normal([7, 7], { key: key(1), dtype: "f64" });
    const X = eye(7, undefined, { dtype: "f64" }).add(skew.sub(skew.T).mul(0.6));
    expect(await distance(nearestOrthogonal(X), polar(X).u)).toBeLessThan(1e-9);
  });

  test("it finds a rotation, and every step is one", async () => {
    const { q } = qr(normal([6, 6], { key: key(2), dtype: "f64" }));
    const sign = await det(q).item();
    const target = matmul(q, eye(6, undefined, { dtype: "f64" }).mul(1));
    // A rotation near enough for a descent: the Cayley image of a small skew-symmetric part.
    const S = target.sub(target.T).mul(0.1 * Math.sign(sign));
    const goal = nearestOrthogonal(eye(6, undefined, { dtype: "f64" }).add(S));
    const X = parameter(eye(6, undefined, { dtype: "f64" }));
    await evaluate(goal, X);
    const optimizer = new StiefelAdam([["X", X]], { lr: (step) => 0.02 * (1 - step / 400) });
    for (let i = 0; i < 400; i++) await optimizer.step(new Map([["X", X.sub(goal).mul(2)]]));
    expect(await distance(X, goal)).toBeLessThan(1e-3);
    expect(await distance(matmul(X.T, X), eye(6, undefined, { dtype: "f64" }))).toBeLessThan(1e-9);
    expect(await det(X).item()).toBeCloseTo(1, 9);
  });

  test("refuses what is not square", () => {
    const parameters = [["v", parameter(normal([3], { key: key(1) }))]] as const;
    expect(() => new StiefelAdam(parameters, { lr: 1 })).toThrow(/square matrices, got v of shape \[3\]/);
  });
});
