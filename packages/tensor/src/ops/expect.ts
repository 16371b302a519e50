import { type DType, isFloat } from "../dtype.js";
import { ConfigError, DTypeError, ShapeError } from "../errors.js";
import type { Aval } from "../op.js";
import type { Tensor } from "../tensor.js";
import { type Dims, sameDims, showDims } from "../shape.js";
import { cast } from "./elementwise.js";

/** The dtype in which sums over values of `dtype` are taken: f32, or f64 for f64. */
export const wideDtype = (dtype: DType): DType => (dtype === "f64" ? "f64" : "f32");

/** The tensor in its accumulation dtype: half types become f32. */
export function widen(x: Tensor): Tensor {
  const dtype = wideDtype(x.dtype);
  return x.dtype === dtype ? x : cast(x, dtype);
}

/** The tensor as `dtype`, itself when it has that dtype already. */
export const castTo = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : cast(x, dtype));

/** An index tensor as i32; fails on floats and bools. */
export function asIndex(where: string, name: string, x: Tensor): Tensor {
  if (isFloat(x.dtype) || x.dtype === "bool") {
    throw new DTypeError({
      where,
      expected: `${name} of an integer dtype`,
      got: x.dtype,
      hint: 'cast with .astype("i32")',
    });
  }
  return castTo(x, "i32");
}

export function expectDtype(where: string, name: string, got: DType, expected: DType): void {
  if (got !== expected) {
    throw new DTypeError({
      where,
      expected: `${name} of dtype ${expected}`,
      got,
      hint: `cast with .astype("${expected}")`,
    });
  }
}

export function expectRank(where: string, name: string, dims: Dims, rank: number, axes: string): void {
  if (dims.length !== rank) {
    throw new ShapeError({ where, expected: `${name} of shape ${axes}`, got: showDims(dims) });
  }
}

export function expectDims(where: string, name: string, got: Dims, expected: Dims): void {
  if (!sameDims(got, expected)) {
    throw new ShapeError({ where, expected: `${name} of shape ${showDims(expected)}`, got: showDims(got) });
  }
}

/** A tensor with a last axis. */
export function expectLastAxis(where: string, x: Aval): void {
  if (x.dims.length === 0) {
    throw new ShapeError({ where, expected: "a tensor with at least one axis", got: "a scalar" });
  }
}

export function expectPositiveInteger(where: string, name: string, value: number, min = 1): void {
  if (!Number.isInteger(value) || value < min) {
    throw new ConfigError({ where, expected: `${name} to be an integer ≥ ${min}`, got: String(value) });
  }
}
