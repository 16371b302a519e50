import { ShapeError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { normalizeAxis, showDims } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { arange, scalar, zeros } from "./create.js";
import { add } from "./elementwise.js";
import { asIndex, castTo, expectDims, expectDtype } from "./expect.js";
import { takeOp } from "./gather.js";

export interface UpdateSliceArg {
  readonly axis: number;
}

/**
 * `base` with `value` written over it along an axis from position `start`:
 *
 *     y[a, j, b] = value[a, j - start, b] where 0 ≤ j - start < m, else base[a, j, b]
 *
 * base is [A.., n, B..], value [A.., m, B..] with m ≤ n, start an i32 scalar that is no part of the plan's key, so that
 * a cache grows without new plans. Rows that would fall outside are left out.
 */
export const updateSliceOp: OpDef<UpdateSliceArg> = /* @__PURE__ */ defineOp<UpdateSliceArg>("updateSlice", {
  scalarInputs: [2],
  kind: "kernel",
  infer([base, value, start], { axis }) {
    const m = value!.dims[axis];
    if (m === undefined || m > base!.dims[axis]! || value!.dims.length !== base!.dims.length) {
      throw new ShapeError({
        where: "updateSlice",
        expected: `a value that fits in ${showDims(base!.dims)} along axis ${axis}`,
        got: showDims(value!.dims),
      });
    }
    expectDims(
      "updateSlice",
      "value",
      value!.dims,
      base!.dims.map((d, i) => (i === axis ? m : d)),
    );
    expectDtype("updateSlice", "value", value!.dtype, base!.dtype);
    expectDtype("updateSlice", "start", start!.dtype, "i32");
    expectDims("updateSlice", "start", start!.dims, []);
    return base!;
  },
  vjp(dy, { inputs: [, value, start], arg: { axis }, needs }) {
    return [
      // What was overwritten gets no gradient.
      needs[0]
        ? apply(updateSliceOp, [dy, zeros(value!.shape, { dtype: dy.dtype }), start!], { axis })
        : null,
      needs[1]
        ? apply(takeOp, [dy, add(arange(0, value!.shape[axis]!, 1, { dtype: "i32" }), start!)], { axis })
        : null,
      null,
    ];
  },
});

/**
 * `base` with `value` written along `axis` from `start` (a number or an integer scalar tensor). Nothing is changed in
 * place as far as a caller can see; the engine writes into the memory of `base` when nobody else reads it.
 *
 * @category Joining and splitting
 */
export function updateSlice(base: Tensor, value: Tensor, start: number | Tensor, axis = 0): Tensor {
  const at = normalizeAxis("updateSlice", axis, base.ndim);
  const from =
    typeof start === "number" ? scalar(start, { dtype: "i32" }) : asIndex("updateSlice", "start", start);
  return apply(updateSliceOp, [base, castTo(value, base.dtype), from], { axis: at });
}
