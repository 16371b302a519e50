import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { square } from "./elementwise.js";
import { argmax, argmin, argsort, sort, topK } from "./sort.js";

const NAN = Number.NaN;

test("sort orders with NaN last both ways and keeps the order of equals", () => {
  const x = tensor([3, NAN, 1, 3, -2], { dtype: "f64" });
  const up = sort(x);
  expectClose(numbers(up.values), [-2, 1, 3, 3, NAN]);
  expect(numbers(up.indices)).toEqual([4, 2, 0, 3, 1]);
  const down = sort(x, -1, { descending: true });
  expectClose(numbers(down.values), [3, 3, 1, -2, NAN]);
  expect(numbers(down.indices)).toEqual([0, 3, 2, 4, 1]);
  expect(down.indices.dtype).toBe("i32");
});

test("infinities sort as numbers", () => {
  const x = tensor([Infinity, 0, -Infinity, Infinity], { dtype: "f64" });
  expect(numbers(argsort(x))).toEqual([2, 1, 0, 3]);
  expect(numbers(argsort(x, 0, { descending: true }))).toEqual([0, 3, 1, 2]);
});

test("sort along another axis leaves the shape", () => {
  const y = sort(
    tensor(
      [
        [3, 1],
        [2, 5],
      ],
      { dtype: "f64" },
    ),
    0,
  );
  expectClose(numbers(y.values), [2, 1, 3, 5]);
  expect(numbers(y.indices)).toEqual([1, 0, 0, 1]);
});

test("topK is the head of a sort", () => {
  const x = draw([2, 6], 1);
  const all = numbers(sort(x, -1, { descending: true }).values);
  expectClose(numbers(topK(x, 2).values), [...all.slice(0, 2), ...all.slice(6, 8)]);
  expect(numbers(topK(ints([5, 1, 4, 1]), 2, 0, { largest: false }).indices)).toEqual([1, 3]);
  expect(topK(x, 1, 0).values.shape).toEqual([1, 6]);
});

test("argmax and argmin take the first of equals and see NaN", () => {
  const x = tensor(
    [
      [1, 3, 3],
      [0, -1, -1],
    ],
    { dtype: "f64" },
  );
  expect(numbers(argmax(x, -1))).toEqual([1, 0]);
  expect(numbers(argmin(x, 1))).toEqual([0, 1]);
  expect(numbers(argmax(x, 0))).toEqual([0, 0, 0]);
  expect(numbers(argmax(x))).toEqual([1]);
  expect(argmin(x, 1, { keepDims: true }).shape).toEqual([2, 1]);
  expect(numbers(argmax(tensor([1, NAN, 2], { dtype: "f64" }), 0))).toEqual([1]);
});

test("gradients go back through the permutation, twice", () => {
  checkGradients((x) => square(sort(x!, 0).values), [draw([4, 2], 2)], { second: true });
  checkGradients((x) => square(topK(x!, 2).values), [draw([2, 4], 3)], { second: true });
});

test("k beyond the axis is refused", () => {
  expect(() => topK(tensor([1, 2]), 3)).toThrow(/topK: expected k to be an integer from 0 to 2/);
  expect(() => sort(tensor(1))).toThrow(/sort: expected a tensor with at least one axis/);
});
