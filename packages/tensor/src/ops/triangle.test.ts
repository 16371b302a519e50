import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { tril, triu } from "./triangle.js";

const m = () =>
  tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { dtype: "f64" },
  );

test("tril and triu keep one side of a diagonal", () => {
  expectClose(numbers(tril(m())), [1, 0, 0, 4, 5, 0]);
  expectClose(numbers(tril(m(), 1)), [1, 2, 0, 4, 5, 6]);
  expectClose(numbers(triu(m())), [1, 2, 3, 0, 5, 6]);
  expectClose(numbers(triu(m(), 1)), [0, 2, 3, 0, 0, 6]);
  expectClose(numbers(triu(m(), -1)), [1, 2, 3, 4, 5, 6]);
});

test("a triangle passes gradients of what it keeps", () => {
  checkGradients((x) => tril(x!), [draw([2, 3, 3], 1)]);
  checkGradients((x) => triu(x!, 1), [draw([3, 4], 2)]);
});

test("a vector has no triangle", () => {
  expect(() => tril(tensor([1, 2]))).toThrow(/tril: expected matrices/);
});
