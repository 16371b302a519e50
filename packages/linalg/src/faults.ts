import type { Dims } from "@lowrank/tensor";
import { NumericalError } from "./errors.js";

/**
 * The faults that can be seen only in the numbers, as every backend words them. `batch` is the row-major number of the
 * matrix, `lead` the leading axes that it counts along.
 */

const placeOf = (batch: number, lead: Dims): number[] => {
  const place = new Array<number>(lead.length);
  for (let d = lead.length - 1; d >= 0; d--) {
    place[d] = batch % lead[d]!;
    batch = Math.floor(batch / lead[d]!);
  }
  return place;
};

const ofMatrix = (place: readonly number[]): string =>
  place.length ? ` of matrix [${place.join(", ")}]` : "";

/** Six digits, as few as needed. */
const show = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(6))) : String(x));

export function notFinite(
  where: string,
  lead: Dims,
  batch: number,
  row: number,
  column: number,
  value: number,
): NumericalError {
  const place = placeOf(batch, lead);
  return new NumericalError({
    where,
    expected: "finite numbers",
    got: `${value} at [${row}, ${column}]${ofMatrix(place)}`,
    reason: "notFinite",
    batch: place,
    index: [row, column],
    value,
  });
}

/** `value` is a[row, column] - a[column, row], the largest difference. */
export function notSymmetric(
  where: string,
  lead: Dims,
  batch: number,
  row: number,
  column: number,
  value: number,
): NumericalError {
  const place = placeOf(batch, lead);
  return new NumericalError({
    where,
    expected: "a symmetric matrix",
    got: `elements [${row}, ${column}] and [${column}, ${row}]${ofMatrix(place)} that differ by ${show(Math.abs(value))}`,
    hint: "take a.add(a.T).div(2), or say { assumeSymmetric: true } to read the lower triangle only",
    reason: "notSymmetric",
    batch: place,
    index: [row, column],
    value,
  });
}

/** `value` is the pivot of Cholesky's factorisation that is not above 0. */
export function notPositiveDefinite(
  where: string,
  lead: Dims,
  batch: number,
  pivot: number,
  value: number,
): NumericalError {
  const place = placeOf(batch, lead);
  return new NumericalError({
    where,
    expected: "a positive definite matrix",
    got: `pivot ${pivot}${ofMatrix(place)} equal to ${show(value)}`,
    hint: "add to its diagonal, for instance with { jitter: 1e-6 }",
    reason: "notPositiveDefinite",
    batch: place,
    index: [pivot],
    value,
  });
}

/** The smallest eigenvalue is below what the function is defined for. */
export function notInDomain(
  where: string,
  lead: Dims,
  batch: number,
  domain: "positive" | "nonnegative",
  index: number,
  value: number,
): NumericalError {
  const place = placeOf(batch, lead);
  return new NumericalError({
    where,
    expected: `a positive ${domain === "positive" ? "definite" : "semidefinite"} matrix`,
    got: `eigenvalue ${show(value)}${ofMatrix(place)}`,
    reason: "notPositiveDefinite",
    batch: place,
    index: [index],
    value,
  });
}

/** A zero on the diagonal by which has to be divided. */
export function singular(where: string, lead: Dims, batch: number, pivot: number): NumericalError {
  const place = placeOf(batch, lead);
  return new NumericalError({
    where,
    expected: "a matrix that can be inverted",
    got: `a zero at pivot ${pivot}${ofMatrix(place)}`,
    hint: "lstsq and pinv take any matrix",
    reason: "singular",
    batch: place,
    index: [pivot],
    value: 0,
  });
}

/** An iteration gave up: `value` is what was left of what should have vanished, relative to the matrix. */
export function noConvergence(
  where: string,
  lead: Dims,
  batch: number,
  rounds: number,
  value: number,
): NumericalError {
  const place = placeOf(batch, lead);
  return new NumericalError({
    where,
    expected: `convergence in ${rounds} rounds`,
    got: `a relative remainder of ${show(value)}${ofMatrix(place)}`,
    hint: "this should not happen with finite numbers: please report the matrix",
    reason: "noConvergence",
    batch: place,
    index: [rounds],
    value,
  });
}
