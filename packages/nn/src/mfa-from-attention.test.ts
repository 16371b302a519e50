import { singularValues, svd } from "@lowrank/linalg";
import {
  arange,
  concat,
  inverseFrequencies,
  key,
  normal,
  setDefaultBackend,
  tensor,
  type Tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Attention } from "./attention.js";
import type { MFA } from "./mfa.js";
import { mfaFromAttention } from "./mfa-from-attention.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const [H, m, n, d] = [12, 4, 2, 4];
const trained = (kvHeads = n): Attention =>
  new Attention({ width: H, heads: m, kvHeads, headDim: d, key: key(1) });
const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const size = async (t: Tensor): Promise<number> => t.square().sum().sqrt().item();
const head = (w: Tensor, h: number, of: number): Tensor => w.slice([[h * of, (h + 1) * of]]);

/** W_q,hᵀ R W_k,h of all heads below each other, [m H, H], with queries and keys turned by R. */
function circuits(q: Tensor, k: Tensor, size: number, kvHeads: number, R?: Tensor): Tensor {
  const all = Array.from({ length: m }, (_, h) => {
    const keys = head(k, Math.floor((h * kvHeads) / m), size);
    return head(q, h, size).T.matmul(R === undefined ? keys : R.matmul(keys));
  });
  return concat(all, 0);
}

const circuitsOf = (layer: Attention, R?: Tensor): Tensor =>
  circuits(layer.q_proj.weight, layer.k_proj.weight, d, layer.kvHeads, R);
const circuitsOfMfa = (layer: MFA, R?: Tensor): Tensor =>
  circuits(layer.wq.weight.matmul(layer.q_proj.weight), layer.k_proj.weight, layer.headDim, 1, R);
/** W_o,h W_v,h of all heads below each other, [m H, H]. */
const results = (o: Tensor, v: Tensor, size: number, kvHeads: number): Tensor =>
  concat(
    Array.from({ length: m }, (_, h) =>
      o.slice([null, [h * size, (h + 1) * size]]).matmul(head(v, Math.floor((h * kvHeads) / m), size)),
    ),
    0,
  );

/** The matrix of angles p f: what turns the pairs (i, i + half) of a key against a query by a distance. */
async function turning(frequencies: Tensor, distance: number): Promise<Tensor> {
  const f = await read(frequencies);
  const half = f.length;
  const rows = Array.from({ length: 2 * half }, (_, i) =>
    Array.from({ length: 2 * half }, (_, j) => {
      if (i % half !== j % half) return 0;
      const angle = distance * f[i % half]!;
      return i === j ? Math.cos(angle) : i < j ? -Math.sin(angle) : Math.sin(angle);
    }),
  );
  return tensor(rows);
}

async function expectSame(got: Tensor, want: Tensor): Promise<void> {
  const [a, b] = [await read(got), await read(want)];
  for (const [i, y] of b.entries()) expect(a[i]).toBeCloseTo(y, 4);
}

describe.each([
  ["multi-head", m],
  ["grouped-query", n],
])("%s attention whose keys do not turn", (_, kvHeads) => {
  test("is MFA without loss where the key is as wide as all keys together", async () => {
    const from = trained(kvHeads);
    const width = Math.min(kvHeads * d, H);
    const to = await mfaFromAttention(from, { headDim: width, queryDim: H, svd });
    expect(to.layer.inverseFrequencies).toBeNull();
    expect(to.queryKeyError).toBeLessThan(1e-5);
    expect(to.valueOutputError).toBeLessThan(1e-5);
    const x = normal([2, 5, H], { key: key(2) });
    await expectSame(to.layer.forward(x), from.forward(x));
  });

  test("costs what is said where it is cut, and no shared key or value costs less", async () => {
    const from = trained(kvHeads);
    const M = circuitsOf(from);
    const N = results(from.o_proj.weight, from.v_proj.weight, d, kvHeads);
    let before = Number.POSITIVE_INFINITY;
    for (const headDim of [1, 3, 6, 7]) {
      const { layer, queryKeyError, valueOutputError } = await mfaFromAttention(from, {
        headDim,
        queryDim: Math.min(H, m * headDim),
        svd,
      });
      const lost = (await size(M.sub(circuitsOfMfa(layer)))) / (await size(M));
      expect(queryKeyError).toBeCloseTo(lost, 4);
      const lostResult =
        (await size(N.sub(results(layer.o_proj.weight, layer.v_proj.weight, headDim, 1)))) / (await size(N));
      expect(valueOutputError).toBeCloseTo(lostResult, 4);
      // Eckart and Young: no matrix of that rank is nearer to all circuits below each other.
      for (const [all, error] of [
        [M, queryKeyError],
        [N, valueOutputError],
      ] as const) {
        const s = (await read(singularValues(all))).map((x) => x * x);
        const tail = s.slice(headDim).reduce((a, b) => a + b, 0) / s.reduce((a, b) => a + b, 0);
        expect(error).toBeCloseTo(Math.sqrt(tail), 4);
      }
      expect(queryKeyError).toBeLessThan(before);
      before = queryKeyError;
    }
  });

  test("the cut of the queries is in the error too", async () => {
    const from = trained(kvHeads);
    const M = circuitsOf(from);
    const wide = await mfaFromAttention(from, { headDim: 6, queryDim: H, svd });
    const narrow = await mfaFromAttention(from, { headDim: 6, svd });
    expect(narrow.layer.q_proj.outFeatures).toBe(6);
    expect(narrow.queryKeyError).toBeGreaterThan(wide.queryKeyError + 1e-2);
    expect(narrow.queryKeyError).toBeCloseTo(
      (await size(M.sub(circuitsOfMfa(narrow.layer)))) / (await size(M)),
      4,
    );
  });
});

test("keys and values that lie in a few directions are found: no loss though the cache is smaller", async () => {
  const from = trained(m);
  const [mixK, mixV] = [normal([m * d, 5], { key: key(3) }), normal([m * d, 5], { key: key(4) })];
  from.k_proj.weight.replace(mixK.matmul(normal([5, H], { key: key(5) })).mul(0.2));
  from.v_proj.weight.replace(mixV.matmul(normal([5, H], { key: key(6) })).mul(0.2));
  const to = await mfaFromAttention(from, { headDim: 5, queryDim: H, svd });
  expect(to.queryKeyError).toBeLessThan(1e-5);
  const x = normal([1, 5, H], { key: key(2) });
  await expectSame(to.layer.forward(x), from.forward(x));
  expect(to.layer.cacheBytesPerToken()).toBe(10 * 4);
  expect(from.cacheBytesPerToken()).toBe(32 * 4);
});

describe.each([
  ["multi-head", m],
  ["grouped-query", n],
])("%s attention whose keys turn", (_, kvHeads) => {
  const f = inverseFrequencies(d);
  const at = arange(7, 12, 1, { dtype: "i32" }).reshape([1, 5]);

  test("is MFA without loss where each frequency has a key for every old one", async () => {
    const from = trained(kvHeads);
    const to = await mfaFromAttention(from, {
      headDim: kvHeads * d,
      queryDim: H,
      inverseFrequencies: f,
      svd,
    });
    expect(to.queryKeyError).toBeLessThan(1e-5);
    const [slow, fast] = [await read(to.layer.inverseFrequencies!), await read(f)];
    expect(slow).toEqual(fast.flatMap((x) => new Array(kvHeads).fill(x)));
    // Values are cut to the width: 16 numbers of 12, and so without loss.
    expect(to.valueOutputError).toBeLessThan(1e-5);
    const x = normal([2, 5, H], { key: key(2) });
    await expectSame(
      to.layer.forward(x, { positions: at, inverseFrequencies: f }), // it has its own,
      from.forward(x, { positions: at, inverseFrequencies: f }),
    );
  });

  test("scores lose at most what is said at every distance, and over all distances that is what they lose", async () => {
    const from = trained(kvHeads);
    let before = Number.POSITIVE_INFINITY;
    for (const [headDim, queryDim] of [
      [2, 8],
      [4, 12],
      [6, 12],
      [6, 5],
    ] as const) {
      const to = await mfaFromAttention(from, { headDim, queryDim, inverseFrequencies: f, svd });
      const own = to.layer.inverseFrequencies!;
      const lostAt = async (distance: number): Promise<number> =>
        size(
          circuitsOf(from, await turning(f, distance)).sub(
            circuitsOfMfa(to.layer, await turning(own, distance)),
          ),
        );
      const whole = await wholeCircuits(from);
      for (const distance of [0, 1, 2, 5, 40, 300]) {
        expect(await lostAt(distance)).toBeLessThan(to.queryKeyError * whole * (1 + 1e-4));
      }
      const lost = await lostCircuits(from, to.layer, await read(f), await read(own));
      expect(to.queryKeyError).toBeCloseTo(lost / whole, 4);
      if (queryDim === 12) {
        expect(to.queryKeyError).toBeLessThan(before);
        before = to.queryKeyError;
      }
    }
  });
});

type Matrix = number[][];
/** Real and imaginary part of p̄ᵀ u summed over pairs (i, i + half) of one frequency, for one head. */
function complexCircuit(
  q: Matrix,
  k: Matrix,
  pairs: readonly number[],
  half: number,
): { re: number; im: number }[] {
  const out: { re: number; im: number }[] = [];
  for (let x = 0; x < H; x++) {
    for (let y = 0; y < H; y++) {
      let [re, im] = [0, 0];
      for (const i of pairs) {
        const [a, b] = [q[i]![x]!, q[i + half]![x]!];
        const [c, e] = [k[i]![y]!, k[i + half]![y]!];
        re += a * c + b * e;
        im += a * e - b * c;
      }
      out.push({ re, im });
    }
  }
  return out;
}

async function rows(w: Tensor): Promise<Matrix> {
  const data = await read(w);
  const width = w.shape[1]!;
  return Array.from({ length: w.shape[0]! }, (_, i) => data.slice(i * width, (i + 1) * width));
}

/** ‖M − M̂‖ over the complex circuits of all heads and frequencies; of nothing taken away, ‖M‖. */
async function lostCircuits(from: Attention, to: MFA | null, f: number[], own: number[]): Promise<number> {
  const [q, k] = [await rows(from.q_proj.weight), await rows(from.k_proj.weight)];
  const [q2, k2] =
    to === null
      ? [[], []]
      : [await rows(to.wq.weight.matmul(to.q_proj.weight)), await rows(to.k_proj.weight)];
  let sum = 0;
  for (let h = 0; h < m; h++) {
    const g = Math.floor((h * from.kvHeads) / m);
    for (const [j, w] of f.entries()) {
      const M = complexCircuit(q.slice(h * d), k.slice(g * d), [j], d / 2);
      const C = to?.headDim ?? 0;
      const pairs = own.flatMap((x, i) => (x === w ? [i] : []));
      const N = to === null ? null : complexCircuit(q2.slice(h * C), k2, pairs, C / 2);
      for (const [i, z] of M.entries()) {
        const { re, im } = N?.[i] ?? { re: 0, im: 0 };
        sum += (z.re - re) ** 2 + (z.im - im) ** 2;
      }
    }
  }
  return Math.sqrt(sum);
}
const wholeCircuits = (from: Attention): Promise<number> => lostCircuits(from, null, [0, 1], []);

test("what cannot be converted is refused with the reason", async () => {
  const options = { headDim: 4, svd };
  await expect(mfaFromAttention(trained(), { ...options, headDim: 9 })).rejects.toThrow(
    /headDim up to kvHeads · headDim = 8, got 9/,
  );
  await expect(mfaFromAttention(trained(), { ...options, queryDim: 13 })).rejects.toThrow(
    /queryDim up to 12/,
  );
  await expect(mfaFromAttention(trained(), { ...options, headDim: 2.5 })).rejects.toThrow(
    /headDim to be a positive/,
  );
  const f = inverseFrequencies(d);
  await expect(mfaFromAttention(trained(), { headDim: 3, svd, inverseFrequencies: f })).rejects.toThrow(
    /an even/,
  );
  await expect(
    mfaFromAttention(trained(), { ...options, inverseFrequencies: inverseFrequencies(8) }),
  ).rejects.toThrow(/frequencies of every pair of a head, \[2\], got \[4\]/);
  const biased = new Attention({ width: H, heads: m, headDim: d, bias: true, key: key(1) });
  await expect(mfaFromAttention(biased, options)).rejects.toThrow(/projections without bias/);
  const normed = new Attention({ width: H, heads: m, headDim: d, qkNorm: 1e-6, key: key(1) });
  await expect(mfaFromAttention(normed, options)).rejects.toThrow(/no norms of queries and keys/);
  const adapted = trained();
  adapted.q_proj._overlay = { forward: (x) => x, parameters: () => [] };
  await expect(mfaFromAttention(adapted, options)).rejects.toThrow(
    /without adapters, got one; merge it first/,
  );
});
