import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { concat, split, stack } from "./concat.js";
import { tensor, zeros } from "./create.js";
import { square } from "./elementwise.js";

test("concat joins along an axis and promotes", () => {
  const y = concat([
    tensor([[1, 2]], { dtype: "f64" }),
    tensor(
      [
        [3, 4],
        [5, 6],
      ],
      { dtype: "f64" },
    ),
  ]);
  expectClose(numbers(y), [1, 2, 3, 4, 5, 6]);
  const z = concat([ints([1, 2], [2, 1]), tensor([[0.5], [1.5]])], -1);
  expect(z.dtype).toBe("f32");
  expectClose(numbers(z), [1, 0.5, 2, 1.5]);
  expect(concat([zeros([2, 0]), zeros([2, 3])], 1).shape).toEqual([2, 3]);
});

test("split undoes concat", () => {
  const x = draw([2, 5, 3], 1);
  const parts = split(x, [1, 0, 4], 1);
  expect(parts.map((p) => p.shape[1])).toEqual([1, 0, 4]);
  expectClose(numbers(concat(parts, 1)), numbers(x));
  expect(split(draw([4, 6], 2), 3, 1).map((p) => p.shape)).toEqual([
    [4, 2],
    [4, 2],
    [4, 2],
  ]);
});

test("stack makes a new axis", () => {
  const [a, b] = [ints([1, 2]), ints([3, 4])];
  expectClose(numbers(stack([a, b])), [1, 2, 3, 4]);
  expectClose(numbers(stack([a, b], -1)), [1, 3, 2, 4]);
});

test("gradients are cut where the parts were joined, twice", () => {
  checkGradients((a, b) => square(concat([a!, b!, a!], 1)), [draw([2, 1], 3), draw([2, 2], 4)], {
    second: true,
  });
  checkGradients((a) => square(stack(split(a!, 2))), [draw([4], 5)], { second: true });
});

test("parts that do not fit are named", () => {
  expect(() => concat([tensor([[1]]), tensor([[1, 2]])])).toThrow(
    /concat: expected shapes equal to \[1, 1\] except along axis 0, got \[1, 2\]/,
  );
  expect(() => concat([])).toThrow(/concat: expected at least one tensor/);
  expect(() => split(tensor([1, 2, 3]), 2)).toThrow(
    /split: expected a number of sections that divides 3, got 2/,
  );
  expect(() => split(tensor([1, 2, 3]), [1, 1])).toThrow(/add up to 3/);
  expect(() => stack([tensor([1]), tensor([1, 2])])).toThrow(/stack: expected every tensor of shape \[1\]/);
});
