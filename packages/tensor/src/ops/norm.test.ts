import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, numbers } from "../../test/check-gradients.js";
import { applyMulti } from "../tensor.js";
import { tensor } from "./create.js";
import { add, cast, mul } from "./elementwise.js";
import { layerNorm, layerNormOp, rmsNorm, rmsNormOp } from "./norm.js";
import { reshape } from "./movement.js";

test("layer norm has mean 0 and variance 1 before the weight", () => {
  const x = draw([3, 5], 1, 2, 9);
  const y = numbers(layerNorm(x, null, null, { eps: 0 }));
  for (let r = 0; r < 3; r++) {
    const row = y.slice(r * 5, r * 5 + 5);
    expectClose([row.reduce((a, b) => a + b), row.reduce((a, b) => a + b * b, 0) / 5], [0, 1]);
  }
});

test("layer norm applies weight and bias, each optional", () => {
  const [x, w, b] = [draw([2, 4], 2), draw([4], 3), draw([4], 4)];
  const unit = numbers(layerNorm(x));
  const [wn, bn] = [numbers(w), numbers(b)];
  expectClose(
    numbers(layerNorm(x, w, b)),
    unit.map((v, i) => v * wn[i % 4]! + bn[i % 4]!),
  );
  expectClose(
    numbers(layerNorm(x, w)),
    unit.map((v, i) => v * wn[i % 4]!),
  );
  expectClose(
    numbers(layerNorm(x, null, b)),
    unit.map((v, i) => v + bn[i % 4]!),
  );
});

test("rms norm divides by the root of the mean square", () => {
  const x = tensor(
    [
      [3, 4],
      [0, 0],
    ],
    { dtype: "f64" },
  );
  const w = tensor([1, 2], { dtype: "f64" });
  const r = Math.sqrt(12.5 + 1e-6);
  expectClose(numbers(rmsNorm(x, w)), [3 / r, 8 / r, 0, 0]);
  expectClose(numbers(rmsNorm(x)), [3 / r, 4 / r, 0, 0]);
});

test("a constant row far from 0 keeps its variance in f32 statistics", () => {
  const x = tensor([1e4, 1e4 + 1, 1e4 + 2]);
  expectClose(numbers(layerNorm(x, null, null, { eps: 0 })), [-Math.sqrt(1.5), 0, Math.sqrt(1.5)]);
});

test("half floats come back as half floats", () => {
  const y = layerNorm(cast(tensor([1, 2, 4]), "bf16"), tensor([1, 1, 1]), tensor([0, 0, 0]));
  expect(y.dtype).toBe("bf16");
  expectClose(numbers(y), [-1.069, -0.2673, 1.3363], 5e-3);
});

test("gradients of both norms agree with differences, twice", () => {
  const at = [draw([2, 2, 4], 5), draw([4], 6, 0.5, 1.5), draw([4], 7)];
  checkGradients((x, w, b) => layerNorm(x!, w!, b!), at, { second: true });
  checkGradients((x) => layerNorm(x!), at.slice(0, 1), { second: true });
  checkGradients((x, w) => rmsNorm(x!, w!), at.slice(0, 2), { second: true });
  checkGradients((x, w) => rmsNorm(reshape(x!, [16]).slice([[0, 4]]), w!), at.slice(0, 2));
});

test("the statistics that the norms keep have gradients of their own", () => {
  checkGradients(
    (x) => {
      const [y, mu, r] = applyMulti(layerNormOp, [x!], { eps: 1e-5, affine: false });
      return add(mul(y!, reshape(mu!, [2, 1])), reshape(r!, [2, 1]));
    },
    [draw([2, 3], 8)],
    { second: true },
  );
  checkGradients(
    (x, w) => {
      const [y, r] = applyMulti(rmsNormOp, [x!, w!], { eps: 1e-5 });
      return mul(y!, reshape(r!, [2, 1]));
    },
    [draw([2, 3], 9), draw([3], 10)],
    { second: true },
  );
});

test("a weight of another size is named", () => {
  expect(() => rmsNorm(tensor([1, 2, 3]), tensor([1, 2]))).toThrow(
    /rmsNorm: expected weight and bias of shape \[3\], got \[2\]/,
  );
  expect(() => layerNorm(tensor([1, 2]), null, null, { eps: -1 })).toThrow(/eps to be a number ≥ 0, got -1/);
  expect(() =>
    layerNorm(
      tensor(
        [
          [1, 2],
          [3, 4],
        ],
        { dtype: "i32" },
      ),
    ),
  ).toThrow(/float dtype, got i32/);
});
