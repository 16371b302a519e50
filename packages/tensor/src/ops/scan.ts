import { isFloat } from "../dtype.js";
import { defineOp, type OpDef } from "../op.js";
import { normalizeAxis } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { castTo, expectLastAxis } from "./expect.js";
import { moveaxis } from "./movement.js";

export interface CumsumArg {
  /** Sum from the end instead of from the start. */
  readonly reverse: boolean;
}

/**
 * Running sum along the last axis: y[.., i] = Σ_{j ≤ i} x[.., j], or Σ_{j ≥ i} when `reverse`. Same shape and dtype.
 */
export const cumsumOp: OpDef<CumsumArg> = /* @__PURE__ */ defineOp<CumsumArg>("cumsum", {
  kind: "kernel",
  infer([x]) {
    expectLastAxis("cumsum", x!);
    return x!;
  },
  // dx[j] = Σ_{i ≥ j} dy[i]
  vjp: (dy, { arg: { reverse } }) => [apply(cumsumOp, [dy], { reverse: !reverse })],
});

export interface CumsumOptions {
  /** Sum from the end. Default false. */
  reverse?: boolean;
}

/**
 * Running sum along `axis` (default the last), the element itself included. Integers and bools add up in i32.
 *
 * @category Reductions
 */
export function cumsum(x: Tensor, axis = -1, { reverse = false }: CumsumOptions = {}): Tensor {
  const at = normalizeAxis("cumsum", axis, x.ndim);
  const number = isFloat(x.dtype) ? x : castTo(x, "i32");
  if (at === x.ndim - 1) return apply(cumsumOp, [number], { reverse });
  return moveaxis(apply(cumsumOp, [moveaxis(number, at, -1)], { reverse }), -1, at);
}
