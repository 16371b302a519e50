import type { SortArg, TopKArg } from "../ops/sort.js";
import { sizeOf } from "../shape.js";
import type { Loop } from "./loops.js";

/** Orders two numbers with NaN after everything, whatever the direction. */
function compare(a: number, b: number, descending: boolean): number {
  const [x, y] = [Number.isNaN(a), Number.isNaN(b)];
  if (x || y) return Number(x) - Number(y);
  return descending ? b - a || Number(b > a) - Number(b < a) : a - b || Number(a > b) - Number(a < b);
}

/** The first `keep` places of each row of `n` numbers in sorted order, as [values, indices]. */
function sortRows(
  data: Float64Array,
  n: number,
  keep: number,
  descending: boolean,
): [Float64Array, Float64Array] {
  const rows = n === 0 ? 0 : data.length / n;
  const values = new Float64Array(rows * keep);
  const indices = new Float64Array(rows * keep);
  for (let r = 0; r < rows; r++) {
    const order = Array.from({ length: n }, (_, i) => i);
    order.sort((i, j) => compare(data[r * n + i]!, data[r * n + j]!, descending) || i - j);
    for (let i = 0; i < keep; i++) {
      values[r * keep + i] = data[r * n + order[i]!]!;
      indices[r * keep + i] = order[i]!;
    }
  }
  return [values, indices];
}

export const sort: Loop<SortArg> = ([x], { descending }) => {
  const n = x!.dims.at(-1)!;
  return sortRows(x!.data, n, n, descending);
};

export const topK: Loop<TopKArg> = ([x], { k, largest }) => {
  return sortRows(x!.data, x!.dims.at(-1)!, k, largest);
};

const argExtreme =
  (beats: (a: number, b: number) => boolean): Loop =>
  ([x], _arg, [out]) => {
    const n = x!.dims.at(-1)!;
    const y = new Float64Array(sizeOf(out!.dims));
    for (let r = 0; r < y.length; r++) {
      let best = 0;
      for (let i = 1; i < n; i++) {
        const [a, b] = [x!.data[r * n + i]!, x!.data[r * n + best]!];
        if (!Number.isNaN(b) && (beats(a, b) || Number.isNaN(a))) best = i;
      }
      y[r] = best;
    }
    return y;
  };

export const argmax = /* @__PURE__ */ argExtreme((a, b) => a > b);
export const argmin = /* @__PURE__ */ argExtreme((a, b) => a < b);
