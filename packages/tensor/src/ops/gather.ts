import type { DType } from "../dtype.js";
import { DTypeError, ShapeError } from "../errors.js";
import { type Aval, defineOp, type OpDef, type RefArray } from "../op.js";
import { normalizeAxis, sameDims, showDims } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { arange } from "./create.js";
import { cast, eq } from "./elementwise.js";
import { asIndex, expectDtype, expectPositiveInteger } from "./expect.js";
import { reshape, slice } from "./movement.js";

export interface TakeArg {
  readonly axis: number;
}

export interface ScatterArg {
  readonly axis: number;
  /** Size of the result along the axis. */
  readonly size: number;
}

function expectAxis(where: string, axis: number, rank: number): void {
  if (!Number.isInteger(axis) || axis < 0 || axis >= rank) {
    throw new ShapeError({ where, expected: `an axis from 0 to ${rank - 1}`, got: String(axis) });
  }
}

/**
 * Picks slices of `x` along an axis:
 *
 *     y[a, i, b] = x[a, indices[i], b]
 *
 * x is [A.., n, B..], indices are i32 of any shape [I..], y is [A.., I.., B..]. An index outside 0 .. n-1 (a negative
 * one too) reads 0.
 */
export const takeOp: OpDef<TakeArg> = /* @__PURE__ */ defineOp<TakeArg>("take", {
  kind: "kernel",
  infer([x, indices], { axis }) {
    expectAxis("take", axis, x!.dims.length);
    expectDtype("take", "indices", indices!.dtype, "i32");
    return {
      dtype: x!.dtype,
      dims: [...x!.dims.slice(0, axis), ...indices!.dims, ...x!.dims.slice(axis + 1)],
    };
  },
  // dx[a, j, b] = Σ over i with indices[i] = j of dy[a, i, b]
  vjp(dy, { inputs: [x, indices], arg: { axis }, needs }) {
    return [needs[0] ? apply(scatterAddOp, [indices!, dy], { axis, size: x!.shape[axis]! }) : null, null];
  },
});

/**
 * The transpose of `take`: adds slices of `updates` into zeros.
 *
 *     y[a, j, b] = Σ over i with indices[i] = j of updates[a, i, b]
 *
 * indices are i32 [I..], updates [A.., I.., B..], y is [A.., size, B..]. Updates with an index outside 0 .. size-1 are
 * left out. The order of the sums is that of i, so that results repeat bit by bit.
 */
export const scatterAddOp: OpDef<ScatterArg> = /* @__PURE__ */ defineOp<ScatterArg>("scatterAdd", {
  kind: "kernel",
  infer([indices, updates], { axis, size }) {
    expectDtype("scatterAdd", "indices", indices!.dtype, "i32");
    expectSummable("scatterAdd", updates!);
    const at = updates!.dims.slice(axis, axis + indices!.dims.length);
    if (axis < 0 || !sameDims(at, indices!.dims)) {
      throw new ShapeError({
        where: "scatterAdd",
        expected: `updates with axes ${showDims(indices!.dims)} (the shape of indices) from axis ${axis}`,
        got: showDims(updates!.dims),
      });
    }
    expectPositiveInteger("scatterAdd", "size", size, 0);
    return {
      dtype: updates!.dtype,
      dims: [...updates!.dims.slice(0, axis), size, ...updates!.dims.slice(axis + indices!.dims.length)],
    };
  },
  vjp(dy, { inputs: [indices], arg: { axis }, needs }) {
    return [null, needs[1] ? apply(takeOp, [dy, indices!], { axis }) : null];
  },
});

/**
 * Picks one element per place along an axis:
 *
 *     y[a, i, b] = x[a, indices[a, i, b], b]
 *
 * x is [A.., n, B..], indices (i32) and y are [A.., m, B..]. An index outside 0 .. n-1 reads 0.
 */
export const takeAlongAxisOp: OpDef<TakeArg> = /* @__PURE__ */ defineOp<TakeArg>("takeAlongAxis", {
  kind: "kernel",
  infer([x, indices], { axis }) {
    expectAxis("takeAlongAxis", axis, x!.dims.length);
    expectDtype("takeAlongAxis", "indices", indices!.dtype, "i32");
    const expected = x!.dims.map((d, i) => (i === axis ? indices!.dims[i]! : d));
    if (!sameDims(expected, indices!.dims)) {
      throw new ShapeError({
        where: "takeAlongAxis",
        expected: `indices with the shape of x, ${showDims(x!.dims)}, except along axis ${axis}`,
        got: showDims(indices!.dims),
      });
    }
    return { dtype: x!.dtype, dims: indices!.dims };
  },
  vjp(dy, { inputs: [x, indices], arg: { axis }, needs }) {
    return [
      needs[0] ? apply(scatterAddAlongAxisOp, [indices!, dy], { axis, size: x!.shape[axis]! }) : null,
      null,
    ];
  },
});

/**
 * The transpose of `takeAlongAxis`:
 *
 *     y[a, j, b] = Σ over i with indices[a, i, b] = j of updates[a, i, b]
 *
 * indices (i32) and updates are [A.., m, B..], y is [A.., size, B..]. Out-of-range updates are left out.
 */
export const scatterAddAlongAxisOp: OpDef<ScatterArg> = /* @__PURE__ */ defineOp<ScatterArg>(
  "scatterAddAlongAxis",
  {
    kind: "kernel",
    infer([indices, updates], { axis, size }) {
      expectAxis("scatterAddAlongAxis", axis, updates!.dims.length);
      expectDtype("scatterAddAlongAxis", "indices", indices!.dtype, "i32");
      expectSummable("scatterAddAlongAxis", updates!);
      if (!sameDims(indices!.dims, updates!.dims)) {
        throw new ShapeError({
          where: "scatterAddAlongAxis",
          expected: `updates of the shape of indices, ${showDims(indices!.dims)}`,
          got: showDims(updates!.dims),
        });
      }
      expectPositiveInteger("scatterAddAlongAxis", "size", size, 0);
      return { dtype: updates!.dtype, dims: updates!.dims.map((d, i) => (i === axis ? size : d)) };
    },
    vjp(dy, { inputs: [indices], arg: { axis }, needs }) {
      return [null, needs[1] ? apply(takeAlongAxisOp, [dy, indices!], { axis }) : null];
    },
  },
);

function expectSummable(where: string, updates: Aval | RefArray): void {
  if (updates.dtype === "bool") {
    throw new DTypeError({
      where,
      expected: "updates that can be added",
      got: "bool",
      hint: 'cast with .astype("i32")',
    });
  }
}

/**
 * Slices of `x` along `axis` (default 0) at `indices` (any integer dtype, any shape): [A.., I.., B..]. An index outside
 * the axis, negative ones included, reads 0; its gradient goes nowhere.
 *
 * @category Gather and scatter
 */
export function take(x: Tensor, indices: Tensor, axis = 0): Tensor {
  return apply(takeOp, [x, asIndex("take", "indices", indices)], {
    axis: normalizeAxis("take", axis, x.ndim),
  });
}

/** Rows of a table [n, d] at integer `indices` [..]: [.., d]. Same as `take(weight, indices, 0)`. @category Gather and scatter */
export function embedding(weight: Tensor, indices: Tensor): Tensor {
  if (weight.ndim !== 2) {
    throw new ShapeError({
      where: "embedding",
      expected: "a weight of shape [n, d]",
      got: showDims(weight.shape),
    });
  }
  return take(weight, indices, 0);
}

/**
 * One element per place along `axis` (default the last): y[.., i, ..] = x[.., indices[.., i, ..], ..]. `indices` has the
 * shape of x except along the axis. An index outside the axis reads 0.
 *
 * @category Gather and scatter
 */
export function takeAlongAxis(x: Tensor, indices: Tensor, axis = -1): Tensor {
  return apply(takeAlongAxisOp, [x, asIndex("takeAlongAxis", "indices", indices)], {
    axis: normalizeAxis("takeAlongAxis", axis, x.ndim),
  });
}

/**
 * `takeAlongAxis` in PyTorch's argument order and with its looser rule: away from `axis`, `indices` may be smaller than
 * x, and only that corner of x is read.
 *
 * @category Gather and scatter
 */
export function gather(x: Tensor, axis: number, indices: Tensor): Tensor {
  const at = normalizeAxis("gather", axis, x.ndim);
  if (indices.ndim !== x.ndim || indices.shape.some((d, i) => i !== at && d > x.shape[i]!)) {
    throw new ShapeError({
      where: "gather",
      expected: `indices that fit in ${showDims(x.shape)} except along axis ${at}`,
      got: showDims(indices.shape),
    });
  }
  const corner = indices.shape.some((d, i) => i !== at && d !== x.shape[i]!)
    ? slice(
        x,
        indices.shape
          .map((d, i) => (i === at ? null : ([0, d] as const)))
          .map((r) => (r ? [r[0], r[1]] : null)),
      )
    : x;
  return takeAlongAxis(corner, indices, at);
}

export interface ScatterOptions {
  /** Where the axis of the result stands. Default 0 (`scatterAdd`), -1 (`scatterAddAlongAxis`). */
  axis?: number;
  /** Size of the result along the axis. */
  size: number;
}

/**
 * Zeros with `updates` added at `indices`: y[a, j, b] = Σ over i with indices[i] = j of updates[a, i, b]. updates is
 * [A.., I.., B..] with [I..] the shape of indices from `axis` on; the result is [A.., size, B..]. Indices outside are
 * left out. To add into an existing tensor write `x.add(scatterAdd(...))`.
 *
 * @category Gather and scatter
 */
export function scatterAdd(indices: Tensor, updates: Tensor, { axis = 0, size }: ScatterOptions): Tensor {
  const rank = updates.ndim - indices.ndim + 1;
  return apply(scatterAddOp, [asIndex("scatterAdd", "indices", indices), updates], {
    axis: normalizeAxis("scatterAdd", axis, Math.max(rank, 0)),
    size,
  });
}

/** The transpose of `takeAlongAxis`; see `scatterAdd`. @category Gather and scatter */
export function scatterAddAlongAxis(
  indices: Tensor,
  updates: Tensor,
  { axis = -1, size }: ScatterOptions,
): Tensor {
  return apply(scatterAddAlongAxisOp, [asIndex("scatterAddAlongAxis", "indices", indices), updates], {
    axis: normalizeAxis("scatterAddAlongAxis", axis, updates.ndim),
    size,
  });
}

/**
 * 1 at the index and 0 elsewhere along a new last axis of `size`: [..] becomes [.., size]. An index outside gives zeros.
 * Default dtype f32.
 *
 * @category Gather and scatter
 */
export function oneHot(indices: Tensor, size: number, { dtype = "f32" }: { dtype?: DType } = {}): Tensor {
  expectPositiveInteger("oneHot", "size", size, 0);
  const column = reshape(asIndex("oneHot", "indices", indices), [...indices.shape, 1]);
  return cast(eq(column, arange(0, size, 1, { dtype: "i32" })), dtype);
}
