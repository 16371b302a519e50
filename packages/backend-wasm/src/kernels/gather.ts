import { dtypeBytes } from "@lowrank/tensor/backend";
import { SCATTER_ADD, SCATTER_ADD_ALONG_AXIS, TAKE, TAKE_ALONG_AXIS } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, type Kernel, operandAt } from "../emit.js";
import { around, sizeOf } from "./operands.js";

/** Bytes of a copy worth waking a thread for. */
const COPY_GRAIN = 1 << 19;
/** Sums worth waking a thread for. */
const SUM_GRAIN = 1 << 15;
/** Bytes of scratch for sums that are not made in place. */
const SUM_BYTES = 1 << 18;

export const takeKernel: Kernel = {
  emit(group, ctx) {
    const { axis } = group.arg as { axis: number };
    const [x, indices] = [operandAt(group, 0), operandAt(group, 1)];
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const { outer, n, inner } = around(x.dims, axis);
    const bytes = inner * dtypeBytes(x.dtype);
    const count = sizeOf(indices.dims);
    ctx.command(
      TAKE,
      [ctx.pointer(x), ctx.pointer(indices), ctx.pointer(y), outer, n, count, bytes],
      chunksOf(outer * count * Math.max(bytes, 16), COPY_GRAIN),
    );
  },
};

export const scatterAddKernel: Kernel = {
  emit(group, ctx) {
    const { axis, size } = group.arg as { axis: number; size: number };
    const [indices, updates] = [operandAt(group, 0), operandAt(group, 1)];
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const { outer, inner } = around(y.dims, axis);
    const count = sizeOf(indices.dims);
    // Sums of narrow dtypes are made in scratch, some rows of the result at a time.
    const rows = Math.max(1, Math.floor(SUM_BYTES / (inner * 4)));
    ctx.scratch(rows * inner * 4);
    // Every part reads all indices, which must stay little beside its sums.
    const parts = Math.min(
      16,
      outer * Math.ceil(inner / 8),
      chunksOf(sizeOf(updates.dims) + y.size / 4, SUM_GRAIN),
    );
    ctx.command(
      SCATTER_ADD,
      [
        ctx.pointer(indices),
        ctx.pointer(updates),
        ctx.pointer(y),
        outer,
        size,
        inner,
        count,
        DTYPE_IDS[y.dtype],
        rows,
      ],
      parts,
    );
  },
};

export const takeAlongAxisKernel: Kernel = {
  emit(group, ctx) {
    const { axis } = group.arg as { axis: number };
    const [x, indices] = [operandAt(group, 0), operandAt(group, 1)];
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const { outer, n, inner } = around(x.dims, axis);
    ctx.command(
      TAKE_ALONG_AXIS,
      [
        ctx.pointer(x),
        ctx.pointer(indices),
        ctx.pointer(y),
        outer,
        n,
        y.dims[axis]!,
        inner,
        dtypeBytes(x.dtype),
      ],
      chunksOf(y.size, SUM_GRAIN),
    );
  },
};

export const scatterAddAlongAxisKernel: Kernel = {
  emit(group, ctx) {
    const { axis, size } = group.arg as { axis: number; size: number };
    const [indices, updates] = [operandAt(group, 0), operandAt(group, 1)];
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const { outer, inner } = around(y.dims, axis);
    const columns = Math.max(1, Math.min(inner, 64, Math.floor(SUM_BYTES / (size * 8))));
    ctx.scratch(size * columns * 8);
    const weight = chunksOf(y.size + sizeOf(updates.dims), SUM_GRAIN);
    ctx.command(
      SCATTER_ADD_ALONG_AXIS,
      [
        ctx.pointer(indices),
        ctx.pointer(updates),
        ctx.pointer(y),
        outer,
        size,
        indices.dims[axis]!,
        inner,
        DTYPE_IDS[y.dtype],
        columns,
      ],
      Math.min(outer * Math.ceil(inner / columns), weight),
      weight,
    );
  },
};
