import {
  arange,
  eq,
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
import { MLA } from "./mla.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const H = 16;
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const make = (): MLA =>
  new MLA({ width: H, heads: 3, latentDim: 6, ropeDim: 4, headDim: 5, valueDim: 7, key: key(1) });
const inputs = (from: number, count: number) => ({
  positions: arange(from, from + count, 1, { dtype: "i32" }).reshape([1, count]),
  inverseFrequencies: inverseFrequencies(4),
});

async function overCache(layer: MLA, x: Tensor): Promise<number[]> {
  const cache = new KVCache({ layers: 1, capacity: 8, ...layer.cacheShape });
  const out: number[] = [];
  for (let i = 0; i < 5; i++) {
    const y = layer.forward(x.slice([null, [i, i + 1]]), { ...inputs(i, 1), cache });
    await evaluate(y, ...cache.pending());
    cache.advance(1);
    out.push(...(await read(y)));
  }
  return out;
}

test("an adapter on kv_b_proj is in what a cache gives: made keys and absorbed ones agree", async () => {
  const x = normal([1, 5, H], { key: key(2) });
  const layer = make();
  const base = await read(layer.forward(x, inputs(0, 5)));
  const update = normal(layer.kv_b_proj.weight.shape, { key: key(3), std: 0.3 });
  layer.kv_b_proj._overlay = {
    forward: (t, on) => on.withWeight(t, on.weight.add(update)),
    parameters: () => [],
  };
  const adapted = await read(layer.forward(x, inputs(0, 5)));
  const made = await overCache(layer, x);
  layer.kv_b_proj._overlay = null;
  await evaluate(layer.kv_b_proj.weight.assign(layer.kv_b_proj.weight.add(update)));
  const absorbed = await overCache(layer, x);
  for (const [i, y] of adapted.entries()) {
    expect(made[i]).toBeCloseTo(y, 5);
    expect(absorbed[i]).toBeCloseTo(y, 5);
  }
  expect(Math.max(...adapted.map((y, i) => Math.abs(y - base[i]!)))).toBeGreaterThan(1e-2);
});

test("without a narrower latent vector and a part that turns, MLA is multi-head attention", async () => {
  const layer = new MLA({ width: H, heads: 4, latentDim: H, ropeDim: 2, scale: 0.5, key: key(1) });
  // c = norm(x) and r = 0: the rows of the identity, and below them two of zeros.
  const diagonal = eq(arange(0, H + 2, 1).reshape([H + 2, 1]), arange(0, H, 1));
  layer.kv_a_proj_with_mqa.weight.replace(diagonal.astype("f32"));
  const mha = new Attention({ width: H, heads: 4 });
  const q = layer.q_proj!.weight.reshape([4, 6, H]).slice([null, [0, 4]]);
  const kv = layer.kv_b_proj.weight.reshape([4, 8, H]);
  mha.loadState(
    new Map<string, Tensor>([
      ["q_proj.weight", q.reshape([H, H])],
      ["k_proj.weight", kv.slice([null, [0, 4]]).reshape([H, H])],
      ["v_proj.weight", kv.slice([null, [4, 8]]).reshape([H, H])],
      ["o_proj.weight", layer.o_proj.weight],
    ]),
  );
  const x = layer.kv_a_layernorm.forward(normal([1, 5, H], { key: key(2) })); // its own norm
  const [a, b] = [await read(layer.forward(x)), await read(mha.forward(x))];
  for (const [i, y] of b.entries()) expect(a[i]).toBeCloseTo(y, 5);
});
