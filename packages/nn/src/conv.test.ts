import { readFileSync } from "node:fs";
import { gradients, key, normal, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Conv1d, Conv2d } from "./conv.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

interface Numbers {
  shape: number[];
  data: number[];
}

interface Case {
  layer: "Conv1d" | "Conv2d";
  arguments: Record<string, unknown>;
  weight: Numbers;
  bias: Numbers | null;
  x: Numbers;
  y: Numbers;
  g: Numbers;
  grads: { x: Numbers; weight: Numbers; bias: Numbers | null };
}

const { cases } = JSON.parse(readFileSync(new URL("../test/goldens/conv.json", import.meta.url), "utf8")) as {
  cases: Case[];
};

const from = ({ data, shape }: Numbers): Tensor => tensor(data, { dtype: "f64", shape });

async function near(got: Tensor, want: Numbers): Promise<void> {
  expect(got.shape).toEqual(want.shape);
  const data = await got.data();
  for (const [i, y] of want.data.entries()) expect(data[i]).toBeCloseTo(y, 7);
}

function layerOf({ layer, arguments: given, weight, bias }: Case): Conv1d | Conv2d {
  const { in_channels, out_channels, kernel_size, ...options } = given;
  const Layer = layer === "Conv1d" ? Conv1d : Conv2d;
  const made = new Layer(in_channels as number, out_channels as number, kernel_size as never, {
    ...options,
    dtype: "f64",
  });
  const values = new Map([["weight", from(weight)]]);
  if (bias) values.set("bias", from(bias));
  made.loadState(values);
  return made;
}

const named = cases.map((c): [string, Case] => [`${c.layer} ${JSON.stringify(c.arguments)}`, c]);

describe.each(named)("%s, against PyTorch", (_, c) => {
  test("the result and its gradients agree", async () => {
    const layer = layerOf(c);
    const x = from(c.x);
    const y = layer.forward(x);
    const wanted = [x, layer.weight, ...(layer.bias ? [layer.bias] : [])];
    const [dx, dw, db] = gradients(y.mul(from(c.g)).sum(), wanted);
    await near(y, c.y);
    await near(dx!, c.grads.x);
    await near(dw!, c.grads.weight);
    if (c.grads.bias) await near(db!, c.grads.bias);
  });

  test("the weight as a matrix computes the same, and is stored as it was", async () => {
    const layer = layerOf(c);
    const matrix = layer.denseWeight();
    expect(matrix.ndim).toBe(2);
    await near(layer.withWeight(from(c.x), matrix), c.y);
    await near(layer.asStored(matrix), c.weight);
  });
});

test("the random start lies within ±1/√(weights of a filter), as in PyTorch", async () => {
  const layer = new Conv2d(8, 64, 3, { groups: 2, key: key(0) });
  const bound = 36 ** -0.5;
  for (const p of [layer.weight, layer.bias!]) {
    const data = Array.from(await p.data(), Math.abs);
    expect(Math.max(...data)).toBeLessThanOrEqual(bound);
    expect(Math.max(...data)).toBeGreaterThan(0.9 * bound);
  }
});

test("filters of another dtype are widened to that of the input", async () => {
  const layer = new Conv1d(2, 3, 2, { key: key(1), dtype: "f16" });
  const y = layer.forward(normal([1, 2, 4], { key: key(2) }));
  expect([y.dtype, y.shape]).toEqual(["f32", [1, 3, 3]]);
});

test("what does not fit is refused with the numbers", () => {
  expect(() => new Conv2d(3, 4, 3).forward(normal([2, 4, 5, 5], { key: key(1) }))).toThrow(
    /Conv2d: expected an input of shape \[N, 3, H, W\], got \[2, 4, 5, 5\]/,
  );
  expect(() => new Conv1d(3, 4, 3).forward(normal([3, 5], { key: key(1) }))).toThrow(/\[N, 3, L\]/);
  expect(() => new Conv2d(3, 4, 3, { groups: 2 })).toThrow(/multiples of groups, got 3 and 4 for 2/);
  expect(() => new Conv1d(3, 4, 0)).toThrow(/kernelSize to be an integer ≥ 1, got 0/);
});
