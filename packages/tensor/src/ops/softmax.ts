import { expectFloat } from "../dtype.js";
import { defineOp, type OpDef } from "../op.js";
import { normalizeAxis } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { cast, div, exp, gt, log, mul, sub, where } from "./elementwise.js";
import { castTo, expectDims, expectDtype, expectLastAxis, widen } from "./expect.js";
import { moveaxis, stopGradient } from "./movement.js";
import { max, sum } from "./reduce.js";

const ROW = { keepDims: true } as const;

/**
 * The largest number of each row, [.., 1], without a gradient; 0 for a row that holds only -∞, so that it can be
 * subtracted.
 */
export function rowShift(x: Tensor): Tensor {
  const m = stopGradient(max(x, -1, ROW));
  return where(gt(m, Number.NEGATIVE_INFINITY), m, 0);
}

/** Divides by a row's sum, or by 1 where a row of -∞ has left the sum 0. */
export const perSum = (e: Tensor, total: Tensor): Tensor => div(e, where(gt(total, 0), total, 1));

/**
 * Softmax over the last axis:
 *
 *     y[.., i] = exp(x[.., i] - m) / Σ_j exp(x[.., j] - m), m = max_j x[.., j]
 *
 * Computed in f32 (f64 for f64), stored in x's dtype. A row of only -∞ gives zeros.
 */
export const softmaxOp: OpDef<null> = /* @__PURE__ */ defineOp("softmax", {
  kind: "composite",
  infer([x]) {
    expectFloat("softmax", "x", x!.dtype);
    expectLastAxis("softmax", x!);
    return x!;
  },
  vjp: (dy, { outputs: [y] }) => [apply(softmaxBackwardOp, [y!, dy], null)],
  meaning([x]) {
    const wide = widen(x!);
    const e = exp(sub(wide, rowShift(wide)));
    return castTo(perSum(e, sum(e, -1, ROW)), x!.dtype);
  },
});

/** dx = y · (dy - Σ_j y_j dy_j) over the last axis. */
export const softmaxBackwardOp: OpDef<null> = /* @__PURE__ */ defineOp("softmaxBackward", {
  kind: "composite",
  infer([y, dy]) {
    expectDims("softmaxBackward", "dy", dy!.dims, y!.dims);
    expectDtype("softmaxBackward", "dy", dy!.dtype, y!.dtype);
    return y!;
  },
  meaning([y, dy]) {
    const [p, g] = [widen(y!), widen(dy!)];
    return castTo(mul(p, sub(g, sum(mul(p, g), -1, ROW))), y!.dtype);
  },
});

/** Runs `f` with `axis` last. */
function overAxis(where: string, x: Tensor, axis: number, f: (x: Tensor) => Tensor): Tensor {
  expectFloat(where, "x", x.dtype);
  const at = normalizeAxis(where, axis, x.ndim);
  if (x.size === 0) return x;
  return at === x.ndim - 1 ? f(x) : moveaxis(f(moveaxis(x, at, -1)), -1, at);
}

/**
 * Softmax along `axis` (default the last): exp(x) / Σ exp(x), numerically safe. Where all of a row is -∞ it gives
 * zeros.
 *
 * @category Softmax and losses
 */
export const softmax = (x: Tensor, axis = -1): Tensor =>
  overAxis("softmax", x, axis, (t) => apply(softmaxOp, [t], null));

/**
 * The logarithm of softmax along `axis` (default the last): x - log Σ exp(x), without forming the quotient. A row of
 * only -∞ gives -∞.
 *
 * @category Softmax and losses
 */
export const logSoftmax = (x: Tensor, axis = -1): Tensor =>
  overAxis("logSoftmax", x, axis, (t) => {
    const wide = widen(t);
    const shifted = sub(wide, rowShift(wide));
    const total = sum(exp(shifted), -1, ROW);
    return cast(sub(shifted, log(where(gt(total, 0), total, 1))), t.dtype);
  });
