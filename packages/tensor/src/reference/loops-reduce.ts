import { type DType, isFloat, roundTo } from "../dtype.js";
import { contiguousStrides, sizeOf } from "../shape.js";
import { forEachIndex } from "./copy.js";
import type { Loop } from "./loops.js";

/** Folds the elements along the axes that have size 1 in the result into one. */
const reduction =
  (start: (dtype: DType) => number, fold: (a: number, b: number, dtype: DType) => number): Loop<unknown> =>
  ([x], _arg, [out]) => {
    const { dims } = out!;
    const y = new Float64Array(sizeOf(dims)).fill(start(x!.dtype));
    const strides = contiguousStrides(dims).map((s, d) => (dims[d] === 1 ? 0 : s));
    forEachIndex(x!.dims, (index, at) => {
      let to = 0;
      for (let d = 0; d < index.length; d++) to += index[d]! * strides[d]!;
      y[to] = fold(y[to]!, x!.data[at]!, x!.dtype);
    });
    return y;
  };

const wrap = (value: number, dtype: DType): number =>
  dtype === "u32"
    ? value >>> 0
    : dtype === "u8"
      ? value & 255
      : dtype === "i8"
        ? (value << 24) >> 24
        : value | 0;

/** The loops of the reductions, by name. */
export const reductions = {
  sum: reduction(
    () => 0,
    (a, b, dtype) => (isFloat(dtype) ? a + b : wrap(a + b, dtype)),
  ),
  prod: reduction(
    () => 1,
    (a, b, dtype) => (isFloat(dtype) ? a * b : wrap(Math.imul(a, b), dtype)),
  ),
  max: reduction(
    (dtype) => (dtype === "bool" ? 0 : roundTo(dtype, Number.NEGATIVE_INFINITY)),
    (a, b) => Math.max(a, b),
  ),
  min: reduction(
    (dtype) => roundTo(dtype, Number.POSITIVE_INFINITY),
    (a, b) => Math.min(a, b),
  ),
};
