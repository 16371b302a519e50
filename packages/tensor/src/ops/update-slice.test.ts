import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { square } from "./elementwise.js";
import { updateSlice } from "./update-slice.js";

const base = () =>
  tensor(
    [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    { dtype: "f64" },
  );

test("the value replaces what stood there", () => {
  expectClose(numbers(updateSlice(base(), tensor([[7, 8]], { dtype: "f64" }), 1)), [1, 2, 7, 8, 5, 6]);
  expectClose(numbers(updateSlice(base(), tensor([[7], [8], [9]]), ints([1], []), 1)), [1, 7, 3, 8, 5, 9]);
});

test("rows outside are left out", () => {
  const two = tensor(
    [
      [7, 8],
      [9, 10],
    ],
    { dtype: "f64" },
  );
  expectClose(numbers(updateSlice(base(), two, 2)), [1, 2, 3, 4, 7, 8]);
  expectClose(numbers(updateSlice(base(), two, -1)), [9, 10, 3, 4, 5, 6]);
});

test("gradients reach what is left of the base and the value, twice", () => {
  for (const start of [0, 1, 2]) {
    checkGradients(
      (a, b) => square(updateSlice(a!, b!, start, 1)),
      [draw([2, 3, 2], 1), draw([2, 2, 2], 2)],
      { second: true },
    );
  }
});

test("a value that does not fit is named", () => {
  expect(() => updateSlice(base(), tensor([[1, 2, 3]]), 0)).toThrow(
    /updateSlice: expected value of shape \[1, 2\], got \[1, 3\]/,
  );
  expect(() => updateSlice(base(), tensor([[1], [2], [3], [4]]), 0)).toThrow(/updateSlice/);
});
