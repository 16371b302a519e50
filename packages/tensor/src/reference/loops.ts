import { roundTo } from "../dtype.js";
import type { OpDef, RefArray } from "../op.js";
import type { ConcatArg } from "../ops/concat.js";
import type { SliceArg } from "../ops/movement.js";
import type { PadArg } from "../ops/pad.js";
import type { CumsumArg } from "../ops/scan.js";
import { contiguousStrides, type Dims, sizeOf } from "../shape.js";
import { broadcastStrides, copyView, forEachIndex } from "./copy.js";
import { col2im, im2col } from "./loops-conv.js";
import { scatterAdd, scatterAddAlongAxis, take, takeAlongAxis, updateSlice } from "./loops-gather.js";
import { reductions } from "./loops-reduce.js";
import { argmax, argmin, sort, topK } from "./loops-sort.js";

/** Plain loops in float64 for an op with an argument of type A. */
export type Loop<A = null> = NonNullable<OpDef<A>["reference"]>;

const same: Loop<unknown> = ([x]) => x!.data.slice();

/** Results of a function that are handed through behind its inputs. */
const pass: Loop<{ readonly lead: number }> = (inputs, { lead }) => inputs.slice(lead).map((x) => x.data);

const iota: Loop<{ readonly dims: Dims; readonly dtype: RefArray["dtype"] }> = (_inputs, { dims, dtype }) =>
  Float64Array.from({ length: sizeOf(dims) }, (_, i) => roundTo(dtype, i));

const concat: Loop<ConcatArg> = (inputs, { axis }, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  const outer = sizeOf(out!.dims.slice(0, axis));
  const stride = sizeOf(out!.dims.slice(axis));
  let offset = 0;
  for (const x of inputs) {
    const width = sizeOf(x.dims.slice(axis));
    for (let a = 0; a < outer; a++) y.set(x.data.subarray(a * width, (a + 1) * width), a * stride + offset);
    offset += width;
  }
  return y;
};

const matmul: Loop = ([a, b], _arg, [out]) => {
  const [rows, inner] = a!.dims.slice(-2) as [number, number];
  const columns = b!.dims.at(-1)!;
  const y = new Float64Array(sizeOf(out!.dims));
  const batches = sizeOf(out!.dims.slice(0, -2));
  for (let n = 0; n < batches; n++) {
    for (let i = 0; i < rows; i++) {
      for (let k = 0; k < inner; k++) {
        const x = a!.data[(n * rows + i) * inner + k]!;
        const [from, to] = [(n * inner + k) * columns, (n * rows + i) * columns];
        for (let j = 0; j < columns; j++) y[to + j]! += x * b!.data[from + j]!;
      }
    }
  }
  return y;
};

const pad: Loop<PadArg> = ([x], { low, interior }, [out]) => {
  const y = new Float64Array(sizeOf(out!.dims));
  const strides = contiguousStrides(out!.dims);
  forEachIndex(x!.dims, (index, at) => {
    let to = 0;
    for (let d = 0; d < index.length; d++) to += strides[d]! * (low[d]! + index[d]! * (interior[d]! + 1));
    y[to] = x!.data[at]!;
  });
  return y;
};

const permute: Loop<{ readonly axes: readonly number[] }> = ([x], { axes }, [out]) => {
  const strides = contiguousStrides(x!.dims);
  return copyView(
    x!.data,
    out!.dims,
    0,
    axes.map((a) => strides[a]!),
  );
};

const broadcast: Loop<{ readonly dims: Dims }> = ([x], { dims }) =>
  copyView(x!.data, dims, 0, broadcastStrides(x!.dims, dims));

const slice: Loop<SliceArg> = ([x], { starts, steps, sizes }) => {
  const own = contiguousStrides(x!.dims);
  const offset = starts.reduce((sum, s, d) => sum + s * own[d]!, 0);
  return copyView(
    x!.data,
    sizes,
    offset,
    own.map((s, d) => s * steps[d]!),
  );
};

const cumsum: Loop<CumsumArg> = ([x], { reverse }) => {
  const n = x!.dims.at(-1)!;
  const y = new Float64Array(x!.data.length);
  for (let start = 0; start < y.length; start += n) {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const at = start + (reverse ? n - 1 - i : i);
      y[at] = sum += x!.data[at]!;
    }
  }
  return y;
};

const loops: Readonly<Record<string, Loop<never>>> = {
  ...reductions,
  alias: same,
  argmax,
  argmin,
  broadcast,
  checkpoint: pass,
  col2im,
  concat,
  cumsum,
  customVjp: pass,
  im2col,
  iota,
  matmul,
  pad,
  permute,
  reshape: same,
  scatterAdd,
  scatterAddAlongAxis,
  slice,
  sort,
  stopGradient: same,
  take,
  takeAlongAxis,
  topK,
  updateSlice,
};

/** The loops that say what a primitive means: its own, or ours for the ops of this package, which no other backend needs. */
export const referenceOf = (op: OpDef): Loop<unknown> | undefined =>
  op.reference ?? (Object.hasOwn(loops, op.name) ? (loops[op.name] as Loop<unknown>) : undefined);
