import * as op from "../src/index.js";
import type { Tensor } from "../src/tensor.js";
import { draw, ints } from "./check-gradients.js";

/** A use of an op: a function and f32 inputs with respect to which it is differentiated. */
export interface NetworkCase {
  readonly name: string;
  readonly f: (...xs: Tensor[]) => Tensor;
  readonly inputs: readonly Tensor[];
}

const f32 = (dims: number[], seed: number, low = -1, high = 1): Tensor =>
  op.tensor(Float32Array.from(draw(dims, seed, low, high).node.storage!.host!), { shape: dims });

const of = (name: string, inputs: readonly Tensor[], f: (...xs: Tensor[]) => Tensor): NetworkCase => ({
  name,
  f,
  inputs,
});

/** Uses of the ops of networks over odd sizes, views and broadcasts. */
export function networkCases(): NetworkCase[] {
  const ids = ints([3, 0, 3, 1, -1, 4], [2, 3]);
  const qkv = (t: number, s: number, h: number, hk: number, d: number, dv: number) => [
    f32([2, t, h, d], 1),
    f32([2, s, hk, d], 2),
    f32([2, s, hk, dv], 3),
  ];
  const [labels, some] = [ints([4, 0, 2, 1, 6]), ints([4, -100, 2, -100, 6])];
  const positions = ints([0, 1, 2, 7, 8, 3], [2, 3]);
  const frequencies = op.tensor([1, 0.5, 0.1]);
  const packed = ints([0, 0, 0, 1, 1, 2, 2]);
  const mask = op.eq(packed.reshape([7, 1]), packed);
  return [
    of("take rows", [f32([5, 4], 1)], (x) => op.take(x!, ids)),
    of("take columns of a transpose", [f32([5, 4], 2)], (x) => op.take(x!.T, ids, 1)),
    of("scatterAdd", [f32([2, 3, 4], 3)], (x) => op.scatterAdd(ids, x!, { size: 5 })),
    of("scatterAdd in the middle", [f32([3, 2, 3, 2], 4)], (x) =>
      op.scatterAdd(ids, x!, { axis: 1, size: 4 }),
    ),
    of("takeAlongAxis", [f32([2, 5], 5)], (x) => op.takeAlongAxis(x!, ids)),
    of("takeAlongAxis in front", [f32([6, 3], 6)], (x) => op.takeAlongAxis(x!, ids, 0)),
    of("scatterAddAlongAxis", [f32([2, 3], 7)], (x) => op.scatterAddAlongAxis(ids, x!, { size: 5 })),
    of("sort", [f32([3, 7], 8)], (x) => op.sort(x!).values),
    of("sort down in front", [f32([67, 3], 9)], (x) => op.sort(x!, 0, { descending: true }).values),
    of("topK", [f32([3, 9], 10)], (x) => op.topK(x!, 4).values),
    of("concat", [f32([2, 3], 11), f32([2, 5], 12)], (a, b) => op.concat([a!, b!, a!.mul(2)], 1)),
    of("concat of transposes", [f32([3, 2], 13), f32([5, 2], 14)], (a, b) => op.concat([a!.T, b!.T], 1)),
    of("stack and split", [f32([4, 6], 15)], (a) => op.stack(op.split(a!, 3, 1), 1)),
    of("cumsum", [f32([3, 7], 16)], (x) => op.cumsum(x!)),
    of("cumsum backwards in front", [f32([5, 3], 17)], (x) => op.cumsum(x!, 0, { reverse: true })),
    of("updateSlice", [f32([2, 6, 3], 18), f32([2, 2, 3], 19)], (a, b) => op.updateSlice(a!, b!, 3, 1)),
    of("conv2d", [f32([2, 3, 7, 6], 20), f32([4, 3, 3, 2], 21)], (x, w) => op.conv2d(x!, w!)),
    of("conv2d with everything", [f32([2, 4, 7, 5], 22), f32([6, 2, 3, 3], 23), f32([6], 24)], (x, w, b) =>
      op.conv2d(x!, w!, {
        stride: [2, 1],
        padding: [
          [1, 1],
          [2, 0],
        ],
        dilation: [1, 2],
        groups: 2,
        bias: b!,
      }),
    ),
    of("pointwise conv2d", [f32([2, 3, 4, 5], 25), f32([4, 3, 1, 1], 26)], (x, w) => op.conv2d(x!, w!)),
    of("conv1d", [f32([2, 3, 11], 27), f32([4, 3, 5], 28)], (x, w) => op.conv1d(x!, w!, { padding: "same" })),
    of("convTranspose2d", [f32([2, 3, 4, 3], 29), f32([3, 2, 3, 3], 30)], (x, w) =>
      op.convTranspose2d(x!, w!, { stride: 2, padding: 1, outputPadding: 1 }),
    ),
    of("maxPool2d", [f32([2, 3, 7, 6], 31)], (x) => op.maxPool2d(x!, 3, { stride: 2, padding: 1 })),
    of("avgPool2d", [f32([2, 3, 7, 6], 32)], (x) =>
      op.avgPool2d(x!, [2, 3], { padding: 1, countIncludePad: false }),
    ),
    of("softmax", [f32([5, 13], 33, -4, 4)], (x) => op.softmax(x!)),
    of("softmax in front of a slice", [f32([6, 5, 3], 34)], (x) => op.softmax(x!.slice([[1, 6, 2]]), 0)),
    of("logSoftmax", [f32([3, 9], 35, -4, 4)], (x) => op.logSoftmax(x!)),
    of("layerNorm", [f32([3, 2, 11], 36), f32([11], 37), f32([11], 38)], (x, w, b) =>
      op.layerNorm(x!, w!, b!),
    ),
    of("layerNorm alone", [f32([5, 8], 39)], (x) => op.layerNorm(x!)),
    of("rmsNorm", [f32([3, 2, 11], 40), f32([11], 41)], (x, w) => op.rmsNorm(x!, w!)),
    of("rmsNorm of a transpose", [f32([7, 4], 42), f32([7], 43)], (x, w) => op.rmsNorm(x!.T, w!)),
    of("crossEntropy", [f32([5, 7], 44, -4, 4)], (x) => op.crossEntropy(x!, labels)),
    of("crossEntropy, some ignored", [f32([5, 7], 45, -4, 4)], (x) =>
      op.crossEntropy(x!, some, { reduction: "sum" }),
    ),
    of("rope", [f32([2, 3, 2, 6], 46)], (x) => op.rope(x!, positions, frequencies)),
    of("rope, interleaved", [f32([2, 3, 2, 6], 47)], (x) =>
      op.rope(x!, positions, frequencies, { interleaved: true }),
    ),
    of("attention", qkv(5, 7, 2, 2, 4, 4), (q, k, v) => op.attention(q!, k!, v!)),
    of("causal grouped attention", qkv(7, 7, 4, 2, 6, 3), (q, k, v) =>
      op.attention(q!, k!, v!, { causal: true }),
    ),
    of("attention behind a cache", qkv(3, 9, 4, 1, 8, 8), (q, k, v) =>
      op.attention(q!, k!, v!, { causal: true, offset: 5 }),
    ),
    of("packed attention", qkv(7, 7, 4, 2, 8, 8), (q, k, v) =>
      op.attention(q!, k!, v!, { causal: true, mask }),
    ),
    of("attention that sees nothing", qkv(3, 3, 2, 1, 4, 4), (q, k, v) =>
      op.attention(q!, k!, v!, { causal: true, offset: -1 }),
    ),
    of("attention over 70 keys", qkv(70, 70, 2, 1, 16, 16), (q, k, v) =>
      op.attention(q!, k!, v!, { causal: true }),
    ),
    of(
      "scaledDotProductAttention",
      [f32([2, 3, 5, 4], 48), f32([2, 3, 5, 4], 49), f32([2, 3, 5, 4], 50)],
      (q, k, v) => op.scaledDotProductAttention(q!, k!, v!, { scale: 0.3 }),
    ),
  ];
}
