import type { RefArray } from "../op.js";
import type { ScatterArg, TakeArg } from "../ops/gather.js";
import type { UpdateSliceArg } from "../ops/update-slice.js";
import { type Dims, sizeOf } from "../shape.js";
import type { Loop } from "./loops.js";

/**
 * Calls `f(at, picked)` for each element of [A.., m, B..] whose index is one from 0 to n - 1: with its place, and that of
 * the element of `dims` = [A.., n, B..] that the index picks. There is an index for each of the m, or for each element.
 */
function eachPicked(
  dims: Dims,
  axis: number,
  { data }: RefArray,
  forEach: "slice" | "element",
  f: (at: number, picked: number) => void,
): void {
  const n = dims[axis]!;
  const outer = sizeOf(dims.slice(0, axis));
  const inner = sizeOf(dims.slice(axis + 1));
  const m = forEach === "slice" ? data.length : data.length / (outer * inner);
  for (let a = 0; a < outer; a++) {
    for (let i = 0; i < m; i++) {
      for (let b = 0; b < inner; b++) {
        const at = (a * m + i) * inner + b;
        const j = data[forEach === "slice" ? i : at]!;
        if (j >= 0 && j < n) f(at, (a * n + j) * inner + b);
      }
    }
  }
}

export const take: Loop<TakeArg> = ([x, indices], { axis }, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  eachPicked(x!.dims, axis, indices!, "slice", (at, picked) => {
    y[at] = x!.data[picked]!;
  });
  return y;
};

export const scatterAdd: Loop<ScatterArg> = ([indices, updates], { axis }, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  eachPicked(out!.dims, axis, indices!, "slice", (at, picked) => {
    y[picked]! += updates!.data[at]!;
  });
  return y;
};

export const takeAlongAxis: Loop<TakeArg> = ([x, indices], { axis }, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  eachPicked(x!.dims, axis, indices!, "element", (at, picked) => {
    y[at] = x!.data[picked]!;
  });
  return y;
};

export const scatterAddAlongAxis: Loop<ScatterArg> = ([indices, updates], { axis }, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  eachPicked(out!.dims, axis, indices!, "element", (at, picked) => {
    y[picked]! += updates!.data[at]!;
  });
  return y;
};

export const updateSlice: Loop<UpdateSliceArg> = ([base, value, start], { axis }) => {
  const [n, m] = [base!.dims[axis]!, value!.dims[axis]!];
  const outer = sizeOf(base!.dims.slice(0, axis));
  const inner = sizeOf(base!.dims.slice(axis + 1));
  const y = base!.data.slice();
  for (let a = 0; a < outer; a++) {
    for (let i = 0; i < m; i++) {
      const j = i + start!.data[0]!;
      if (j < 0 || j >= n) continue;
      for (let b = 0; b < inner; b++) y[(a * n + j) * inner + b] = value!.data[(a * m + i) * inner + b]!;
    }
  }
  return y;
};
