import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "@lowrank/tensor";
import { accuracyOf, backendOf, errorOf, FUNCTIONS, patterns, sampleOf } from "./accuracy.js";

/** A prime: 1,049,866 of the 2³² patterns, beside the edges. */
const STRIDE = 4091;

for (const binary of ["relaxed", "plain"] as const) {
  describe(`functions of f32 keep their error bounds over all of f32, ${binary} kernels`, () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await backendOf(binary);
    });
    afterAll(() => backend.dispose());

    for (const [name, { bound }] of Object.entries(FUNCTIONS)) {
      test(`${name} within ${bound} units in the last place`, async () => {
        const { worst, at, got, expected, samples } = await accuracyOf(backend, name, sampleOf(name, STRIDE));
        expect(samples).toBeGreaterThan(1e6);
        expect(worst, `${name}(${at}) gave ${got}, not ${expected}`).toBeLessThanOrEqual(bound);
      });
    }
  });
}

test("no bound is above 2", () => {
  for (const [name, { bound }] of Object.entries(FUNCTIONS)) expect(bound, name).toBeLessThanOrEqual(2);
});

test("the error of a number is counted in units of its last place", () => {
  expect(errorOf(1 + 2 ** -23, 1)).toBe(1);
  expect(errorOf(1, 1 + 2 ** -25)).toBe(0.25);
  expect(errorOf(1 - 2 ** -24, 1 - 2 ** -25)).toBe(0.5);
  expect(errorOf(2 ** -149, 0)).toBe(1);
  expect(errorOf(-0, 0)).toBe(Number.POSITIVE_INFINITY);
  expect(errorOf(Number.POSITIVE_INFINITY, 1e300)).toBe(0);
  expect(errorOf(Number.NaN, 1)).toBe(Number.POSITIVE_INFINITY);
  expect(errorOf(1, Number.NaN)).toBe(Number.POSITIVE_INFINITY);
});

test("a stride visits its share of all patterns, up to the last", () => {
  let [count, last] = [0, 0];
  for (const [xs] of patterns(65537)) {
    count += xs.length;
    last = new Uint32Array(xs.buffer).at(-1)!;
  }
  expect(count).toBe(Math.ceil(2 ** 32 / 65537));
  expect(last).toBe((count - 1) * 65537);
});
