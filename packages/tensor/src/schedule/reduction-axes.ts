import type { Expr } from "./expr.js";
import { LoopBuilder } from "./loop-builder.js";
import type { View } from "./view.js";

/** A loop whose axes are those of its source in another order; nothing else joins it. */
export class PermutedLoop extends LoopBuilder {
  override readonly movable: boolean = false;

  constructor(
    at: number,
    phase: number,
    dims: readonly number[],
    private readonly order: readonly number[],
  ) {
    super(at, phase, dims);
  }

  override emit(expr: Expr): number {
    return super.emit(permuteExpr(expr, this.order));
  }
}

function permuteExpr(expr: Expr, order: readonly number[]): Expr {
  const dims = order.map((d) => expr.dims[d]!);
  if (expr.kind === "scalar") return { ...expr, dims };
  if (expr.kind === "formula")
    return { ...expr, dims, sources: expr.sources.map((s) => permuteExpr(s, order)) };
  const view: View = { dims, offset: expr.view.offset, strides: order.map((d) => expr.view.strides[d]!) };
  return { ...expr, dims, view };
}

/** Whether the marked axes lie side by side, axes of size 1 aside. */
export function oneRun(dims: readonly number[], mask: readonly boolean[]): boolean {
  let runs = 0;
  let inside = false;
  for (const [d, n] of dims.entries()) {
    if (n === 1) continue;
    if (mask[d] && !inside) runs++;
    inside = mask[d]!;
  }
  return runs <= 1;
}

/** A mask over `dims` carried to `space`, a refinement of them. */
export function spread(
  dims: readonly number[],
  mask: readonly boolean[],
  space: readonly number[],
): boolean[] | null {
  const out: boolean[] = [];
  let at = 0;
  for (const [d, n] of dims.entries()) {
    let left = n;
    while (left > 1) {
      if (at >= space.length || left % space[at]! !== 0) return null;
      left /= space[at++]!;
      out.push(mask[d]!);
    }
  }
  return out.length === space.length ? out : null;
}
