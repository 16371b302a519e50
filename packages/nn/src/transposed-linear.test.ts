import { key, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { Linear } from "./linear.js";
import { TransposedLinear } from "./transposed-linear.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

// Square too, where a weight the wrong way around would fit.
test.each([
  [3, 5],
  [4, 4],
])("%d to %d is the linear layer with the weight transposed", async (inFeatures, outFeatures) => {
  const linear = new Linear(inFeatures, outFeatures, { key: key(1) });
  const other = new TransposedLinear(inFeatures, outFeatures);
  other.loadState(
    new Map<string, Tensor>([
      ["weight", linear.weight.T],
      ["bias", linear.bias!],
    ]),
  );
  const x = normal([2, inFeatures], { key: key(2) });
  const near = async (a: Tensor, b: Tensor): Promise<void> => {
    const [one, two] = [await read(a), await read(b)];
    expect(one.length).toBe(two.length);
    for (const [i, y] of one.entries()) expect(y).toBeCloseTo(two[i]!, 6);
  };
  await near(other.forward(x), linear.forward(x));
  await near(other.denseWeight(), linear.weight);
  const weight = normal([outFeatures, inFeatures], { key: key(3) });
  await near(other.withWeight(x, weight), linear.withWeight(x, weight));
  await near(other.asStored(weight), weight.T);
});

test("an input of another width is refused", () => {
  expect(() => new TransposedLinear(3, 5).forward(normal([2, 4], { key: key(1) }))).toThrow(
    /an input of shape \[\.\.\., 3\], got \[2, 4\]/,
  );
});
