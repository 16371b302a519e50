import { beforeAll, expect, test } from "vitest";
import {
  attention,
  crossEntropy,
  evaluate,
  gelu,
  gradients,
  key,
  layerNorm,
  matmul,
  normal,
  rmsNorm,
  setDefaultBackend,
  silu,
  type Tensor,
  take,
  tensor,
} from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/testing";

beforeAll(() => setDefaultBackend(reference()));

const F64 = "f64" as const;
const [width, heads, vocabulary] = [4, 2, 5];

const SHAPES = [
  [vocabulary, width], // embedding
  [3 * width, width], // q, k and v
  [width, width],
  [2 * width, width], // gate and up
  [width, 2 * width],
  [width],
  [width],
];

/** Weights of a block of a language model, drawn once. */
async function drawWeights(): Promise<Float64Array[]> {
  const drawn = SHAPES.map((dims, i) => normal(dims, { key: key(5).fold(i), std: 0.6 }));
  await evaluate(...drawn);
  return Promise.all(drawn.map(async (t) => Float64Array.from(await t.data())));
}

/** Embedding, norm, attention, gated feed-forward, loss: the ops that a decoder is made of, in float64. */
function network(w: readonly Tensor[]): Tensor {
  const [embedding, qkv, out, up, down, gain, shift] = w as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const ids = tensor(
    [
      [1, 4, 2],
      [0, 3, 3],
    ],
    { dtype: "i32" },
  );
  const x = take(embedding, ids, 0); // [2, 3, width]
  const h = layerNorm(x, gain, shift, { eps: 0.1 });
  const parts = matmul(h, qkv.T).reshape([2, 3, 3, heads, width / heads]);
  const [q, k, v] = [0, 1, 2].map((i) => parts.slice([null, null, i])) as [Tensor, Tensor, Tensor];
  const mixed = attention(q, k, v, { causal: true }).reshape([2, 3, width]);
  const y = x.add(matmul(mixed, out.T));
  const inner = matmul(rmsNorm(y, gain, { eps: 0.1 }), up.T);
  const gate = silu(inner.slice([null, null, [0, width]]));
  const z = y.add(
    matmul(gelu(gate).add(inner.slice([null, null, [width, null]])), down.slice([null, [0, width]]).T),
  );
  const labels = tensor(
    [
      [4, 2, 0],
      [3, 3, 1],
    ],
    { dtype: "i32" },
  );
  return crossEntropy(matmul(z, embedding.T), labels);
}

const asTensors = (w: readonly Float64Array[]): Tensor[] =>
  w.map((data, i) => tensor(data, { shape: SHAPES[i]!, dtype: F64 }));

test("Hessian times vector agrees with differences of the gradient, through a whole block", async () => {
  const start = await drawWeights();
  const direction = start.map((w, i) => w.map((_, j) => Math.sin(1 + i + 3 * j)));

  // d/dε ∇L(w + ε v) = H v, by differentiating ∇L · v.
  const w = asTensors(start);
  const first = gradients(network(w), w);
  const along = first.map((g, i) => g.mul(tensor(direction[i]!, { shape: SHAPES[i]!, dtype: F64 })).sum());
  const product = gradients(
    along.reduce((a, b) => a.add(b)),
    w,
  );
  await evaluate(...first, ...product);

  const h = 1e-5;
  const gradientAt = async (by: number): Promise<ArrayLike<number>[]> => {
    const moved = asTensors(start.map((v, i) => v.map((x, j) => x + by * direction[i]![j]!)));
    const g = gradients(network(moved), moved);
    await evaluate(...g);
    return Promise.all(g.map((t) => t.data()));
  };
  const [up, down] = [await gradientAt(h), await gradientAt(-h)];
  let largest = 0;
  for (const [i, t] of product.entries()) {
    const got = await t.data();
    for (let j = 0; j < got.length; j++) {
      const expected = (up[i]![j]! - down[i]![j]!) / (2 * h);
      expect(Math.abs(got[j]! - expected), `weight ${i}, element ${j}`).toBeLessThan(
        1e-7 * (1 + Math.abs(expected)),
      );
      largest = Math.max(largest, Math.abs(expected));
    }
  }
  expect(largest).toBeGreaterThan(0.05); // the curvature is not zero for want of a connection
});

test("third derivatives of x⁴ at several points", async () => {
  const x = tensor([-2, 0, 1, 3], { dtype: F64 });
  let d = x.mul(x).mul(x).mul(x);
  for (let order = 0; order < 3; order++) d = gradients(d.sum(), [x])[0]!;
  expect(Array.from(await d.data())).toEqual([-48, 0, 24, 72]);
});
