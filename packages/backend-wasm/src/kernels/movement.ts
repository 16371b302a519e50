import { dtypeBytes, sameHome, type Value } from "@lowrank/tensor/backend";
import { UPDATE_SLICE } from "../../assembly/ids.js";
import { chunksOf, type Kernel, operandAt } from "../emit.js";
import { emitCopy, emitZeros } from "./copy.js";
import { around, scalarAddress } from "./operands.js";

/** Row-major strides of a value, in elements. */
function rowMajor({ dims }: Value): number[] {
  const strides = new Array<number>(dims.length);
  for (let d = dims.length - 1, stride = 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= dims[d]!;
  }
  return strides;
}

export const concatKernel: Kernel = {
  layout: () => "any",
  emit(group, ctx) {
    const { axis } = group.arg as { axis: number };
    const y = group.outputs[0]!;
    const strides = rowMajor(y);
    let place = 0;
    for (let i = 0; i < group.inputs.length; i++) {
      const x = operandAt(group, i);
      emitCopy(ctx, x, y, place * strides[axis]!, strides);
      place += x.dims[axis]!;
    }
  },
};

export const padKernel: Kernel = {
  layout: () => "any",
  emit(group, ctx) {
    const { low, interior } = group.arg as { low: readonly number[]; interior: readonly number[] };
    const x = operandAt(group, 0);
    const y = group.outputs[0]!;
    emitZeros(ctx, y);
    const strides = rowMajor(y);
    const offset = low.reduce((sum, n, d) => sum + n * strides[d]!, 0);
    emitCopy(
      ctx,
      x,
      y,
      offset,
      strides.map((stride, d) => stride * (interior[d]! + 1)),
    );
  },
};

export const updateSliceKernel: Kernel = {
  layout: (index) => (index === 0 ? "any" : "contiguous"),
  inPlace: 0,
  emit(group, ctx) {
    const { axis } = group.arg as { axis: number };
    const [base, value] = [operandAt(group, 0), operandAt(group, 1)];
    const y = group.outputs[0]!;
    if (!sameHome(base.value, y)) emitCopy(ctx, base, y, 0, rowMajor(y));
    const { outer, n, inner } = around(y.dims, axis);
    const m = value.dims[axis]!;
    const bytes = inner * dtypeBytes(y.dtype);
    if (outer * m * bytes === 0) return;
    ctx.command(
      UPDATE_SLICE,
      [ctx.pointer(value), ctx.pointer(y), scalarAddress(group, 2, ctx), outer, n, m, bytes],
      chunksOf(outer * m * bytes, 1 << 19),
    );
  },
};
