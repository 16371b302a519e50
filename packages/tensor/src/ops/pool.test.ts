import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, numbers } from "../../test/check-gradients.js";
import { gradients } from "../autograd.js";
import { ones, tensor } from "./create.js";
import { square } from "./elementwise.js";
import { avgPool1d, avgPool2d, maxPool1d, maxPool2d } from "./pool.js";

const x = () =>
  tensor(
    [
      [
        [
          [1, 2, 3],
          [4, 5, 6],
          [7, 8, 9],
        ],
      ],
    ],
    { dtype: "f64" },
  );

test("windows are as wide as their stride unless told otherwise", () => {
  expectClose(numbers(maxPool2d(x(), 2)), [5]);
  expectClose(numbers(maxPool2d(x(), 2, { stride: 1 })), [5, 6, 8, 9]);
  expectClose(numbers(avgPool2d(x(), [1, 3])), [2, 5, 8]);
  expectClose(numbers(avgPool2d(x(), 2, { stride: 1 })), [3, 4, 6, 7]);
});

test("padding never wins a maximum and counts in an average if asked", () => {
  const low = tensor([[[-1, -2, -3]]], { dtype: "f64" });
  expectClose(numbers(maxPool1d(low, 2, { padding: 1 })), [-1, -2]);
  expectClose(numbers(avgPool1d(low, 2, { padding: 1 })), [-0.5, -2.5]);
  expectClose(numbers(avgPool1d(low, 2, { padding: 1, countIncludePad: false })), [-1, -2.5]);
});

test("equal largest numbers share the gradient", () => {
  const flat = ones([1, 1, 2, 2], { dtype: "f64" });
  const at = flat.add(0);
  expectClose(numbers(gradients(maxPool2d(at, 2), [at])[0]!), [0.25, 0.25, 0.25, 0.25]);
});

test("gradients agree with differences, twice", () => {
  const at = [draw([2, 2, 4, 5], 1)];
  checkGradients((t) => square(maxPool2d(t!, [2, 3], { stride: [2, 1], padding: [1, 0] })), at, {
    second: true,
  });
  checkGradients((t) => square(avgPool2d(t!, 3, { stride: 2, padding: 1, countIncludePad: false })), at, {
    second: true,
  });
});

test("a padding as wide as the window is refused", () => {
  expect(() => maxPool2d(x(), 2, { padding: 2 })).toThrow(
    /maxPool2d: expected padding smaller than the window \(2\), got 2/,
  );
});
