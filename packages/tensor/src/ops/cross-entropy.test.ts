import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { gradients } from "../autograd.js";
import { applyMulti } from "../tensor.js";
import { crossEntropy, crossEntropyOp } from "./cross-entropy.js";
import { tensor } from "./create.js";
import { add, mul } from "./elementwise.js";
import { logSoftmax } from "./softmax.js";

test("cross-entropy is the negative log softmax at the label", () => {
  const logits = draw([2, 3, 5], 1, -4, 4);
  const labels = [4, 0, 1, 2, 2, 3];
  const all = numbers(logSoftmax(logits));
  const want = labels.map((l, i) => -all[i * 5 + l]!);
  expectClose(numbers(crossEntropy(logits, ints(labels, [2, 3]), { reduction: "none" })), want);
  const total = want.reduce((a, b) => a + b);
  expectClose(numbers(crossEntropy(logits, ints(labels, [2, 3]), { reduction: "sum" })), [total]);
  expectClose(numbers(crossEntropy(logits, ints(labels, [2, 3]))), [total / 6]);
});

test("uniform logits cost the logarithm of the vocabulary", () => {
  expectClose(numbers(crossEntropy(tensor([[7, 7, 7, 7]], { dtype: "f64" }), ints([2]))), [Math.log(4)]);
});

test("ignored labels count for nothing, in the loss, its mean and its gradient", () => {
  const logits = draw([3, 4], 2);
  const labels = ints([1, -100, 3]);
  const rows = numbers(crossEntropy(logits, labels, { reduction: "none" }));
  expect(rows[1]).toBe(0);
  expectClose(numbers(crossEntropy(logits, labels)), [(rows[0]! + rows[2]!) / 2]);
  const d = numbers(gradients(crossEntropy(logits, labels), [logits])[0]!);
  expect(d.slice(4, 8)).toEqual([0, 0, 0, 0]);
  const custom = crossEntropy(logits, ints([1, 0, 3]), { ignoreIndex: 0, reduction: "sum" });
  expectClose(numbers(custom), [rows[0]! + rows[2]!]);
});

test("when every label is ignored the loss is 0 and so is its gradient", () => {
  const logits = draw([2, 3], 3);
  const loss = crossEntropy(logits, ints([-100, -100]));
  expect(numbers(loss)).toEqual([0]);
  expect(numbers(gradients(loss, [logits])[0]!).map(Math.abs)).toEqual([0, 0, 0, 0, 0, 0]);
});

test("a masked logit of minus infinity costs nothing and large logits do not overflow", () => {
  const logits = tensor(
    [
      [-Infinity, 0, 0],
      [1e5, 0, 0],
    ],
    { dtype: "f64" },
  );
  expectClose(numbers(crossEntropy(logits, ints([1, 1]), { reduction: "none" })), [Math.log(2), 1e5]);
  const d = numbers(gradients(crossEntropy(logits, ints([1, 1]), { reduction: "sum" }), [logits])[0]!);
  expectClose(d, [0, -0.5, 0.5, 1, -1, 0]);
});

test("a label outside the vocabulary gives NaN instead of a wrong number", () => {
  const loss = numbers(crossEntropy(draw([2, 3], 4), ints([3, -1]), { reduction: "none" }));
  expect(loss).toEqual([Number.NaN, Number.NaN]);
});

test("gradients agree with differences, twice, also those of the log-sum-exp", () => {
  const labels = ints([2, -100, 0]);
  checkGradients((x) => crossEntropy(x!, labels), [draw([3, 4], 5)], { second: true });
  checkGradients(
    (x) => {
      const [loss, lse] = applyMulti(crossEntropyOp, [x!, labels], { ignoreIndex: -100 });
      return add(loss!, mul(lse!, lse!));
    },
    [draw([3, 4], 6)],
    { second: true },
  );
});

test("labels of another shape or dtype are named", () => {
  expect(() => crossEntropy(tensor([[1, 2]]), ints([0, 1]))).toThrow(
    /axes of labels, \[2\], before V, got \[1, 2\]/,
  );
  expect(() => crossEntropy(tensor([[1, 2]]), tensor([0.5]))).toThrow(/labels of an integer dtype, got f32/);
  expect(() => crossEntropy(tensor([[1, 2]]), ints([0]), { reduction: "avg" as "mean" })).toThrow(
    /reduction/,
  );
});
