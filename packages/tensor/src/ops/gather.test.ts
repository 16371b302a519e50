import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { mul, square } from "./elementwise.js";
import { embedding, gather, oneHot, scatterAdd, scatterAddAlongAxis, take, takeAlongAxis } from "./gather.js";

const x = () =>
  tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { dtype: "f64" },
  );

test("take picks slices and gives the axes of the indices their place", () => {
  expectClose(numbers(take(x(), ints([1, 0, 1]))), [4, 5, 6, 1, 2, 3, 4, 5, 6]);
  const y = take(x(), ints([2, 0, 1, 1], [2, 2]), 1);
  expect(y.shape).toEqual([2, 2, 2]);
  expectClose(numbers(y), [3, 1, 2, 2, 6, 4, 5, 5]);
  expect(take(x(), ints([1], []), 1).shape).toEqual([2]);
});

test("an index outside reads 0, a negative one too, and scatters nowhere", () => {
  expectClose(numbers(take(x(), ints([-1, 2, 1]))), [0, 0, 0, 0, 0, 0, 4, 5, 6]);
  expectClose(numbers(takeAlongAxis(x(), ints([3, 0], [2, 1]))), [0, 4]);
  expectClose(numbers(scatterAdd(ints([-1, 0, 5]), tensor([1, 2, 3]), { size: 2 })), [2, 0]);
});

test("scatterAdd sums what meets at one place", () => {
  const updates = tensor(
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    { dtype: "f64" },
  );
  expectClose(numbers(scatterAdd(ints([2, 0, 2]), updates, { size: 3 })), [3, 4, 0, 0, 6, 8]);
  expectClose(numbers(scatterAdd(ints([1, 1]), updates, { axis: 1, size: 3 })), [0, 3, 0, 0, 7, 0, 0, 11, 0]);
  const along = scatterAddAlongAxis(ints([0, 0, 1, 0, 1, 1], [3, 2]), updates, { axis: 1, size: 2 });
  expectClose(numbers(along), [3, 0, 4, 3, 0, 11]);
});

test("takeAlongAxis and gather pick per place", () => {
  expectClose(numbers(takeAlongAxis(x(), ints([0, 2, 1, 1], [2, 2]))), [1, 3, 5, 5]);
  expectClose(numbers(takeAlongAxis(x(), ints([1, 0, 1], [1, 3]), 0)), [4, 2, 6]);
  expectClose(numbers(gather(x(), 0, ints([1, 0], [1, 2]))), [4, 2]);
});

test("oneHot and embedding are two ways to the same row", () => {
  const table = draw([4, 3], 1);
  const ids = ints([3, 1, 1]);
  expectClose(numbers(oneHot(ids, 4, { dtype: "f64" }).matmul(table)), numbers(embedding(table, ids)));
  expectClose(numbers(oneHot(ints([-1, 1]), 2)), [0, 0, 0, 1]);
});

test("gather and scatter are each other's gradient, twice", () => {
  const ids = ints([2, 0, 2, 1], [2, 2]);
  checkGradients((t) => square(take(t!, ids, 1)), [draw([2, 3, 2], 2)], { second: true });
  checkGradients((t) => square(scatterAdd(ids, t!, { axis: 1, size: 3 })), [draw([2, 2, 2], 3)], {
    second: true,
  });
  const along = ints([1, 1, 0, 2, 0, 2], [2, 3]);
  checkGradients((t) => mul(takeAlongAxis(t!, along), takeAlongAxis(t!, along)), [draw([2, 3], 4)], {
    second: true,
  });
  checkGradients((t) => square(scatterAddAlongAxis(along, t!, { size: 4 })), [draw([2, 3], 5)], {
    second: true,
  });
});

test("what does not fit is named", () => {
  expect(() => take(x(), tensor([0.5]))).toThrow(/take: expected indices of an integer dtype, got f32/);
  expect(() => take(x(), ints([0]), 2)).toThrow(/axis from -2 to 1, got 2/);
  expect(() => takeAlongAxis(x(), ints([0, 1, 1], [3, 1]))).toThrow(
    /takeAlongAxis: expected indices with the shape/,
  );
  expect(() => scatterAdd(ints([0, 1]), x(), { axis: 1, size: 3 })).toThrow(
    /scatterAdd: expected updates with axes \[2\]/,
  );
  expect(() => embedding(tensor([1, 2]), ints([0]))).toThrow(/embedding/);
});
