import { numericalRank } from "@lowrank/linalg";
import { key, matmul, normal, setDefaultBackend, type Tensor, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { loha, type LohaConfig, type LohaParams } from "./loha.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** 2 r (in + out) */
const count = ({ inFeatures, outFeatures }: Target, { rank }: LohaConfig): number =>
  2 * rank * (inFeatures + outFeatures);
for (const check of contractChecks(loha, { rank: 3, alpha: 2 }, { count })) test(check.name, check.run);

/** 2 r (channels + out + r kernel) */
const coreCount = ({ inFeatures, outFeatures, filter }: Target, { rank }: LohaConfig): number =>
  2 * rank * (filter!.channels + outFeatures + (rank * inFeatures) / filter!.channels);
for (const check of contractChecks(
  loha,
  { rank: 2, alpha: 3, core: true },
  { count: coreCount, kinds: ["conv1d", "conv2d"] },
))
  test(`a core: ${check.name}`, check.run);

const target = targetOf("linear", 24, 20);
const drawn = (rank: number): LohaParams => {
  const at = (dims: number[], i: number): Tensor => normal(dims, { key: key(i), dtype: "f64" });
  return { w1A: at([20, rank], 1), w1B: at([rank, 24], 2), w2A: at([20, rank], 3), w2B: at([rank, 24], 4) };
};
const update = (params: LohaParams, rank: number, alpha = rank): Tensor =>
  loha.merge(zeros([20, 24], { dtype: "f64" }), params, { rank, alpha }, target);

describe("loha", () => {
  test("the update reaches rank r² and no more", async () => {
    for (const rank of [1, 2, 3, 4]) {
      expect(await numericalRank(update(drawn(rank), rank)).item()).toBe(rank * rank);
    }
  });

  test("it is KX KYᵀ with KX and KY the products of rows by Kronecker", async () => {
    const { w1A, w1B, w2A, w2B } = drawn(2);
    const rows = (a: Tensor, b: Tensor): Tensor =>
      a
        .reshape([-1, 2, 1])
        .mul(b.reshape([-1, 1, 2]))
        .reshape([-1, 4]);
    close(await read(update(drawn(2), 2)), await read(matmul(rows(w1A, w2A), rows(w1B.T, w2B.T).T)), 1e-12);
  });

  test("c A₁ with B₁ / c, and −A₁ with −A₂, are the same update", async () => {
    const params = drawn(2);
    const { w1A, w1B, w2A } = params;
    const want = await read(update(params, 2));
    close(await read(update({ ...params, w1A: w1A.mul(3), w1B: w1B.div(3) }, 2)), want, 1e-12);
    close(await read(update({ ...params, w1A: w1A.neg(), w2A: w2A.neg() }, 2)), want, 0);
  });

  test("a 768 to 3072 layer at rank 8 trains 61,440 numbers", () => {
    expect(count(targetOf("linear", 768, 3072), { rank: 8 })).toBe(61_440);
  });
});
