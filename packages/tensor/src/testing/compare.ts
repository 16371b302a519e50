import type { DType } from "../dtype.js";
import { type Dims, sameDims, showDims } from "../shape.js";

/** Numbers read back from a backend. */
export interface Result {
  readonly dtype: DType;
  readonly dims: Dims;
  readonly data: ArrayLike<number>;
}

export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/** The index along each axis of a flat index. */
export function unravel(at: number, dims: Dims): number[] {
  const index = new Array<number>(dims.length);
  for (let d = dims.length - 1; d >= 0; d--) {
    index[d] = at % dims[d]!;
    at = Math.floor(at / dims[d]!);
  }
  return index;
}

/**
 * What is wrong with `got`, or null. Two NaN are equal, infinities must have the same sign, zeros need not. `allowance`
 * gives a number that is allowed on top of the tolerance at an element; Infinity leaves it out.
 */
export function difference(
  got: Result,
  expected: Result,
  { rtol, atol }: Tolerance,
  allowance: (at: number) => number = () => 0,
): string | null {
  if (got.dtype !== expected.dtype || !sameDims(got.dims, expected.dims)) {
    return `expected ${expected.dtype}${showDims(expected.dims)}, got ${got.dtype}${showDims(got.dims)}`;
  }
  let worst = -1;
  let worstRatio = 1;
  let wrong = 0;
  for (let i = 0; i < expected.data.length; i++) {
    const [x, y] = [got.data[i]!, expected.data[i]!];
    if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    const extra = allowance(i);
    if (extra === Number.POSITIVE_INFINITY) continue;
    const error = Math.abs(x - y);
    const allowed = atol + rtol * Math.abs(y) + extra;
    // Written so that NaN counts as wrong.
    if (error <= allowed && Number.isFinite(y)) continue;
    const ratio = Number.isFinite(error) && allowed > 0 ? error / allowed : Number.MAX_VALUE;
    wrong++;
    if (worst < 0 || ratio > worstRatio) [worst, worstRatio] = [i, ratio];
  }
  if (worst < 0) return null;
  const [x, y] = [got.data[worst]!, expected.data[worst]!];
  const allowed = atol + rtol * Math.abs(y) + allowance(worst);
  return (
    `at ${showDims(unravel(worst, expected.dims))} of ${expected.dtype}${showDims(expected.dims)}: ` +
    `expected ${y}, got ${x}; off by ${Math.abs(x - y)}, allowed ${allowed}; ${wrong} of ${expected.data.length} wrong`
  );
}
