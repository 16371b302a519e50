import { beforeAll, expect, test } from "vitest";
import { gradients } from "../autograd.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import type { Tensor } from "../tensor.js";
import { elu, gelu, geluTanh, leakyRelu, relu, silu, softplus } from "./activation.js";
import { tensor } from "./create.js";
import { erf, erfinv, logaddexp, round } from "./math.js";

beforeAll(() => setDefaultBackend(reference()));

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const f64 = { dtype: "f64" } as const;

async function close(t: Tensor, expected: readonly number[], digits = 10): Promise<void> {
  const got = await numbers(t);
  expect(got.length).toBe(expected.length);
  for (const [i, x] of expected.entries()) expect(got[i]).toBeCloseTo(x, digits);
}

// Tables 7.1 and 26.1 of Abramowitz and Stegun.
test("the error function and its inverse agree with the tables", async () => {
  await close(
    erf(tensor([0, 0.5, 1, 2, -1], f64)),
    [0, 0.5204998778, 0.8427007929, 0.995322265, -0.8427007929],
    9,
  );
  const y = tensor([-0.999999, -0.9, -0.3, 0, 1e-9, 0.5, 0.95, 0.9999999999], f64);
  await close(erf(erfinv(y)), await numbers(y), 14);
  expect(await numbers(erfinv(tensor([1, -1, 2])))).toEqual([
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
  ]);
});

test("gelu weighs by the normal distribution, its approximation comes within 5e-4", async () => {
  const x = tensor([-3, -1, 0, 1, 3], f64);
  const cdf = [0.0013498980316, 0.1586552539315, 0.5, 0.8413447460685, 0.9986501019684]; // Φ, table 26.1
  await close(
    gelu(x),
    [-3, -1, 0, 1, 3].map((v, i) => v * cdf[i]!),
    9,
  );
  const [exact, approximate] = [await numbers(gelu(x)), await numbers(geluTanh(x))];
  for (const [i, e] of exact.entries()) expect(Math.abs(e - approximate[i]!)).toBeLessThan(5e-4);
});

test("activations and their gradients at 0 and far out", async () => {
  const x = tensor([-200, -1, 0, 1, 200]);
  expect(await numbers(relu(x))).toEqual([0, 0, 0, 1, 200]);
  expect(await numbers(gradients(relu(x).sum(), [x])[0]!)).toEqual([0, 0, 0, 1, 1]);
  const plus = await numbers(softplus(x));
  expect(plus[0]).toBeCloseTo(0, 6);
  expect(plus[2]).toBeCloseTo(Math.LN2, 6);
  expect(plus[4]).toBe(200);
  expect((await numbers(silu(x)))[4]).toBe(200);
  const slopes = await numbers(gradients(silu(x).sum(), [x])[0]!);
  for (const [i, s] of [0, 0.0723295, 0.5, 0.9276705, 1].entries()) expect(slopes[i]).toBeCloseTo(s, 5);
  await close(leakyRelu(x, 0.1), [-20, -0.1, 0, 1, 200], 5);
  await close(elu(x), [-1, Math.expm1(-1), 0, 1, 200], 6);
  const grads = await numbers(gradients(elu(x).sum(), [x])[0]!);
  expect(grads[4]).toBe(1); // e²⁰⁰ is not in the way
});

test("halves are rounded once", async () => {
  const x = tensor([-6, -5.5, 1.25], { dtype: "f16" });
  expect(await numbers(geluTanh(x))).toEqual(await numbers(geluTanh(x.astype("f64")).astype("f16")));
});

test("round takes halves to the even side", async () => {
  expect(await numbers(round(tensor([0.5, 1.5, 2.5, -0.5, -1.5, 2.4])))).toEqual([0, 2, 2, -0, -2, 2]);
});

test("logaddexp neither overflows nor loses infinities", async () => {
  const inf = Number.POSITIVE_INFINITY;
  const [a, b] = [tensor([1000, -inf, -inf, 0]), tensor([1000, 3, -inf, 0])];
  const [da] = gradients(
    logaddexp(a, b)
      .slice([[0, 2]])
      .sum(),
    [a],
  );
  const y = await numbers(logaddexp(a, b));
  expect(y[0]).toBeCloseTo(1000 + Math.LN2, 3);
  expect(y.slice(1, 3)).toEqual([3, -inf]);
  expect(await numbers(da!)).toEqual([0.5, 0, 0, 0]);
});
