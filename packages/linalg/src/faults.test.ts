import { expect, test } from "vitest";
import { NumericalError } from "./errors.js";
import {
  noConvergence,
  notFinite,
  notInDomain,
  notPositiveDefinite,
  notSymmetric,
  singular,
} from "./faults.js";

test("a fault names its matrix by the place along the leading axes", () => {
  const error = notFinite("svd", [2, 3], 4, 0, 5, Number.NaN);
  expect(error).toBeInstanceOf(NumericalError);
  expect(error.batch).toEqual([1, 1]);
  expect(error.message).toBe("svd: expected finite numbers, got NaN at [0, 5] of matrix [1, 1]");
  expect(singular("solve", [], 0, 2).batch).toEqual([]);
});

test("an iteration that gives up says how far it came", () => {
  const error = noConvergence("svd", [4], 3, 60, 1.23456789e-9);
  expect(error.message).toBe(
    "svd: expected convergence in 60 rounds, got a relative remainder of 1.23457e-9 of matrix [3]; this " +
      "should not happen with finite numbers: please report the matrix",
  );
  expect([error.reason, error.index, error.value]).toEqual(["noConvergence", [60], 1.23456789e-9]);
});

test("every fault has a code, a reason and the number that was found", () => {
  const faults = [
    notSymmetric("eigh", [], 0, 2, 1, -0.5),
    notPositiveDefinite("cholesky", [], 0, 3, 0),
    notInDomain("sqrtm", [], 0, "nonnegative", 0, -2),
    notInDomain("logm", [], 0, "positive", 0, 0),
    singular("inverse", [], 0, 1),
  ];
  expect(faults.map(({ reason, value }) => [reason, value])).toEqual([
    ["notSymmetric", -0.5],
    ["notPositiveDefinite", 0],
    ["notPositiveDefinite", -2],
    ["notPositiveDefinite", 0],
    ["singular", 0],
  ]);
  for (const fault of faults) expect(fault.code).toBe("LOWRANK_NUMERICAL");
  expect(faults[2]!.message).toBe("sqrtm: expected a positive semidefinite matrix, got eigenvalue -2");
});
