import { promote } from "../dtype.js";
import { ConfigError, DTypeError, ShapeError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { type Dims, normalizeAxis, sameDims, showDims } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { castTo } from "./expect.js";
import { type Range, reshape, slice } from "./movement.js";

export interface ConcatArg {
  readonly axis: number;
}

/** All of a tensor except along one axis. */
const along = (rank: number, axis: number, start: number, stop: number): Range[] =>
  Array.from({ length: rank }, (_, i) => (i === axis ? [start, stop] : null));

/**
 * Joins tensors end to end along an axis: inputs [A.., n_i, B..] give [A.., Σ n_i, B..]. All of one dtype.
 */
export const concatOp: OpDef<ConcatArg> = /* @__PURE__ */ defineOp<ConcatArg>("concat", {
  kind: "kernel",
  infer(inputs, { axis }) {
    const first = inputs[0];
    if (!first) throw new ConfigError({ where: "concat", expected: "at least one tensor", got: "none" });
    let total = 0;
    for (const { dims, dtype } of inputs) {
      if (dtype !== first.dtype) {
        throw new DTypeError({
          where: "concat",
          expected: `all tensors of dtype ${first.dtype}`,
          got: dtype,
        });
      }
      if (dims.length !== first.dims.length || dims.some((d, i) => i !== axis && d !== first.dims[i])) {
        throw new ShapeError({
          where: "concat",
          expected: `shapes equal to ${showDims(first.dims)} except along axis ${axis}`,
          got: showDims(dims),
        });
      }
      total += dims[axis]!;
    }
    return { dtype: first.dtype, dims: first.dims.map((d, i) => (i === axis ? total : d)) };
  },
  vjp(dy, { inputs, arg: { axis }, needs }) {
    let start = 0;
    return inputs.map((x, i) => {
      const stop = start + x.shape[axis]!;
      const dx = needs[i] ? slice(dy, along(dy.ndim, axis, start, stop)) : null;
      start = stop;
      return dx;
    });
  },
});

/**
 * Joins tensors along an existing axis (default 0). Different dtypes are promoted.
 *
 * @category Joining and splitting
 */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const first = tensors[0];
  if (!first)
    throw new ConfigError({ where: "concat", expected: "at least one tensor", got: "an empty list" });
  const at = normalizeAxis("concat", axis, first.ndim);
  if (tensors.length === 1) return first;
  const dtype = tensors.reduce((d, t) => promote(d, t.dtype), first.dtype);
  return apply(
    concatOp,
    tensors.map((t) => castTo(t, dtype)),
    { axis: at },
  );
}

/**
 * Joins tensors of one shape along a new axis (default 0): k tensors [A.., B..] give [A.., k, B..].
 *
 * @category Joining and splitting
 */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  const first = tensors[0];
  if (!first)
    throw new ConfigError({ where: "stack", expected: "at least one tensor", got: "an empty list" });
  const at = normalizeAxis("stack", axis, first.ndim + 1);
  const dims: Dims = [...first.shape.slice(0, at), 1, ...first.shape.slice(at)];
  return concat(
    tensors.map((t) => {
      if (!sameDims(t.shape, first.shape)) {
        throw new ShapeError({
          where: "stack",
          expected: `every tensor of shape ${showDims(first.shape)}`,
          got: showDims(t.shape),
        });
      }
      return reshape(t, dims);
    }),
    at,
  );
}

/**
 * Cuts a tensor along `axis` (default 0) into views: into `sections` equal parts, or into parts of the given sizes,
 * which must add up to the axis.
 *
 * @category Joining and splitting
 */
export function split(x: Tensor, sections: number | readonly number[], axis = 0): Tensor[] {
  const at = normalizeAxis("split", axis, x.ndim);
  const n = x.shape[at]!;
  const even = typeof sections === "number";
  const sizes = even
    ? new Array<number>(Math.max(0, Math.trunc(sections) || 0)).fill(n / sections)
    : sections;
  if (
    sizes.length === 0 ||
    sizes.some((s) => !Number.isInteger(s) || s < 0) ||
    sizes.reduce((a, b) => a + b, 0) !== n
  ) {
    throw new ConfigError({
      where: "split",
      expected: even ? `a number of sections that divides ${n}` : `sizes that add up to ${n}`,
      got: even ? String(sections) : showDims(sizes),
    });
  }
  let start = 0;
  return sizes.map((size) => slice(x, along(x.ndim, at, start, (start += size))));
}
