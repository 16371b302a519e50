import { det } from "@lowrank/linalg";
import { Linear, Sequential, withContext } from "@lowrank/nn";
import { eye, key, matmul, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { cayley, cayleySeries, skewFromTriangle } from "./block-rotations.js";
import { boft, type BoftConfig, butterflyOrder } from "./boft.js";
import { oft, type OftConfig } from "./oft.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** (in / b) b (b − 1) / 2, of an embedding (out / b) b (b − 1) / 2 */
const oftCount = ({ kind, inFeatures, outFeatures }: Target, { blockSize = 32 }: OftConfig): number =>
  ((kind === "embedding" ? outFeatures : inFeatures) * (blockSize - 1)) / 2;
for (const [name, config] of [
  ["series", { blockSize: 4 }],
  ["exact", { blockSize: 8, cayley: "exact" }],
] as const) {
  for (const check of contractChecks(oft, config as OftConfig, { count: oftCount }))
    test(`${name}: ${check.name}`, check.run);
}
const sharedCount = ({ kind }: Target): number => (kind === "embedding" ? (4 * 3) / 2 : (6 * 5) / 2);
for (const check of contractChecks(oft, { blocks: 4, shared: true }, { count: sharedCount }))
  test(`shared: ${check.name}`, check.run);

/** m in b + out */
const boftCount = ({ inFeatures, outFeatures }: Target, { blockSize = 4, factors = 1 }: BoftConfig): number =>
  factors * inFeatures * blockSize + outFeatures;
for (const config of [{ blockSize: 4 }, { blockSize: 4, factors: 2 }]) {
  for (const check of contractChecks(boft, config, { count: boftCount }))
    test(`${config.factors ?? 1} factors: ${check.name}`, check.run);
}

const W = normal([6, 16], { key: key(1) });
const target = targetOf("linear", 16, 6);
const gram = (M: Tensor): Tensor => matmul(M, M.T);

describe("rotations by blocks", () => {
  const Q = skewFromTriangle(normal([2, 6], { key: key(2), std: 0.4 }), 4);

  test("a triangle fills a skew-symmetric matrix row by row", async () => {
    const S = skewFromTriangle(normal([1, 6], { key: key(3) }), 4);
    const [t, s] = [await read(normal([1, 6], { key: key(3) })), await read(S)];
    expect([s[1], s[2], s[3], s[6], s[7], s[11]]).toEqual(t);
    close(await read(S.add(S.T)), new Array<number>(16).fill(0), 0);
  });

  test("Cayley's map gives rotations of determinant 1", async () => {
    const R = cayley(Q);
    close(await read(matmul(R, R.T)), [...(await read(eye(4))), ...(await read(eye(4)))], 1e-5);
    close(await read(det(R)), [1, 1], 1e-5);
  });

  test("the series times its transpose is (I − Q⁴)², and it tends to the transposed map", async () => {
    const R = cayleySeries(Q, 5);
    const fourth = matmul(matmul(Q, Q), matmul(Q, Q));
    const one = eye(4).add(Q.mul(0));
    close(await read(matmul(R, R.T)), await read(matmul(one.sub(fourth), one.sub(fourth))), 1e-5);
    const small = Q.mul(0.05);
    close(await read(cayleySeries(small, 8)), await read(cayley(small).T), 1e-6);
  });
});

describe("oft", () => {
  test("exact rotations keep the Gram matrix of the weight", async () => {
    const params = { R: normal([4, 6], { key: key(4) }) };
    const changed = oft.merge(W, params, { blockSize: 4, cayley: "exact" }, target);
    close(await read(gram(changed)), await read(gram(W)), 1e-5);
  });

  test("a 768 to 3072 layer with blocks of 32 trains 11,904 numbers", () => {
    const model = new Sequential(new Linear(768, 3072));
    expect(attach(model, oft, {}, { targets: ["0"] }).report().trainable).toBe(11_904);
  });

  test("blocks that are left out while training are the identity", async () => {
    const model = new Sequential(new Linear(16, 6, { key: key(5) }));
    const adapted = await randomised(
      attach(model, oft, { blockSize: 4, dropout: 0.5 }, { targets: ["0"] }),
      6,
      0.3,
    );
    const x = eye(16); // a row of the result per input
    const trained = await read(withContext({ key: key(7) }, () => model.forward(x)));
    const whole = await read((model.eval() as Sequential).forward(x));
    const bare = await read((adapted.disable().model as Sequential).forward(x));
    const same = (a: number[], b: number[], block: number): boolean =>
      a.slice(block * 24, block * 24 + 24).every((y, i) => Math.abs(y - b[block * 24 + i]!) < 1e-5);
    const kinds = [0, 1, 2, 3].map((block) =>
      same(trained, bare, block) ? "out" : same(trained, whole, block) ? "in" : "?",
    );
    expect([...new Set(kinds)].sort()).toEqual(["in", "out"]);
  });

  test.each([
    [{}, /blockSize to be an integer from 1 to 16/],
    [{ blockSize: 5 }, /16 modulo blockSize 5.* to be one of 0, got 1/],
    [{ blockSize: 4, blocks: 4 }, /blocks beside blockSize/],
    [{ blockSize: 4, cayley: "taylor" }, /cayley to be one of "series", "exact"/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(16, 6));
    expect(() => attach(model, oft, config as OftConfig, { targets: ["0"] })).toThrow(message);
  });
});

describe("boft", () => {
  test("with s = 1 butterflies keep the Gram matrix of the weight", async () => {
    const params = {
      R: normal([2, 4, 4, 4], { key: key(8) }),
      s: normal([6, 1], { key: key(9) })
        .mul(0)
        .add(1),
    };
    const changed = boft.merge(W, params, { blockSize: 4, factors: 2 }, target);
    close(await read(gram(changed)), await read(gram(W)), 1e-5);
  });

  test("two factors mix twice the inputs of one", async () => {
    const params = {
      R: normal([2, 4, 4, 4], { key: key(8) }),
      s: normal([16, 1], { key: key(9) })
        .mul(0)
        .add(1),
    };
    const reach = async (factors: number): Promise<number> => {
      const R = params.R.slice([[0, factors]]);
      const M = await read(boft.merge(eye(16), { ...params, R }, { blockSize: 4, factors }, target));
      return M.slice(0, 16).filter((x) => Math.abs(x) > 1e-7).length;
    };
    expect([await reach(1), await reach(2)]).toEqual([4, 8]);
  });

  test("an order brings even runs of its groups before odd ones", () => {
    expect([...butterflyOrder(8, 4, 1)]).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
    expect([...butterflyOrder(8, 8, 2)]).toEqual([0, 1, 4, 5, 2, 3, 6, 7]);
  });

  test.each([
    [{ blockSize: 5 }, /16 modulo 5/],
    [{ blockSize: 4, factors: 4 }, /16 modulo 32/],
    [{ blockSize: 1, factors: 2 }, /block size 1 modulo 2/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(16, 6));
    expect(() => attach(model, boft, config, { targets: ["0"] })).toThrow(message);
  });
});
