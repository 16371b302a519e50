import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import { accuracyOf, errorOf, FUNCTIONS } from "./accuracy.js";

let backend: Backend;
beforeAll(async () => {
  backend = await wasm({ threads: 1 });
});
afterAll(() => backend.dispose());

describe("functions of f32 keep their error bounds over all of f32", () => {
  for (const [name, { bound }] of Object.entries(FUNCTIONS)) {
    test(`${name} within ${bound} units in the last place`, async () => {
      const { worst, at, got, expected } = await accuracyOf(backend, name, 20000);
      expect(worst, `${name}(${at}) gave ${got}, not ${expected}`).toBeLessThanOrEqual(bound);
    });
  }
});

test("the error of a number is counted in units of its last place", () => {
  expect(errorOf(1 + 2 ** -23, 1)).toBe(1);
  expect(errorOf(1, 1 + 2 ** -25)).toBe(0.25);
  expect(errorOf(2 ** -149, 0)).toBe(1);
  expect(errorOf(Number.POSITIVE_INFINITY, 1e300)).toBe(0);
  expect(errorOf(Number.NaN, 1)).toBe(Number.POSITIVE_INFINITY);
  expect(errorOf(1, Number.NaN)).toBe(Number.POSITIVE_INFINITY);
});
