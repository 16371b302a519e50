import { beforeAll, expect, test } from "vitest";
import "../evaluate.js";
import { gradients } from "../autograd.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import type { Tensor } from "../tensor.js";
import { tensor, zeros } from "./create.js";
import { all, any, logsumexp, max, mean, min, norm, prod, std, sum, variance } from "./reduce.js";

beforeAll(() => setDefaultBackend(reference()));

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const x23 = () =>
  tensor([
    [1, 5, 3],
    [4, 2, 6],
  ]);

test("reductions drop their axes or keep them with size 1", async () => {
  expect(await sum(x23(), 0).toArray()).toEqual([5, 7, 9]);
  expect(await max(x23(), -1, { keepDims: true }).toArray()).toEqual([[5], [6]]);
  expect(await min(x23()).item()).toBe(1);
  expect(await mean(x23(), [0, 1]).item()).toBe(3.5);
  expect(sum(tensor([true, true])).dtype).toBe("i32");
  expect(await sum(tensor([true, true, false])).item()).toBe(2);
});

test("nothing sums to 0, multiplies to 1, and has no maximum", async () => {
  expect(await numbers(sum(zeros([2, 0]), 1))).toEqual([0, 0]);
  expect(await numbers(prod(zeros([2, 0]), 1))).toEqual([1, 1]);
  expect(() => max(zeros([2, 0]), 1)).toThrow(
    "max: expected at least one element along the axes, got shape [2, 0]",
  );
  expect(max(zeros([2, 0]), 0).shape).toEqual([0]);
});

test("the sum of half floats is rounded once", async () => {
  const x = tensor(new Array(4096).fill(1).concat([0.5]), { dtype: "f16" });
  expect(await sum(x).item()).toBe(4096);
  const many = tensor(new Array(70000).fill(2), { dtype: "f16" });
  expect(await mean(many).item()).toBe(2); // the sum would be infinite in f16
});

test("equal largest elements share the gradient", async () => {
  const x = tensor([
    [3, 3, 1],
    [2, 5, 2],
  ]);
  const [dx] = gradients(max(x, 1).sum(), [x]);
  expect(await dx!.toArray()).toEqual([
    [0.5, 0.5, 0],
    [0, 1, 0],
  ]);
});

// ∂/∂xᵢ Π x = Π_{j≠i} xⱼ, and ∂²/∂xᵢ∂xⱼ = Π_{k≠i,j} x_k also where factors are 0.
test("the gradient of a product is right twice with no, one and two zeros", async () => {
  const x = tensor([
    [2, 3, 5],
    [0, 3, 5],
    [0, 0, 5],
  ]);
  const [dx] = gradients(prod(x, 1).sum(), [x]);
  const [second] = gradients(dx!.slice([null, 0]).sum(), [x]);
  expect(await dx!.toArray()).toEqual([
    [15, 10, 6],
    [15, 0, 0],
    [0, 0, 0],
  ]);
  expect(await second!.toArray()).toEqual([
    [0, 5, 3],
    [0, 5, 3],
    [0, 5, 0],
  ]);
});

test("logsumexp neither overflows nor turns -∞ into NaN", async () => {
  const inf = Number.POSITIVE_INFINITY;
  const x = tensor([
    [1000, 1000],
    [-inf, 0],
    [-inf, -inf],
  ]);
  const y = logsumexp(x, 1);
  const [dx] = gradients(
    y
      .slice([[0, 2]])
      .sum()
      .add(y.slice([2])),
    [x],
  );
  const [a, b, c] = await numbers(y);
  expect(a).toBeCloseTo(1000 + Math.log(2), 3);
  expect([b, c]).toEqual([0, -inf]);
  expect(await dx!.toArray()).toEqual([
    [0.5, 0.5],
    [0, 1],
    [0, 0],
  ]);
});

test("variance, standard deviation and norm, with gradient 0 where they are 0", async () => {
  expect(await variance(tensor([1, 2, 3, 4])).item()).toBe(1.25);
  expect(await variance(tensor([1, 2, 3, 4]), 0, { correction: 1 }).item()).toBeCloseTo(5 / 3, 6);
  const x = tensor([2, 2, 2]);
  expect(await numbers(gradients(std(x), [x])[0]!)).toEqual([0, 0, 0]);
  const z = zeros([3]);
  expect(await numbers(gradients(norm(z), [z])[0]!)).toEqual([0, 0, 0]);
  expect(await norm(tensor([3, -4])).item()).toBe(5);
  expect(await norm(tensor([3, -4]), 0, { ord: 1 }).item()).toBe(7);
  expect(await norm(tensor([3, -4]), 0, { ord: Number.POSITIVE_INFINITY }).item()).toBe(4);
});

test("all and any count nothing as true and false", async () => {
  expect(
    await numbers(
      all(
        tensor([
          [1, 0],
          [1, 1],
        ]),
        1,
      ),
    ),
  ).toEqual([0, 1]);
  expect(
    await numbers(
      any(
        tensor([
          [0, 0],
          [0, 1],
        ]),
        1,
      ),
    ),
  ).toEqual([0, 1]);
  expect([await all(zeros([0])).item(), await any(zeros([0])).item()]).toEqual([1, 0]);
});
