import type { Node } from "../node.js";
import { contiguousStrides, type Dims, sameDims, sizeOf } from "../shape.js";

/** An affine way to read a row-major value: the element at index i of `dims` is at `offset + Σ strides[d] · i[d]`. */
export interface View {
  readonly dims: Dims;
  readonly offset: number;
  readonly strides: readonly number[];
}

export const identityView = (dims: Dims): View => ({ dims, offset: 0, strides: contiguousStrides(dims) });

/** True if the view reads elements 0, 1, 2, ... in order; axes of size 1 do not matter. */
export function isIdentity(view: View): boolean {
  if (view.offset !== 0) return false;
  let step = 1;
  for (let d = view.dims.length - 1; d >= 0; d--) {
    const n = view.dims[d]!;
    if (n !== 1 && view.strides[d] !== step) return false;
    step *= n;
  }
  return true;
}

/** The same elements under other dims of the same size, or null if no strides can say it. */
export function reshapeView(view: View, dims: Dims): View | null {
  if (sameDims(view.dims, dims)) return view;
  if (sizeOf(dims) === 0) return { dims, offset: view.offset, strides: contiguousStrides(dims) };
  // Merge the axes of the old view as far as they go: runs of (size, stride), innermost stride.
  const sizes: number[] = [];
  const steps: number[] = [];
  for (let d = 0; d < view.dims.length; d++) {
    const n = view.dims[d]!;
    if (n === 1) continue;
    const last = sizes.length - 1;
    if (last >= 0 && steps[last] === view.strides[d]! * n) {
      sizes[last] = sizes[last]! * n;
      steps[last] = view.strides[d]!;
    } else {
      sizes.push(n);
      steps.push(view.strides[d]!);
    }
  }
  // Split the runs into the new axes, from the inside out.
  const strides = new Array<number>(dims.length).fill(0);
  let run = sizes.length - 1;
  let left = run >= 0 ? sizes[run]! : 1;
  let step = run >= 0 ? steps[run]! : 0;
  for (let d = dims.length - 1; d >= 0; d--) {
    const n = dims[d]!;
    if (n === 1) continue;
    if (left === 1) {
      run--;
      left = sizes[run]!;
      step = steps[run]!;
    }
    if (left % n !== 0) return null;
    strides[d] = step;
    step *= n;
    left /= n;
  }
  return { dims, offset: view.offset, strides };
}

export interface SliceArg {
  readonly starts: readonly number[];
  readonly steps: readonly number[];
  readonly sizes: readonly number[];
}

/** A movement node seen from its source's view, or null if that needs a copy. */
export function moveView(view: View, node: Node): View | null {
  const dims = node.shape.dims;
  switch (node.op.name) {
    case "reshape":
      return reshapeView(view, dims);
    case "permute": {
      const { axes } = node.arg as { axes: readonly number[] };
      return { dims, offset: view.offset, strides: axes.map((a) => view.strides[a]!) };
    }
    case "broadcast": {
      const lead = dims.length - view.dims.length;
      const strides = dims.map((_, d) =>
        d < lead || view.dims[d - lead] === 1 ? 0 : view.strides[d - lead]!,
      );
      return { dims, offset: view.offset, strides };
    }
    case "slice": {
      const { starts, steps } = node.arg as SliceArg;
      let offset = view.offset;
      const strides = view.strides.map((s, d) => {
        if (dims[d]! > 0) offset += s * starts[d]!;
        return s * steps[d]!;
      });
      return { dims, offset, strides };
    }
    default:
      return null;
  }
}

/** The coarsest dims that both `a` and `b` (of one size) are merges of, or null; sizes of 1 are dropped. */
export function commonRefinement(a: Dims, b: Dims): number[] | null {
  const x = a.filter((n) => n !== 1);
  const y = b.filter((n) => n !== 1);
  if (sameDims(x, y)) return x;
  const out: number[] = [];
  let i = x.length - 1;
  let j = y.length - 1;
  let p = i >= 0 ? x[i]! : 1;
  let q = j >= 0 ? y[j]! : 1;
  while (i >= 0 && j >= 0) {
    const n = Math.min(p, q);
    if (n === 0 || p % n !== 0 || q % n !== 0) return null;
    out.push(n);
    p /= n;
    q /= n;
    if (p === 1 && --i >= 0) p = x[i]!;
    if (q === 1 && --j >= 0) q = y[j]!;
  }
  return i < 0 && j < 0 ? out.reverse() : null;
}
