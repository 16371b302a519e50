import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { cast } from "./elementwise.js";
import { logSoftmax, softmax } from "./softmax.js";
import { gradients } from "../autograd.js";

const INF = Number.POSITIVE_INFINITY;

test("softmax divides exponentials by their sum and survives large numbers", () => {
  const e = Math.E;
  expectClose(numbers(softmax(tensor([0, 1], { dtype: "f64" }))), [1 / (1 + e), e / (1 + e)]);
  expectClose(numbers(softmax(tensor([1e4, 1e4 - 1], { dtype: "f64" }))), [e / (1 + e), 1 / (1 + e)]);
});

test("a row of minus infinity gives zeros, and one such element gets nothing", () => {
  const x = tensor(
    [
      [-INF, -INF],
      [-INF, 3],
    ],
    { dtype: "f64" },
  );
  expectClose(numbers(softmax(x)), [0, 0, 0, 1]);
  expectClose(numbers(logSoftmax(x)), [-INF, -INF, -INF, 0]);
  expectClose(numbers(gradients(softmax(x), [x], draw([2, 2], 1))[0]!), [0, 0, 0, 0]);
});

test("softmax over another axis is softmax of the moved tensor", () => {
  const x = draw([3, 4], 2);
  expectClose(numbers(softmax(x, 0)), numbers(softmax(x.T).T));
});

test("log softmax is the logarithm of softmax", () => {
  const x = draw([3, 4], 3, -5, 5);
  expectClose(numbers(logSoftmax(x)), numbers(softmax(x)).map(Math.log));
});

test("half floats are normalized in f32 and rounded once", () => {
  const x = cast(tensor([1, 2, 3]), "f16");
  const y = softmax(x);
  expect(y.dtype).toBe("f16");
  expectClose(numbers(y), [0.09003, 0.24473, 0.66524], 5e-4);
});

test("gradients and their gradients agree with differences", () => {
  checkGradients((x) => softmax(x!), [draw([2, 4], 4)], { second: true });
  checkGradients((x) => softmax(x!, 0), [draw([3, 2], 5)]);
  checkGradients((x) => logSoftmax(x!), [draw([2, 4], 6)], { second: true });
});
