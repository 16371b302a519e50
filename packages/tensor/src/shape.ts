import { ShapeError } from "./errors.js";

/** Sizes along the axes, outermost first. */
export type Dims = readonly number[];

/** An interned shape: equal dims are the same object, so that shapes compare by `id`. */
export interface Shape {
  readonly id: number;
  readonly dims: Dims;
  /** Number of elements. */
  readonly size: number;
}

interface ShapeTrie {
  shape: Shape | null;
  next: Map<number, ShapeTrie> | null;
}

const root: ShapeTrie = { shape: null, next: null };
let count = 0;

/** The one `Shape` of these dims. */
export function internShape(dims: Dims): Shape {
  let at = root;
  for (let i = 0; i < dims.length; i++) {
    at.next ??= new Map();
    let child = at.next.get(dims[i]!);
    if (!child) at.next.set(dims[i]!, (child = { shape: null, next: null }));
    at = child;
  }
  if (!at.shape) {
    for (const d of dims) {
      if (!Number.isInteger(d) || d < 0) {
        throw new ShapeError({
          where: "shape",
          expected: "dimensions that are integers ≥ 0",
          got: showDims(dims),
        });
      }
    }
    const size = sizeOf(dims);
    if (size > Number.MAX_SAFE_INTEGER) {
      throw new ShapeError({ where: "shape", expected: "fewer than 2^53 elements", got: showDims(dims) });
    }
    at.shape = { id: count++, dims: Object.freeze(dims.slice()), size };
  }
  return at.shape;
}

export const showDims = (dims: Dims): string => `[${dims.join(", ")}]`;

export function sizeOf(dims: Dims): number {
  let size = 1;
  for (let i = 0; i < dims.length; i++) size *= dims[i]!;
  return size;
}

/** Row-major strides in elements. */
export function contiguousStrides(dims: Dims): number[] {
  const strides = new Array<number>(dims.length);
  let step = 1;
  for (let i = dims.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= dims[i]!;
  }
  return strides;
}

export const sameDims = (a: Dims, b: Dims): boolean => {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};

/** An axis counted from the end when negative, checked against the rank. */
export function normalizeAxis(where: string, axis: number, rank: number): number {
  const at = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || at < 0 || at >= rank) {
    throw new ShapeError({
      where,
      expected: rank === 0 ? "a tensor with at least one axis" : `an axis from ${-rank} to ${rank - 1}`,
      got: rank === 0 ? `a scalar and axis ${axis}` : String(axis),
    });
  }
  return at;
}

/** Sorted, checked, distinct axes; undefined means all. */
export function normalizeAxes(
  where: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (typeof axes === "number" ? [axes] : [...axes]).map((a) => normalizeAxis(where, a, rank));
  list.sort((a, b) => a - b);
  for (let i = 1; i < list.length; i++) {
    if (list[i] === list[i - 1]) {
      throw new ShapeError({ where, expected: "axes that differ", got: `axis ${list[i]} twice` });
    }
  }
  return list;
}

/** The shape of an element-wise result: axes align from the right, and a 1 stretches. */
export function broadcastDims(where: string, a: Dims, b: Dims): Dims {
  if (sameDims(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 0; i < rank; i++) {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new ShapeError({
        where,
        expected: `shapes that broadcast (equal or 1 from the right; axis ${i} has ${x} and ${y})`,
        got: `${showDims(a)} and ${showDims(b)}`,
      });
    }
    out[i] = x === 1 ? y : x;
  }
  return out;
}

/** Resolves one -1 in a requested shape. */
export function resolveDims(where: string, requested: Dims, size: number): number[] {
  const out = requested.slice();
  const free = out.indexOf(-1);
  if (free >= 0) {
    const rest = out.reduce((p, d, i) => (i === free ? p : p * d), 1);
    out[free] = rest === 0 ? 0 : size / rest;
  }
  if (sizeOf(out) !== size || out.some((d) => !Number.isInteger(d) || d < 0)) {
    throw new ShapeError({ where, expected: `a shape of ${size} elements`, got: showDims(requested) });
  }
  return out;
}
