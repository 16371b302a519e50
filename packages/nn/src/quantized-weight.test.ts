import {
  evaluate,
  gradients,
  key,
  normal,
  parameter,
  setDefaultBackend,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Embedding } from "./embedding.js";
import { Linear } from "./linear.js";
import { Module } from "./module.js";
import { QuantizedWeight } from "./quantized-weight.js";
import { Sequential } from "./sequential.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const near = async (got: Tensor, want: Tensor): Promise<void> => {
  const [a, b] = [await read(got), await read(want)];
  expect(got.shape).toEqual(want.shape);
  const size = Math.max(...b.map(Math.abs));
  for (const [i, x] of a.entries()) expect(Math.abs(x - b[i]!) / size).toBeLessThan(2e-6);
};

function coded(bits: 4 | 8, out = 6, columns = 64): QuantizedWeight {
  const bytes = (out * columns * bits) / 8;
  const codes = Array.from({ length: bytes }, (_, i) => ((i * 37) % 256) - (bits === 8 ? 128 : 0));
  const groups = [out, columns / 32];
  return new QuantizedWeight({
    codes: tensor(codes, { dtype: bits === 8 ? "i8" : "u8", shape: [out, bytes / out] }),
    scales: normal(groups, { key: key(1) }),
    mins: bits === 4 ? normal(groups, { key: key(2) }) : null,
    bits,
    groupSize: 32,
  });
}

class Tied extends Module {
  embed = new Embedding(6, 64);
  head = new Linear(64, 6, { bias: false });
  constructor() {
    super();
    this.head.weight = this.embed.weight;
  }
}

for (const bits of [4, 8] as const) {
  test(`layers on ${bits} bits compute what they do on the numbers, and so do gradients of x`, async () => {
    const weight = coded(bits);
    const linear = new Linear(64, 6, { bias: false });
    linear.weight = weight;
    const x = normal([3, 64], { key: key(3) });
    const dense = tensor(await read(weight.dense()), { shape: [6, 64] });
    await near(linear.forward(x), linear.withWeight(x, dense));
    const dx = (w: Tensor): Tensor => gradients(linear.withWeight(x, w).square().sum(), [x])[0]!;
    await near(dx(weight), dx(dense));
    const embedding = new Embedding(6, 64);
    embedding.weight = weight;
    const ids = tensor(
      [
        [5, 0],
        [2, 2],
      ],
      { dtype: "i32", shape: [2, 2] },
    );
    await near(embedding.forward(ids), embedding.withWeight(ids, dense));
    expect(embedding.forward(ids).dtype).toBe("f32");
  });
}

test("to others it is a frozen parameter of f32, and nothing keeps the matrix", async () => {
  const weight = coded(8);
  expect([weight.shape, weight.dtype, weight.size, weight.sizeBytes]).toEqual([
    [6, 64],
    "f32",
    384,
    384 + 48,
  ]);
  weight.trainable = true;
  expect(weight.trainable).toBe(false);
  const want = await read(weight.dense());
  expect(await read(weight)).toEqual(want);
  await evaluate(weight);
  expect(await read(weight.mul(2))).toEqual(want.map((w) => w * 2));
  weight.dense().dispose();
  expect(await read(weight)).toEqual(want);
  expect(() => weight.replace()).toThrow("replace: expected a parameter in numbers, got a weight in codes");
  expect(() => weight.assign()).toThrow("load the model with a dtype");
});

test("a tied head shares codes that are loaded, and goes back to numbers with it", async () => {
  const model = new Tied();
  const weight = coded(4);
  model.loadState(new Map([["embed.weight", weight]]));
  expect(model.head.weight).toBe(weight);
  expect([...model.state().keys()]).toEqual(["embed.weight"]);
  expect(model.countParameters()).toEqual({ total: 384, trainable: 0, share: 0 });
  expect([...model.unfreeze().trainableParameters()]).toEqual([]);
  model.loadState(new Map([["embed.weight", normal([6, 64], { key: key(4) })]]));
  expect(model.head.weight).toBe(model.embed.weight);
  expect(model.head.weight).not.toBeInstanceOf(QuantizedWeight);
});

test("codes are refused where a layer needs numbers, and where parts do not fit", () => {
  const linear = new Linear(64, 6);
  const bias = new Map([["bias", coded(8)]]);
  const bare = Object.assign(new Sequential(), { table: parameter(zeros([6, 64])) });
  expect(() => bare.loadState(new Map([["table", coded(8)]]))).toThrow("loadState, table: expected numbers");
  expect(() => linear.loadState(bias, { strict: false })).toThrow("1 of another shape (bias [6, 64]");
  const { codes, scales } = coded(8);
  expect(() => new QuantizedWeight({ codes, scales, bits: 8, groupSize: 16 })).toThrow(
    "scales of shape [6, 4]",
  );
});
