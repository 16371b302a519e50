import {
  arange,
  concat,
  evaluate,
  gradients,
  gt,
  inverseFrequencies,
  key,
  normal,
  type Parameter,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Attention } from "./attention.js";
import type { AttentionInputs, AttentionLayer } from "./attention-layer.js";
import { KVCache } from "./kv-cache.js";
import { MFA, type MFAOptions } from "./mfa.js";
import { MFAKR } from "./mfa-kr.js";
import { MLA } from "./mla.js";
import { RowCaches } from "./row-caches.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const H = 16;
type DTyped = Pick<MFAOptions, "dtype">;

/** MFA-KR with a gate that is open, as after some steps. */
function opened({ dtype = "f32" }: DTyped = {}): MFAKR {
  const layer = new MFAKR({ width: H, heads: 3, headDim: 6, key: key(1), dtype });
  layer.kr_alpha!.replace(normal([6], { key: key(9), dtype }));
  return layer;
}

/** Every kind with the numbers that its equation says it has, and those that a position leaves in its cache. */
const KINDS: Readonly<
  Record<string, { make: (o?: DTyped) => AttentionLayer; parameters: number; cached: number }>
> = {
  MHA: {
    make: (o) => new Attention({ width: H, heads: 4, key: key(1), ...o }),
    parameters: 4 * H * H,
    cached: 2 * H,
  },
  GQA: {
    make: (o) => new Attention({ width: H, heads: 4, kvHeads: 2, key: key(1), ...o }),
    parameters: (2 + (2 * 2) / 4) * H * H,
    cached: 2 * 2 * 4,
  },
  MQA: {
    make: (o) => new Attention({ width: H, heads: 4, kvHeads: 1, key: key(1), ...o }),
    parameters: (2 + 2 / 4) * H * H,
    cached: 2 * 4,
  },
  // heads m, latent C, head d, turned r: q m(d + r)H, kv (C + r)H + m 2d C, o m d H, and the norm C.
  MLA: {
    make: (o) => new MLA({ width: H, heads: 3, latentDim: 6, ropeDim: 4, headDim: 5, key: key(1), ...o }),
    parameters: 3 * 9 * H + 10 * H + 3 * 10 * 6 + 3 * 5 * H + 6,
    cached: 6 + 4,
  },
  // Queries by a latent vector c: cH + c + m(d + r)c in the place of m(d + r)H; values of another width.
  "MLA with latent queries": {
    make: (o) =>
      new MLA({
        width: H,
        heads: 3,
        latentDim: 6,
        ropeDim: 4,
        headDim: 5,
        valueDim: 7,
        queryDim: 8,
        interleaved: false,
        key: key(1),
        ...o,
      }),
    parameters: 8 * H + 8 + 3 * 9 * 8 + 10 * H + 3 * 12 * 6 + 3 * 7 * H + 6,
    cached: 6 + 4,
  },
  // H(3C + mC) + mC².
  MFA: {
    make: (o) => new MFA({ width: H, heads: 3, headDim: 6, key: key(1), ...o }),
    parameters: H * (3 * 6 + 3 * 6) + 3 * 6 * 6,
    cached: 2 * 6,
  },
  // H Cq + 2HC + m C Cq + m C H, and the norm Cq.
  "MFA as in Step-3": {
    make: (o) =>
      new MFA({ width: H, heads: 3, headDim: 6, queryDim: 10, queryNorm: 1e-5, key: key(1), ...o }),
    parameters: H * 10 + 2 * H * 6 + 3 * 6 * 10 + 3 * 6 * H + 10,
    cached: 2 * 6,
  },
  // H(2C + mC) + mC² + C² + C.
  "MFA-KR": {
    make: opened,
    parameters: H * (2 * 6 + 3 * 6) + 3 * 6 * 6 + 6 * 6 + 6,
    cached: 6,
  },
};

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const places = (from: number, count: number): Tensor =>
  arange(from, from + count, 1, { dtype: "i32" }).reshape([1, count]);
const turned = (layer: AttentionLayer, from: number, count: number): AttentionInputs => ({
  positions: places(from, count),
  inverseFrequencies: inverseFrequencies(layer.ropeDim),
});

function expectClose(got: readonly number[], want: readonly number[], bound = 1e-5): void {
  expect(got.length).toBe(want.length);
  const size = Math.max(...want.map(Math.abs));
  const worst = Math.max(...want.map((y, i) => Math.abs(got[i]! - y)));
  expect(worst / size).toBeLessThan(bound);
}

describe.each(Object.entries(KINDS))("%s", (_, { make, parameters, cached }) => {
  /** The results of a layer for parts of x one after the other, joined. */
  async function inParts(
    x: Tensor,
    cache: KVCache,
    parts: readonly number[],
    more: AttentionInputs = {},
  ): Promise<number[]> {
    const layer = make();
    const results: Tensor[] = [];
    for (const count of parts) {
      const from = cache.position;
      const part = x.slice([null, [from, from + count], null]);
      const y = layer.forward(part, {
        ...turned(layer, from, count),
        ...more,
        mask: more.mask?.slice([null, null, [from, from + count], null]),
        cache,
      });
      await evaluate(y, ...cache.pending());
      cache.advance(count);
      await cache.reserve(cache.position + 2);
      results.push(y);
    }
    return read(concat(results, 1));
  }

  test("has as many parameters as its formula says", () => {
    expect(make().countParameters().total).toBe(parameters);
  });

  test("a position takes as many bytes as the layer says, in the cache's own count too", async () => {
    const layer = make();
    for (const [dtype, bytes] of [
      ["f32", 4],
      ["f16", 2],
    ] as const) {
      expect(layer.cacheBytesPerToken(dtype)).toBe(cached * bytes);
      const cache = new KVCache({ layers: 3, batch: 2, capacity: 5, dtype, ...layer.cacheShape });
      expect(cache.sizeBytes).toBe(3 * 2 * 5 * layer.cacheBytesPerToken(dtype));
      await cache.reserve(8);
      expect(cache.sizeBytes).toBe(3 * 2 * 10 * layer.cacheBytesPerToken(dtype));
      cache.dispose();
    }
  });

  test("part by part over a cache that grows equals the whole sequence at once", async () => {
    const layer = make();
    const x = normal([2, 8, H], { key: key(2) });
    const whole = await read(layer.forward(x, turned(layer, 0, 8)));
    const cache = new KVCache({ layers: 1, batch: 2, capacity: 4, ...layer.cacheShape });
    expectClose(await inParts(x, cache, [3, 1, 1, 2, 1]), whole);
    expect(cache.capacity).toBeGreaterThan(8);
  });

  test("so it does without positions, and under a mask", async () => {
    const layer = make();
    const x = normal([1, 5, H], { key: key(2) });
    const none = { positions: undefined, inverseFrequencies: undefined };
    const plain = new KVCache({ layers: 1, capacity: 16, ...layer.cacheShape });
    expectClose(await inParts(x, plain, [2, 1, 2], none), await read(layer.forward(x)));
    // A query sees itself and two before it.
    const near = gt(arange(0, 16, 1), arange(0, 16, 1).reshape([16, 1]).sub(3)); // [T, S]: j > i - 3
    const mask = near.reshape([1, 1, 16, 16]);
    const want = layer.forward(x, {
      ...turned(layer, 0, 5),
      mask: mask.slice([null, null, [0, 5], [0, 5]]),
    });
    const masked = new KVCache({ layers: 1, capacity: 16, ...layer.cacheShape });
    expectClose(await inParts(x, masked, [2, 1, 2], { mask }), await read(want));
    const unmasked = await read(layer.forward(x, turned(layer, 0, 5)));
    const seen = await read(want);
    expect(Math.abs(seen.at(-1)! - unmasked.at(-1)!)).toBeGreaterThan(1e-4);
  });

  test("a cache in half precision changes results by its rounding only", async () => {
    const layer = make();
    const x = normal([1, 6, H], { key: key(2) });
    const whole = await read(layer.forward(x, turned(layer, 0, 6)));
    const cache = new KVCache({ layers: 1, capacity: 8, dtype: "f16", ...layer.cacheShape });
    const got = await inParts(x, cache, [3, 1, 2]);
    expectClose(got, whole, 2e-3);
    expect(Math.max(...got.map((y, i) => Math.abs(y - whole[i]!)))).toBeGreaterThan(0);
  });

  test("rows at positions of their own, one of them repeated from another, are what they are alone", async () => {
    const layer = make();
    const x = normal([2, 6, H], { key: key(2) });
    const first = new KVCache({ layers: 1, capacity: 8, ...layer.cacheShape });
    await inParts(x.slice([[0, 1]]), first, [4]);
    const second = await first.repeat(1);
    second.moveTo(2);
    const rows = new RowCaches([first, second]);
    const next = concat(
      [
        x.slice([
          [0, 1],
          [4, 5],
        ]),
        x.slice([
          [0, 1],
          [2, 3],
        ]),
      ],
      0,
    ); // [2, 1, H]
    const y = layer.forward(next, {
      positions: rows.positions(1),
      inverseFrequencies: inverseFrequencies(layer.ropeDim),
      cache: rows,
    });
    await evaluate(y, ...rows.pending());
    const whole = await read(layer.forward(x.slice([[0, 1]]), turned(layer, 0, 6)));
    expectClose(await read(y), [...whole.slice(4 * H, 5 * H), ...whole.slice(2 * H, 3 * H)]);
  });

  test("a token changes nothing before it", async () => {
    const layer = make();
    const x = normal([1, 6, H], { key: key(2) });
    const other = concat([x.slice([null, [0, 4]]), normal([1, 2, H], { key: key(3) })], 1);
    const [a, b] = [await read(layer.forward(x)), await read(layer.forward(other))];
    expectClose(b.slice(0, 4 * H), a.slice(0, 4 * H), 1e-6);
    expect(Math.abs(a[4 * H]! - b[4 * H]!)).toBeGreaterThan(1e-4);
    const open = await read(layer.forward(other, { causal: false }));
    expect(Math.abs(open[0]! - b[0]!)).toBeGreaterThan(1e-4);
  });

  test("positions that are all shifted alike give the same, and others do not", async () => {
    const layer = make();
    const x = normal([1, 6, H], { key: key(2) });
    const at = async (positions: Tensor) => read(layer.forward(x, { ...turned(layer, 0, 6), positions }));
    const from = await at(places(0, 6));
    expectClose(await at(places(13, 6)), from, 1e-5);
    const spread = await at(tensor([[0, 2, 4, 6, 8, 10]], { dtype: "i32" }));
    expect(Math.max(...spread.map((y, i) => Math.abs(y - from[i]!)))).toBeGreaterThan(1e-4);
  });

  test("gradients of x and of all parameters agree with central differences", async () => {
    const layer = make({ dtype: "f64" });
    const x = normal([1, 4, H], { key: key(2), dtype: "f64" });
    const weights = normal([1, 4, H], { key: key(3), dtype: "f64" });
    const inputs = turned(layer, 0, 4);
    const loss = (at: Tensor): Tensor => layer.forward(at, inputs).mul(weights).sum();
    const all = [...layer.parameters()];
    const found = gradients(loss(x), [x, ...all.map(([, p]) => p)]);
    await evaluate(...found);
    const h = 1e-5;
    const difference = async (move: (by: number) => Promise<Tensor>): Promise<number> =>
      ((await loss(await move(h)).item()) - (await loss(await move(-h)).item())) / (2 * h);
    const along = async (g: Tensor, d: Tensor): Promise<number> => g.mul(d).sum().item();
    const direction = normal(x.shape, { key: key(4), dtype: "f64" });
    const near = (got: number, want: number) =>
      expect(Math.abs(got - want)).toBeLessThan(1e-6 * (1 + Math.abs(want)));
    near(await along(found[0]!, direction), await difference(async (by) => x.add(direction.mul(by))));
    for (const [i, [path, p]] of all.entries()) {
      const d = normal(p.shape, { key: key(5).foldName(path), dtype: "f64" });
      const start = tensor(Float64Array.from(await p.data()), { shape: p.shape, dtype: "f64" });
      const step = async (by: number): Promise<Tensor> => {
        (p as Parameter).replace(start.add(d.mul(by)));
        return x;
      };
      const want = await difference(step);
      await step(0);
      expect(Math.abs(want), path).toBeGreaterThan(1e-7);
      near(await along(found[1 + i]!, d), want);
    }
  });

  test("positions need frequencies", () => {
    expect(() => make().forward(normal([1, 2, H], { key: key(2) }), { positions: places(0, 2) })).toThrow(
      /expected inverseFrequencies beside positions/,
    );
  });
});

test("a cache of another kind of attention is refused with what to do", () => {
  const x = normal([1, 2, H], { key: key(2) });
  const { make } = KINDS["MFA-KR"]!;
  const mha = KINDS["MHA"]!.make();
  const keysAlone = new KVCache({ layers: 1, capacity: 4, ...make().cacheShape });
  const both = new KVCache({ layers: 1, capacity: 4, ...mha.cacheShape });
  expect(() => mha.forward(x, { cache: keysAlone })).toThrow(/expected keys alone, as its valueDim is 0/);
  expect(() => make().forward(x, { cache: both })).toThrow(
    /expected keys and values, got keys alone; make the cache with the cacheShape of the layer/,
  );
});

test("sizes that are no positive integers are refused by name", () => {
  expect(() => new MFA({ width: 16, heads: 0, headDim: 4 })).toThrow(/MFA: expected heads to be a positive/);
  expect(() => new MFAKR({ width: 16, heads: 2, headDim: 4.5 })).toThrow(/MFAKR: expected headDim/);
  expect(() => new MLA({ width: 16, heads: 2, latentDim: 4, ropeDim: 3 })).toThrow(
    /MLA: expected ropeDim \/ 2/,
  );
  expect(() => new KVCache({ layers: 1, capacity: 1, heads: 1, headDim: 2, valueDim: -1 })).toThrow(
    /valueDim/,
  );
});
