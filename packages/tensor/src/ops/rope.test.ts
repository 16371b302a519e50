import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { mul } from "./elementwise.js";
import { slice } from "./movement.js";
import { sum } from "./reduce.js";
import { inverseFrequencies, rope } from "./rope.js";

const freq = () => tensor([1, 0.25], { dtype: "f64" });

test("each pair turns by position times frequency", () => {
  const x = tensor([[[[1, 2, 3, 4]]]], { dtype: "f64" });
  const [p, f] = [3, [1, 0.25]];
  const turn = (a: number, b: number, i: number) => {
    const t = p * f[i]!;
    return [a * Math.cos(t) - b * Math.sin(t), b * Math.cos(t) + a * Math.sin(t)];
  };
  const [a0, b0] = turn(1, 3, 0);
  const [a1, b1] = turn(2, 4, 1);
  expectClose(numbers(rope(x, ints([p]), freq())), [a0!, a1!, b0!, b1!]);
  expectClose(numbers(rope(x, ints([p]), freq(), { interleaved: true })), [
    ...turn(1, 2, 0),
    ...turn(3, 4, 1),
  ]);
});

// Section 3.4.3 of the paper: the product depends on the distance only.
test("scores of turned vectors depend on the difference of positions", () => {
  const [q, k] = [draw([1, 1, 1, 4], 1), draw([1, 1, 1, 4], 2)];
  const score = (i: number, j: number) =>
    numbers(sum(mul(rope(q, ints([i]), freq()), rope(k, ints([j]), freq()))));
  expectClose(score(7, 3), score(104, 100));
});

test("positions may differ between rows of a batch", () => {
  const x = draw([2, 3, 2, 4], 3);
  const both = rope(x, ints([0, 1, 2, 5, 6, 7], [2, 3]), freq());
  const second = rope(slice(x, [[1, 2]]), ints([5, 6, 7]), freq());
  expectClose(numbers(slice(both, [[1, 2]])), numbers(second));
});

test("fewer frequencies leave the rest of a head alone", () => {
  const x = draw([1, 2, 1, 6], 4);
  const y = rope(x, ints([1, 2]), freq());
  const tail = [null, null, null, [4, 6]] as const;
  expectClose(numbers(slice(y, tail)), numbers(slice(x, tail)));
  const head = [null, null, null, [0, 4]] as const;
  expectClose(numbers(slice(y, head)), numbers(rope(slice(x, head), ints([1, 2]), freq())));
});

test("inverse frequencies are powers of theta, scaled as a config says", () => {
  expectClose(numbers(inverseFrequencies(4)), [1, 0.01], 1e-7);
  expectClose(
    numbers(inverseFrequencies(4, { theta: 16, scaling: { type: "linear", factor: 2 } })),
    [0.5, 0.125],
    1e-7,
  );
  const llama = inverseFrequencies(4, {
    theta: 1e8,
    scaling: {
      type: "llama3",
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalPositions: 8192,
    },
  });
  // 1304 turns within the old context: kept. 0.13 turns: divided by the factor.
  expectClose(numbers(llama), [1, 1e-4 / 8], 1e-7);
});

test("gradients agree with differences, twice, those of the frequencies too", () => {
  const at = [draw([2, 3, 2, 4], 5), freq()];
  for (const interleaved of [false, true]) {
    checkGradients((x, f) => rope(x!, ints([0, 1, 2, 4, 5, 6], [2, 3]), f!, { interleaved }), at, {
      second: true,
    });
  }
});

test("what does not fit is named", () => {
  const x = draw([1, 2, 1, 4], 6);
  expect(() => rope(x, ints([1]), freq())).toThrow(
    /rope: expected positions of shape \[1, 2\], got \[1, 1\]/,
  );
  expect(() => rope(x, ints([0, 1]), tensor([1, 2, 3]))).toThrow(
    /inverseFrequencies of shape \[2\], got \[3\]/,
  );
  expect(() => inverseFrequencies(3)).toThrow(/dim to be an even integer > 0, got 3/);
});
