import type { Node } from "../node.js";
import type { Site, Target } from "./ir.js";
import { isIdentity, type View } from "./view.js";

/** The facts by which a backend says whether it has a kernel for a node. */
export function siteOf(node: Node): Site {
  return {
    op: node.op,
    arg: node.arg,
    inputs: node.sources.map((s) => ({ dtype: s.dtype, dims: s.shape.dims })),
    outputs: (node.outputs ?? [{ dtype: node.dtype, shape: node.shape }]).map((o) => ({
      dtype: o.dtype,
      dims: o.shape.dims,
    })),
  };
}

/** Whether a kernel that takes `layout` can read a view without a copy. */
export function layoutFits(layout: ReturnType<Target["layout"]>, view: View): boolean {
  const rank = view.dims.length;
  const unit = (d: number) => d < 0 || view.dims[d]! <= 1 || view.strides[d] === 1;
  switch (layout) {
    case "any":
      return true;
    case "contiguous":
      return isIdentity(view);
    case "rows":
      return unit(rank - 1);
    case "matrix":
      return unit(rank - 1) || unit(rank - 2);
  }
}
