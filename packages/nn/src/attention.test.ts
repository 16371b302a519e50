import {
  arange,
  concat,
  evaluate,
  inverseFrequencies,
  key,
  normal,
  setDefaultBackend,
  type Tensor,
} from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Attention } from "./attention.js";
import { KVCache } from "./kv-cache.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const frequencies = inverseFrequencies(4);
const places = (from: number, count: number): Tensor =>
  arange(from, from + count, 1, { dtype: "i32" }).reshape([1, count]);

test("grouped queries equal full attention whose key-value heads are repeated", async () => {
  const grouped = new Attention({ width: 16, heads: 4, kvHeads: 2, key: key(1) });
  const full = new Attention({ width: 16, heads: 4 });
  const repeat = (w: Tensor): Tensor =>
    w
      .reshape([2, 1, 4, 16])
      .add(normal([2, 2, 4, 16], { key: key(0) }).mul(0))
      .reshape([16, 16]);
  full.loadState(
    new Map([
      ["q_proj.weight", grouped.q_proj.weight],
      ["k_proj.weight", repeat(grouped.k_proj.weight)],
      ["v_proj.weight", repeat(grouped.v_proj.weight)],
      ["o_proj.weight", grouped.o_proj.weight],
    ]),
  );
  const x = normal([2, 5, 16], { key: key(2) });
  const inputs = { positions: places(0, 5), inverseFrequencies: frequencies };
  const [a, b] = [await read(grouped.forward(x, inputs)), await read(full.forward(x, inputs))];
  for (const [i, y] of b.entries()) expect(a[i]).toBeCloseTo(y, 5);
});

test("token by token over a cache equals the whole sequence at once", async () => {
  const layer = new Attention({ width: 16, heads: 4, kvHeads: 2, key: key(1) });
  const x = normal([2, 6, 16], { key: key(2) });
  const whole = await read(layer.forward(x, { positions: places(0, 6), inverseFrequencies: frequencies }));
  const cache = new KVCache({ layers: 1, batch: 2, capacity: 8, heads: 2, headDim: 4 });
  for (const [from, count] of [
    [0, 3],
    [3, 1],
    [4, 2],
  ] as const) {
    const part = layer.forward(x.slice([null, [from, from + count], null]), {
      positions: places(from, count),
      inverseFrequencies: frequencies,
      cache,
    });
    await evaluate(part, ...cache.pending());
    cache.advance(count);
    const y = await read(part);
    for (let b = 0; b < 2; b++) {
      for (let i = 0; i < count * 16; i++) {
        expect(y[b * count * 16 + i]).toBeCloseTo(whole[b * 96 + from * 16 + i]!, 5);
      }
    }
  }
  expect(cache.position).toBe(6);
  expect(cache.sizeBytes).toBe(2 * 2 * 8 * 2 * 4 * 4);
});

test("a cache keeps what it holds when it grows, and when it is repeated for more sequences", async () => {
  const layer = new Attention({ width: 16, heads: 4, kvHeads: 2, key: key(1) });
  const x = normal([1, 6, 16], { key: key(2) });
  const whole = await read(layer.forward(x));
  const cache = new KVCache({ layers: 1, capacity: 2, heads: 2, headDim: 4 });
  const pass = async (into: KVCache, part: Tensor): Promise<ArrayLike<number>> => {
    const y = layer.forward(part, { cache: into });
    await evaluate(y, ...into.pending());
    into.advance(part.shape[1]!);
    return read(y);
  };
  await pass(cache, x.slice([null, [0, 2], null]));
  await cache.reserve(3);
  expect(cache.capacity).toBe(4);
  await pass(cache, x.slice([null, [2, 4], null]));
  await cache.reserve(5, 6);
  expect(cache.capacity).toBe(6);
  const rows = await cache.repeat(3, 8);
  expect([rows.batch, rows.capacity, rows.position]).toEqual([3, 8, 4]);
  const rest = x.slice([null, [4, 6], null]);
  const one = await pass(cache, rest);
  const three = await pass(rows, concat([rest, rest.mul(0.5), rest], 0));
  for (let i = 0; i < 32; i++) {
    expect(one[i]).toBeCloseTo(whole[4 * 16 + i]!, 5);
    expect(three[i]).toBeCloseTo(one[i]!, 5);
    expect(three[64 + i]).toBeCloseTo(one[i]!, 5);
  }
  expect(Math.abs(three[32]! - one[0]!)).toBeGreaterThan(1e-4);
  await expect(rows.repeat(2)).rejects.toThrow(/KVCache.repeat: expected one sequence/);
});

test("a full cache says how many positions are left", () => {
  const layer = new Attention({ width: 8, heads: 2, key: key(1) });
  const cache = new KVCache({ layers: 1, capacity: 4, heads: 2, headDim: 4 });
  cache.moveTo(2);
  const x = normal([1, 3, 8], { key: key(2) });
  expect(() => layer.forward(x, { cache })).toThrow(/at most 2 more positions of 1 sequences/);
});

test("heads that are no multiple of key-value heads are refused", () => {
  expect(() => new Attention({ width: 12, heads: 3, kvHeads: 2 })).toThrow(/heads 3, kvHeads 2/);
});
