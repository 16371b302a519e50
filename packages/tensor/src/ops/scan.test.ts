import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { tensor, zeros } from "./create.js";
import { square } from "./elementwise.js";
import { cumsum } from "./scan.js";

test("cumsum runs along an axis, from either end", () => {
  const x = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { dtype: "f64" },
  );
  expectClose(numbers(cumsum(x)), [1, 3, 6, 4, 9, 15]);
  expectClose(numbers(cumsum(x, 0)), [1, 2, 3, 5, 7, 9]);
  expectClose(numbers(cumsum(x, 1, { reverse: true })), [6, 5, 3, 15, 11, 6]);
  expectClose(numbers(cumsum(zeros([2, 0]))), []);
});

test("bools count", () => {
  const y = cumsum(tensor([true, false, true]));
  expect(y.dtype).toBe("i32");
  expectClose(numbers(y), [1, 1, 2]);
  expect(cumsum(ints([1, 2])).dtype).toBe("i32");
});

test("the gradient runs the other way, twice", () => {
  checkGradients((x) => square(cumsum(x!, 0)), [draw([3, 2], 1)], { second: true });
  checkGradients((x) => square(cumsum(x!, 1, { reverse: true })), [draw([2, 3], 2)], { second: true });
});

test("a scalar has no axis", () => {
  expect(() => cumsum(tensor(1))).toThrow(/cumsum/);
});
