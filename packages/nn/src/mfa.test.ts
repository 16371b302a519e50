import { numericalRank } from "@lowrank/linalg";
import {
  arange,
  evaluate,
  gradients,
  inverseFrequencies,
  key,
  normal,
  rope,
  setDefaultBackend,
  type Tensor,
  attention,
} from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Attention } from "./attention.js";
import { KVCache } from "./kv-cache.js";
import { MFA } from "./mfa.js";
import { MFAKR } from "./mfa-kr.js";
import { ropePlaces } from "./rope-places.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const [H, C, M] = [16, 6, 4];
const x = (): Tensor => normal([2, 5, H], { key: key(2) });
const inputs = () => ({
  positions: arange(0, 5, 1, { dtype: "i32" }).reshape([1, 5]),
  inverseFrequencies: inverseFrequencies(C),
});
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

async function expectEqual(got: Tensor, want: Tensor): Promise<void> {
  const [a, b] = [await read(got), await read(want)];
  expect(a.length).toBe(b.length);
  for (const [i, y] of b.entries()) expect(a[i]).toBeCloseTo(y, 5);
}

const opened = (): MFAKR => {
  const layer = new MFAKR({ width: H, heads: M, headDim: C, key: key(1) });
  layer.kr_alpha!.replace(normal([C], { key: key(9) }));
  return layer;
};

test("MFA is multi-query attention whose query projection is the product of its factors", async () => {
  const mfa = new MFA({ width: H, heads: M, headDim: C, queryDim: 9, key: key(1) });
  const mqa = new Attention({ width: H, heads: M, kvHeads: 1, headDim: C });
  mqa.loadState(
    new Map<string, Tensor>([
      ["q_proj.weight", mfa.wq.weight.matmul(mfa.q_proj.weight)],
      ["k_proj.weight", mfa.k_proj.weight],
      ["v_proj.weight", mfa.v_proj.weight],
      ["o_proj.weight", mfa.o_proj.weight],
    ]),
  );
  await expectEqual(mfa.forward(x(), inputs()), mqa.forward(x(), inputs()));
});

test.each([
  [3, 6],
  [6, 3],
  [5, 5],
])(
  "with latent queries of %d and heads of %d, the rank of a head's circuit of query and key is the smaller",
  async (queryDim, headDim) => {
    const mfa = new MFA({ width: H, heads: M, headDim, queryDim, key: key(1) });
    for (let c = 0; c < M; c++) {
      const Q = mfa.wq.weight.slice([[c * headDim, (c + 1) * headDim]]); // [C, Cq]
      const circuit = mfa.q_proj.weight.T.matmul(Q.T).matmul(mfa.k_proj.weight); // [H, H]
      expect(await numericalRank(circuit).item()).toBe(Math.min(queryDim, headDim));
    }
  },
);

test("the cache of MFA and MFA-KR does not grow with the heads, and MFA-KR's is half as large", () => {
  for (const heads of [1, 4, 32]) {
    expect(new MFA({ width: H, heads, headDim: C }).cacheBytesPerToken()).toBe(2 * C * 4);
    expect(new MFAKR({ width: H, heads, headDim: C }).cacheBytesPerToken("f16")).toBe(C * 2);
  }
});

test("each further head of MFA costs C (C + H) parameters", () => {
  const count = (heads: number) => new MFA({ width: H, heads, headDim: C }).countParameters().total;
  expect(count(7) - count(6)).toBe(C * (C + H));
});

test("bytes of a position are those of the paper's models in 16 bits", () => {
  // 24 layers of width 2,048: MHA with 16 heads, MFA and MFA-KR with C = 256.
  const [width, heads, headDim] = [2048, 16, 256];
  const bytes = [
    new Attention({ width, heads }),
    new MFA({ width, heads: 1, headDim }),
    new MFAKR({ width, heads: 1, headDim }),
  ].map((layer) => 24 * layer.cacheBytesPerToken("f16"));
  expect(bytes).toEqual([196_608, 24_576, 12_288]);
});

test("MFA-KR starts as MFA whose value is its key before that turns", async () => {
  const kr = new MFAKR({ width: H, heads: M, headDim: C, key: key(1) });
  const mfa = new MFA({ width: H, heads: M, headDim: C });
  mfa.loadState(
    new Map<string, Tensor>([
      ...["q_proj", "wq", "k_proj", "o_proj"].map(
        (n) => [`${n}.weight`, kr.state().get(`${n}.weight`)!] as const,
      ),
      ["v_proj.weight", kr.k_proj.weight],
    ]),
  );
  await expectEqual(kr.forward(x(), inputs()), mfa.forward(x(), inputs()));
});

test("MFA-KR is MFA with S_v = (I + diag(α) N) S_k: values made of each key, of the sum, and folded into O agree", async () => {
  const kr = opened();
  const want = kr.forward(x(), inputs());
  const made = kr.k_proj.weight.add(
    kr.kr_alpha!.reshape([C, 1]).mul(kr.kr_n!.weight.matmul(kr.k_proj.weight)),
  );
  const mfa = new MFA({ width: H, heads: M, headDim: C });
  mfa.loadState(
    new Map<string, Tensor>([
      ...["q_proj", "wq", "k_proj", "o_proj"].map(
        (n) => [`${n}.weight`, kr.state().get(`${n}.weight`)!] as const,
      ),
      ["v_proj.weight", made],
    ]),
  );
  await expectEqual(mfa.forward(x(), inputs()), want);
  const before = await read(want);
  await kr.fold();
  expect([...kr.state().keys()]).toEqual(["q_proj.weight", "wq.weight", "k_proj.weight", "o_proj.weight"]);
  const after = await read(kr.forward(x(), inputs()));
  for (const [i, y] of before.entries()) expect(after[i]).toBeCloseTo(y, 5);
});

test("summing turned keys would be another model", async () => {
  const kr = opened();
  const { positions, inverseFrequencies: f } = inputs();
  const q = kr.wq.forward(kr.q_proj.forward(x())).reshape([2, 5, M, C]);
  const k = rope(kr.k_proj.forward(x()).reshape([2, 5, 1, C]), positions, f);
  const u = attention(rope(q, positions, f), k, k, { causal: true });
  const o = u.add(kr.kr_n!.forward(u).mul(kr.kr_alpha!));
  const [a, b] = [
    await read(kr.o_proj.forward(o.reshape([2, 5, M * C]))),
    await read(kr.forward(x(), inputs())),
  ];
  expect(Math.max(...a.map((y, i) => Math.abs(y - b[i]!)))).toBeGreaterThan(1e-2);
});

test("while the gate is shut its own gradient is not zero and that of N is; once open, both move", async () => {
  const kr = new MFAKR({ width: H, heads: M, headDim: C, key: key(1) });
  const largest = async (): Promise<number[]> => {
    const grads = gradients(kr.forward(x(), inputs()).square().sum(), [kr.kr_alpha!, kr.kr_n!.weight]);
    await evaluate(...grads);
    return Promise.all(grads.map(async (g) => Math.max(...(await read(g)).map(Math.abs))));
  };
  const [alpha, n] = await largest();
  expect(alpha).toBeGreaterThan(1e-3);
  expect(n).toBe(0);
  kr.kr_alpha!.replace(normal([C], { key: key(9), std: 1e-2 }));
  for (const g of await largest()) expect(g).toBeGreaterThan(1e-6);
});

test("with a cache MFA-KR goes by places: positions shifted as a whole are the same text", async () => {
  const kr = opened();
  const whole = await read(kr.forward(x(), inputs()));
  const cache = new KVCache({ layers: 1, batch: 2, capacity: 8, ...kr.cacheShape });
  const y = kr.forward(x(), { ...inputs(), positions: inputs().positions.add(40), cache });
  await evaluate(y, ...cache.pending());
  for (const [i, got] of (await read(y)).entries()) expect(got).toBeCloseTo(whole[i]!, 5);
});

test("a cache of any length turns as rope at its places", async () => {
  for (const [length, dtype] of [
    [192, "f32"],
    [100, "f32"],
    [128, "f64"],
  ] as const) {
    const keys = normal([2, length, 1, C], { key: key(2), dtype });
    const at = arange(0, length, 1, { dtype: "i32" }).reshape([1, length]);
    const [got, want] = [ropePlaces(keys, inverseFrequencies(C)), rope(keys, at, inverseFrequencies(C))];
    expect(got.dtype).toBe(dtype);
    const [a, b] = [await read(got), await read(want)];
    // An angle below 192 is rounded to 8e-6 in f32, in both ways.
    for (const [i, y] of b.entries()) expect(Math.abs(a[i]! - y)).toBeLessThan(1e-4);
  }
});

test("token by token behind a long text MFA-KR is what it is at once", async () => {
  const kr = opened();
  const long = normal([1, 130, H], { key: key(5) });
  const at = (from: number, count: number) => ({
    positions: arange(from, from + count, 1, { dtype: "i32" }).reshape([1, count]),
    inverseFrequencies: inverseFrequencies(C),
  });
  const whole = await read(kr.forward(long, at(0, 130)));
  const cache = new KVCache({ layers: 1, capacity: 192, ...kr.cacheShape });
  for (const [from, count] of [
    [0, 128],
    [128, 1],
    [129, 1],
  ] as const) {
    const y = kr.forward(long.slice([null, [from, from + count]]), { ...at(from, count), cache });
    await evaluate(y, ...cache.pending());
    cache.advance(count);
    for (const [i, got] of (await read(y)).entries()) expect(got).toBeCloseTo(whole[from * H + i]!, 4);
  }
});

test("a layer with frequencies of its own turns with them, over a cache too", async () => {
  const own = inverseFrequencies(C, { theta: 7 });
  for (const make of [MFA, MFAKR]) {
    const sizes = { width: H, heads: M, headDim: C, key: key(1) };
    const [plain, layer] = [new make(sizes), new make({ ...sizes, inverseFrequencies: own })];
    const want = plain.forward(x(), { ...inputs(), inverseFrequencies: own });
    await expectEqual(layer.forward(x(), inputs()), want);
    const cache = new KVCache({ layers: 1, batch: 2, capacity: 64, ...layer.cacheShape });
    const y = layer.forward(x(), { ...inputs(), cache });
    await evaluate(y, ...cache.pending());
    await expectEqual(y, want);
    expect([...layer.state().keys()]).toEqual([...plain.state().keys()]);
  }
});

test("MFA-KR is folded only where that is exact", async () => {
  const kr = opened();
  kr.o_proj._overlay = { forward: (t, layer) => layer.withWeight(t, layer.weight), parameters: () => [] };
  await expect(kr.fold()).rejects.toThrow(/MFAKR.fold: expected .* without adapters, got an adapter/);
});
