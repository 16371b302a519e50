import { ConfigError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { normalizeAxis, sizeOf } from "../shape.js";
import { apply, applyMulti, type Tensor } from "../tensor.js";
import { expectLastAxis } from "./expect.js";
import { scatterAddAlongAxisOp } from "./gather.js";
import { moveaxis, reshape } from "./movement.js";

export interface SortArg {
  readonly descending: boolean;
}

export interface TopKArg {
  readonly k: number;
  readonly largest: boolean;
}

// The values are x read through the permutation, so their gradient goes back through it.
const permutationVjp: OpDef["vjp"] = (_dy, { inputs: [x], outputs, dys, needs }) => [
  needs[0] && dys[0]
    ? apply(scatterAddAlongAxisOp, [outputs[1]!, dys[0]], { axis: x!.ndim - 1, size: x!.shape[x!.ndim - 1]! })
    : null,
];

/**
 * Sorts along the last axis: (values, indices i32), values[.., i] = x[.., indices[.., i]]. Stable: equal numbers keep
 * their order, also when descending. NaN comes last in both directions.
 */
export const sortOp: OpDef<SortArg> = /* @__PURE__ */ defineOp<SortArg>("sort", {
  kind: "kernel",
  infer([x]) {
    expectLastAxis("sort", x!);
    return [x!, { dtype: "i32", dims: x!.dims }];
  },
  vjp: permutationVjp,
});

/**
 * The k largest (or smallest) along the last axis in order: (values, indices i32), both [.., k]. Ties go to the lower
 * index; NaN comes last.
 */
export const topKOp: OpDef<TopKArg> = /* @__PURE__ */ defineOp<TopKArg>("topK", {
  kind: "kernel",
  infer([x], { k }) {
    expectLastAxis("topK", x!);
    const n = x!.dims.at(-1)!;
    if (!Number.isInteger(k) || k < 0 || k > n) {
      throw new ConfigError({
        where: "topK",
        expected: `k to be an integer from 0 to ${n}, the size of the axis`,
        got: String(k),
      });
    }
    const dims = [...x!.dims.slice(0, -1), k];
    return [
      { dtype: x!.dtype, dims },
      { dtype: "i32", dims },
    ];
  },
  vjp: permutationVjp,
});

function argExtreme(name: string): OpDef<null> {
  return defineOp<null>(name, {
    kind: "kernel",
    infer([x]) {
      expectLastAxis(name, x!);
      const dims = x!.dims;
      if (dims.at(-1) === 0 && sizeOf(dims.slice(0, -1)) > 0) {
        throw new ConfigError({
          where: name,
          expected: "an axis with at least one element",
          got: "an empty one",
        });
      }
      return { dtype: "i32", dims: dims.slice(0, -1) };
    },
    vjp: () => [null],
  });
}

/** Index (i32) of the largest number along the last axis, the first of equal ones; a NaN counts as the largest. */
export const argmaxOp = /* @__PURE__ */ argExtreme("argmax");
/** Index (i32) of the smallest number along the last axis, the first of equal ones; a NaN counts as the smallest. */
export const argminOp = /* @__PURE__ */ argExtreme("argmin");

export interface Sorted {
  values: Tensor;
  /** i32: values[.., i] = x[.., indices[.., i]] along the axis. */
  indices: Tensor;
}

export interface SortOptions {
  /** From the largest to the smallest. Default false. */
  descending?: boolean;
}

export interface TopKOptions {
  /** The largest (default) or the smallest. */
  largest?: boolean;
}

export interface ArgOptions {
  /** Keep the axis with size 1. Default false. */
  keepDims?: boolean;
}

const last = (x: Tensor, axis: number): Tensor => (axis === x.ndim - 1 ? x : moveaxis(x, axis, -1));
const back = (y: Tensor, axis: number): Tensor => (axis === y.ndim - 1 ? y : moveaxis(y, -1, axis));

/**
 * Sorts along `axis` (default the last). Stable; NaN last. Gradients flow through the values.
 *
 * @category Sorting
 */
export function sort(x: Tensor, axis = -1, { descending = false }: SortOptions = {}): Sorted {
  const at = normalizeAxis("sort", axis, x.ndim);
  const [values, indices] = applyMulti(sortOp, [last(x, at)], { descending });
  return { values: back(values!, at), indices: back(indices!, at) };
}

/** The indices (i32) that sort `x` along `axis` (default the last). @category Sorting */
export function argsort(x: Tensor, axis = -1, options: SortOptions = {}): Tensor {
  return sort(x, axis, options).indices;
}

/**
 * The `k` largest (or smallest) numbers along `axis` (default the last), in order, with their indices (i32).
 *
 * @category Sorting
 */
export function topK(x: Tensor, k: number, axis = -1, { largest = true }: TopKOptions = {}): Sorted {
  const at = normalizeAxis("topK", axis, x.ndim);
  const [values, indices] = applyMulti(topKOp, [last(x, at)], { k, largest });
  return { values: back(values!, at), indices: back(indices!, at) };
}

function extreme(
  where: string,
  op: OpDef<null>,
  x: Tensor,
  axis: number | undefined,
  { keepDims = false }: ArgOptions,
): Tensor {
  if (axis === undefined) {
    const flat = apply(op, [reshape(x, [x.size])], null);
    return keepDims
      ? reshape(
          flat,
          x.shape.map(() => 1),
        )
      : flat;
  }
  const at = normalizeAxis(where, axis, x.ndim);
  const y = apply(op, [last(x, at)], null);
  return keepDims
    ? reshape(
        y,
        x.shape.map((d, i) => (i === at ? 1 : d)),
      )
    : y;
}

/**
 * Index (i32) of the largest number along `axis`, the first of equal ones. Without an axis: the row-major index in the
 * whole tensor.
 *
 * @category Sorting
 */
export function argmax(x: Tensor, axis?: number, options: ArgOptions = {}): Tensor {
  return extreme("argmax", argmaxOp, x, axis, options);
}

/** As `argmax`, for the smallest number. @category Sorting */
export function argmin(x: Tensor, axis?: number, options: ArgOptions = {}): Tensor {
  return extreme("argmin", argminOp, x, axis, options);
}
