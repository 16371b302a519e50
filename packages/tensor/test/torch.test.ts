import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import * as op from "../src/index.js";
import { expectClose, ints, numbers } from "./check-gradients.js";

interface Flat {
  dims: number[];
  data: number[];
}
interface Golden {
  inputs: Flat[];
  dy: Flat;
  output: Flat;
  gradients: Flat[];
}

// Made by goldens/make-torch.py.
const { cases } = JSON.parse(readFileSync(new URL("./goldens/torch-ops.json", import.meta.url), "utf8")) as {
  cases: Record<string, Golden>;
};

const f64 = ({ dims, data }: Flat): op.Tensor => op.tensor(Float64Array.from(data), { shape: dims });
const labels = ints([1, -100, 4, 0, 2, -100], [2, 3]);
const index = ints([2, 0, 1, 1, 1, 0], [2, 3]);
const mask = op.tensor([
  [true, false, true],
  [true, true, false],
]);

const ours: Record<string, (...xs: op.Tensor[]) => op.Tensor> = {
  conv2d: (x, w, b) =>
    op.conv2d(x!, w!, { bias: b!, stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 2 }),
  conv1d: (x, w) => op.conv1d(x!, w!, { padding: "same" }),
  convTranspose2d: (x, w, b) =>
    op.convTranspose2d(x!, w!, { bias: b!, stride: 2, padding: 1, outputPadding: 1, groups: 2, dilation: 2 }),
  maxPool2d: (x) => op.maxPool2d(x!, 3, { stride: 2, padding: 1 }),
  avgPool2d: (x) => op.avgPool2d(x!, [2, 3], { stride: 2, padding: 1 }),
  "avgPool2d without padding": (x) => op.avgPool2d(x!, 3, { stride: 2, padding: 1, countIncludePad: false }),
  softmax: (x) => op.softmax(x!, 1),
  logSoftmax: (x) => op.logSoftmax(x!),
  layerNorm: (x, w, b) => op.layerNorm(x!, w!, b!),
  rmsNorm: (x, w) => op.rmsNorm(x!, w!),
  crossEntropy: (x) => op.crossEntropy(x!, labels),
  "crossEntropy summed": (x) => op.crossEntropy(x!, labels, { reduction: "sum" }),
  attention: (q, k, v) => op.scaledDotProductAttention(q!, k!, v!),
  "attention, causal": (q, k, v) => op.scaledDotProductAttention(q!, k!, v!, { causal: true }),
  "attention, masked and grouped": (q, k, v) =>
    op.scaledDotProductAttention(q!, k!, v!, { mask, scale: 0.3 }),
  sort: (x) => op.sort(x!, 1, { descending: true }).values,
  topK: (x) => op.topK(x!, 2, 0).values,
  cumsum: (x) => op.cumsum(x!, 1),
  gather: (x) => op.gather(x!, 0, index),
  embedding: (w) => op.embedding(w!, index),
  relu: (x) => op.relu(x!),
  gelu: (x) => op.gelu(x!),
  geluTanh: (x) => op.geluTanh(x!),
  silu: (x) => op.silu(x!),
  softplus: (x) => op.softplus(x!),
  elu: (x) => op.elu(x!, 0.7),
  leakyRelu: (x) => op.leakyRelu(x!),
  sigmoid: (x) => op.sigmoid(x!),
  tanh: (x) => op.tanh(x!),
  erf: (x) => op.erf(x!),
  expm1: (x) => op.expm1(x!),
  abs: (x) => op.abs(x!),
  sign: (x) => op.sign(x!),
  round: (x) => op.round(x!),
  clamp: (x) => op.clamp(x!, { min: -1, max: 1 }),
  square: (x) => op.square(x!),
  sinh: (x) => op.sinh(x!),
  atan: (x) => op.atan(x!),
  logsumexp: (x) => op.logsumexp(x!, 1),
  prod: (x) => op.prod(x!, 1),
  "prod of two zeros": (x) => op.prod(x!.mul(x!.sub(1)), 1),
  "max with ties": (x) => op.max(op.square(x!), 1),
  variance: (x) => op.variance(x!, 1, { correction: 1 }),
  std: (x) => op.std(x!, 1),
  norm: (x) => op.norm(x!, 1),
  "norm of one": (x) => op.norm(x!, 1, { ord: 1 }),
  mean: (x) => op.mean(x!, 0),
  "pow of a number": (x) => op.pow(2, x!),
  "power of three": (x) => op.pow(x!, 3),
  flip: (x) => op.flip(x!, 1),
  "slice backwards": (x) => op.slice(x!, [null, [5, 0, -2]]),
  pad: (x) =>
    op.pad(x!, [
      [0, 0],
      [2, 1],
    ]),
  repeat: (x) => op.repeat(x!, 2, 1),
  tile: (x) => op.tile(x!, [2, 2]),
  "maximum with ties": (a, b) => op.maximum(a!, b!),
  "log and friends": (x) =>
    op.log(x!).add(op.log1p(x!)).add(op.rsqrt(x!)).add(op.sqrt(x!)).add(op.reciprocal(x!)),
  erfinv: (x) => op.erfinv(x!),
  pow: (a, b) => op.pow(a!, b!),
  atan2: (a, b) => op.atan2(a!, b!),
  hypot: (a, b) => op.hypot(a!, b!),
  logaddexp: (a, b) => op.logaddexp(a!, b!),
  div: (a, b) => op.div(a!, b!),
  remainder: (a, b) => op.remainder(a!, b!),
  lerp: (a, b) => op.lerp(a!, b!, 0.3),
  where: (a, b) => op.where(op.gt(a!, b!), a!, b!.mul(2)),
  "matmul, batches": (a, b) => op.matmul(a!, b!),
  "matmul, vector": (a, b) => op.matmul(a!, b!),
  "matmul, vectors": (a, b) => op.matmul(a!, b!),
  einsum: (a, b, c) => op.einsum("bij,bkj,k->bi", a!, b!, c!),
  "einsum, diagonal": (a) => op.einsum("iij->j", a!),
  tril: (x) => op.tril(x!, 1),
  triu: (x) => op.triu(x!, -1),
};

test("every case of PyTorch has one of ours", () => {
  expect(Object.keys(ours).sort()).toEqual(Object.keys(cases).sort());
});

for (const [name, golden] of Object.entries(cases)) {
  test(`${name} gives the numbers and gradients of PyTorch`, () => {
    const inputs = golden.inputs.map(f64);
    const y = ours[name]!(...inputs);
    expect(y.shape).toEqual(golden.output.dims);
    expectClose(numbers(y), golden.output.data, 1e-10);
    const grads = op.gradients(y, inputs, f64(golden.dy));
    for (const [i, g] of grads.entries()) expectClose(numbers(g), golden.gradients[i]!.data, 1e-10);
  });
}
