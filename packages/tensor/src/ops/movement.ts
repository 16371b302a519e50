import { bug, ShapeError } from "../errors.js";
import { Node } from "../node.js";
import { type Aval, defineOp } from "../op.js";
import {
  broadcastDims,
  type Dims,
  internShape,
  normalizeAxes,
  normalizeAxis,
  resolveDims,
  sameDims,
  showDims,
  sizeOf,
} from "../shape.js";
import { cellOp } from "../cell.js";
import { apply, Tensor } from "../tensor.js";
import { zeros } from "./create.js";
import { matmulOp } from "./matmul.js";
import { pad } from "./pad.js";
import { sumTo } from "./reduce.js";

/** One axis of a slice: all of it, one index (drops the axis), or `[start, stop, step]` as in NumPy. */
export type Range = null | number | readonly [start: number | null, stop: number | null, step?: number];

export interface SliceArg {
  /** First index read along each axis. */
  readonly starts: Dims;
  /** Distance between indices read, any non-zero integer. */
  readonly steps: readonly number[];
  /** How many are read. */
  readonly sizes: Dims;
}

/** The same numbers, row-major, under other dims. */
export const reshapeOp = /* @__PURE__ */ defineOp<{ readonly dims: Dims }>("reshape", {
  kind: "movement",
  infer([x], { dims }) {
    if (sizeOf(dims) !== sizeOf(x!.dims)) {
      throw new ShapeError({
        where: "reshape",
        expected: `a shape of ${sizeOf(x!.dims)} elements for a tensor of shape ${showDims(x!.dims)}`,
        got: showDims(dims),
      });
    }
    return { dtype: x!.dtype, dims };
  },
  vjp: (dy, { inputs: [x] }) => [reshape(dy, x!.shape)],
});

/** y[i₀, i₁, ...] with axis d of y being axis `axes[d]` of x. */
export const permuteOp = /* @__PURE__ */ defineOp<{ readonly axes: readonly number[] }>("permute", {
  kind: "movement",
  infer([x], { axes }) {
    const seen = normalizeAxes("permute", axes, x!.dims.length);
    if (seen.length !== x!.dims.length) {
      throw new ShapeError({
        where: "permute",
        expected: `each of the ${x!.dims.length} axes once`,
        got: showDims(axes),
      });
    }
    return { dtype: x!.dtype, dims: axes.map((a) => x!.dims[a]!) };
  },
  vjp: (dy, { arg: { axes } }) => {
    const inverse = new Array<number>(axes.length);
    for (let d = 0; d < axes.length; d++) inverse[axes[d]!] = d;
    return [permuteGradient(dy, inverse)];
  },
});

// (A B)ᵀ = Bᵀ Aᵀ: the gradient of a transposed weight is then computed row-major instead of being copied.
function permuteGradient(dy: Tensor, axes: readonly number[]): Tensor {
  const { node } = dy;
  const swapsLastTwo = axes.every((a, d) => a === (d < axes.length - 2 ? d : 2 * axes.length - 3 - d));
  if (node.op !== matmulOp || node.storage || !swapsLastTwo || axes.length < 2) return permute(dy, axes);
  const [a, b] = node.sources;
  return apply(matmulOp, [transpose(new Tensor(b!)), transpose(new Tensor(a!))], null);
}

/** Stretches axes of size 1, aligned from the right, and adds leading axes. */
export const broadcastOp = /* @__PURE__ */ defineOp<{ readonly dims: Dims }>("broadcast", {
  kind: "movement",
  infer([x], { dims }) {
    if (!sameDims(broadcastDims("broadcastTo", x!.dims, dims), dims)) {
      throw new ShapeError({
        where: "broadcastTo",
        expected: `a shape that ${showDims(x!.dims)} stretches to`,
        got: showDims(dims),
      });
    }
    return { dtype: x!.dtype, dims };
  },
  vjp: (dy, { inputs: [x] }) => [sumTo(dy, x!.shape)],
});

/** y[i] = x[starts + steps · i] along every axis; a negative step reads backwards. */
export const sliceOp = /* @__PURE__ */ defineOp<SliceArg>("slice", {
  kind: "movement",
  infer([x], { starts, steps, sizes }) {
    for (let d = 0; d < x!.dims.length; d++) {
      const last = starts[d]! + (sizes[d]! - 1) * steps[d]!;
      const inside = (i: number) => Number.isInteger(i) && i >= 0 && i < x!.dims[d]!;
      if (steps[d] === 0 || (sizes[d] !== 0 && !(inside(starts[d]!) && inside(last)))) {
        throw new ShapeError({
          where: "slice",
          expected: `indices from 0 to ${x!.dims[d]! - 1} along axis ${d} and a step that is not 0`,
          got: `${sizes[d]} from ${starts[d]} by ${steps[d]}`,
        });
      }
    }
    return { dtype: x!.dtype, dims: sizes };
  },
  vjp: (dy, { inputs: [x], arg }) => [unslice(dy, x!.shape, arg)],
});

/** Writes `dy` where the slice has read, zeros elsewhere. */
function unslice(dy: Tensor, dims: Dims, { starts, steps, sizes }: SliceArg): Tensor {
  if (dy.size === 0) return zeros(dims, { dtype: dy.dtype });
  const reversed = steps.map((s, d) => (s < 0 ? d : -1)).filter((d) => d >= 0);
  const first = dims.map((_, d) => (steps[d]! < 0 ? starts[d]! + (sizes[d]! - 1) * steps[d]! : starts[d]!));
  const interior = dims.map((_, d) => (sizes[d]! > 1 ? Math.abs(steps[d]!) - 1 : 0));
  const high = dims.map((n, d) => n - first[d]! - sizes[d]! - (sizes[d]! - 1) * interior[d]!);
  return pad(
    reversed.length ? flip(dy, reversed) : dy,
    first.map((low, d) => [low, high[d]!] as const),
    { interior },
  );
}

/** The value itself, under another node. */
export const aliasOp = /* @__PURE__ */ defineOp("alias", {
  kind: "movement",
  infer: ([x]) => x!,
  vjp: (dy) => [dy],
});

/** The value itself; no gradient flows back through it. */
export const stopGradientOp = /* @__PURE__ */ defineOp("stopGradient", {
  kind: "movement",
  infer: ([x]) => x!,
  vjp: () => [null],
});

/** Result number `arg` of a node with several results. Made by `applyMulti`, never by `apply`. */
export const pickOp = /* @__PURE__ */ defineOp<number>("pick", {
  kind: "movement",
  infer: (_inputs, index): Aval => bug(`pick ${index} has no rule of its own`),
});

/**
 * What an op that changes nothing returns: the tensor itself. A parameter is a handle whose value moves on with
 * assignments, so it gives a handle to its value of now.
 */
export const unchanged = (x: Tensor): Tensor => (x.node.op === cellOp ? apply(aliasOp, [x], null) : x);

/**
 * The same numbers, row-major, under other dims. One -1 is worked out from the rest.
 *
 * @throws ShapeError when the sizes differ
 */
export function reshape(x: Tensor, dims: Dims): Tensor {
  const to = resolveDims("reshape", dims, x.size);
  return sameDims(to, x.shape) ? unchanged(x) : make(reshapeOp, x, { dims: to }, to);
}

/** Axis d of the result is axis `axes[d]` of x; negative axes count from the end. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const to = axes.map((a) => normalizeAxis("permute", a, x.ndim));
  if (to.length === x.ndim && to.every((a, d) => a === d)) return unchanged(x);
  return apply(permuteOp, [x], { axes: to });
}

/** Swaps two axes, by default the last two. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  const i = normalizeAxis("transpose", a, x.ndim);
  const j = normalizeAxis("transpose", b, x.ndim);
  const axes = x.shape.map((_, d) => (d === i ? j : d === j ? i : d));
  return permute(x, axes);
}

/** Swaps two axes. */
export const swapaxes = (x: Tensor, a: number, b: number): Tensor => transpose(x, a, b);

/** Moves one axis to another place; the others keep their order. */
export function moveaxis(x: Tensor, from: number, to: number): Tensor {
  const source = normalizeAxis("moveaxis", from, x.ndim);
  const axes = x.shape.map((_, d) => d).filter((d) => d !== source);
  axes.splice(normalizeAxis("moveaxis", to, x.ndim), 0, source);
  return permute(x, axes);
}

/** Stretches axes of size 1 to `dims` (aligned from the right) without copying. */
export function broadcastTo(x: Tensor, dims: Dims): Tensor {
  return sameDims(x.shape, dims) ? unchanged(x) : apply(broadcastOp, [x], { dims: dims.slice() });
}

/**
 * Part of a tensor, as a view. `ranges[i]` is null (all), an index (drops the axis) or `[start, stop, step]` with
 * NumPy's rules: negative numbers count from the end, ends are clipped, a negative step goes backwards. Axes without a
 * range are kept whole.
 *
 * @throws ShapeError for an index outside, a step of 0, or more ranges than axes
 */
export function slice(x: Tensor, ranges: readonly Range[]): Tensor {
  if (ranges.length > x.ndim) {
    throw new ShapeError({ where: "slice", expected: `at most ${x.ndim} ranges`, got: `${ranges.length}` });
  }
  const starts: number[] = [];
  const steps: number[] = [];
  const sizes: number[] = [];
  const kept: number[] = [];
  for (let d = 0; d < x.ndim; d++) {
    const range = ranges[d] ?? null;
    const n = x.shape[d]!;
    if (typeof range === "number") {
      starts.push(normalizeIndex(range, n, d));
      steps.push(1);
      sizes.push(1);
      continue;
    }
    const [start, step, size] = resolveRange(range, n, d);
    starts.push(start);
    steps.push(step);
    sizes.push(size);
    kept.push(size);
  }
  const whole = sizes.every((s, d) => s === x.shape[d] && starts[d] === 0 && (steps[d] === 1 || s <= 1));
  const part = whole ? unchanged(x) : make(sliceOp, x, { starts, steps, sizes }, sizes);
  return kept.length === x.ndim ? part : reshape(part, kept);
}

function normalizeIndex(index: number, n: number, axis: number): number {
  const at = index < 0 ? index + n : index;
  if (!Number.isInteger(index) || at < 0 || at >= n) {
    throw new ShapeError({
      where: "slice",
      expected:
        n === 0
          ? `a range for axis ${axis}, which is empty`
          : `an index from ${-n} to ${n - 1} for axis ${axis}`,
      got: String(index),
    });
  }
  return at;
}

function resolveRange(
  range: readonly [number | null, number | null, number?] | null,
  n: number,
  axis: number,
) {
  if (!range) return [0, 1, n] as const;
  const [from, to, step = 1] = range;
  for (const value of [from ?? 0, to ?? 0, step]) {
    if (!Number.isInteger(value) || step === 0) {
      throw new ShapeError({
        where: "slice",
        expected: `integers and a step that is not 0 for axis ${axis}`,
        got: `[${range.join(", ")}]`,
      });
    }
  }
  const forward = step > 0;
  const [low, high] = forward ? [0, n] : [-1, n - 1];
  const clip = (i: number) => Math.min(high, Math.max(low, i < 0 ? i + n : i));
  const start = from === null ? (forward ? 0 : n - 1) : clip(from);
  const stop = to === null ? (forward ? n : -1) : clip(to);
  const size = Math.max(0, Math.ceil((stop - start) / step));
  return size === 0 ? ([0, 1, 0] as const) : ([start, step, size] as const);
}

/** Reverses the order along the given axes (default: all), as a view. */
export function flip(x: Tensor, axes?: number | readonly number[]): Tensor {
  const turned = normalizeAxes("flip", axes, x.ndim);
  const ranges = x.shape.map((_, d): Range => (turned.includes(d) ? [null, null, -1] : null));
  return slice(x, ranges);
}

/** Drops axes of size 1: the given ones, or all of them. */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  const dropped = axes === undefined ? null : normalizeAxes("squeeze", axes, x.ndim);
  for (const d of dropped ?? []) {
    if (x.shape[d] !== 1) {
      throw new ShapeError({ where: "squeeze", expected: `axis ${d} of size 1`, got: showDims(x.shape) });
    }
  }
  return reshape(
    x,
    x.shape.filter((n, d) => (dropped ? !dropped.includes(d) : n !== 1)),
  );
}

/** Adds axes of size 1 at the given places of the result. */
export function expandDims(x: Tensor, axes: number | readonly number[]): Tensor {
  const count = typeof axes === "number" ? 1 : axes.length;
  const added = normalizeAxes("expandDims", axes, x.ndim + count);
  let from = 0;
  return reshape(
    x,
    Array.from({ length: x.ndim + count }, (_, d) => (added.includes(d) ? 1 : x.shape[from++]!)),
  );
}

/** Adds one axis of size 1: `expandDims` under PyTorch's name. */
export const unsqueeze = (x: Tensor, axis: number): Tensor => expandDims(x, axis);

/** Merges the axes from `start` to `end` (both included) into one. */
export function flatten(x: Tensor, start = 0, end = -1): Tensor {
  if (x.ndim === 0) return reshape(x, [1]);
  const a = normalizeAxis("flatten", start, x.ndim);
  const b = normalizeAxis("flatten", end, x.ndim);
  if (b < a) {
    throw new ShapeError({
      where: "flatten",
      expected: "a start axis before the end axis",
      got: `${start} and ${end}`,
    });
  }
  return reshape(x, [...x.shape.slice(0, a), sizeOf(x.shape.slice(a, b + 1)), ...x.shape.slice(b + 1)]);
}

/** Each element `count` times in a row along `axis`: [a, b] becomes [a, a, b, b]. */
export function repeat(x: Tensor, count: number, axis: number): Tensor {
  expectCount("repeat", count);
  const d = normalizeAxis("repeat", axis, x.ndim);
  const wide = [...x.shape.slice(0, d + 1), count, ...x.shape.slice(d + 1)];
  const out = x.shape.map((n, i) => (i === d ? n * count : n));
  return reshape(broadcastTo(expandDims(x, d + 1), wide), out);
}

/** The whole tensor `counts[d]` times along each axis: [a, b] becomes [a, b, a, b]. */
export function tile(x: Tensor, counts: readonly number[]): Tensor {
  for (const c of counts) expectCount("tile", c);
  const rank = Math.max(x.ndim, counts.length);
  const dims = [...new Array<number>(rank - x.ndim).fill(1), ...x.shape];
  const times = [...new Array<number>(rank - counts.length).fill(1), ...counts];
  const split = reshape(
    x,
    dims.flatMap((n) => [1, n]),
  );
  const wide = broadcastTo(
    split,
    dims.flatMap((n, d) => [times[d]!, n]),
  );
  return reshape(
    wide,
    dims.map((n, d) => n * times[d]!),
  );
}

function expectCount(where: string, count: number): void {
  if (!Number.isInteger(count) || count < 0) {
    throw new ShapeError({ where, expected: "a count that is an integer ≥ 0", got: String(count) });
  }
}

/** The value itself; no gradient flows back through it. */
export const stopGradient = (x: Tensor): Tensor => apply(stopGradientOp, [x], null);

/** Builds a view whose argument is known to be right. */
function make<A>(op: typeof reshapeOp | typeof sliceOp, x: Tensor, arg: A, dims: Dims): Tensor {
  return new Tensor(new Node(op, x.dtype, internShape(dims), arg, [x.node]));
}
