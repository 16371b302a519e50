import type { KernelGroup } from "@lowrank/tensor/backend";
import { ARG_EXTREME, CUMSUM, SORT } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, type EmitContext, type Kernel, operandAt } from "../emit.js";
import { rowsOf } from "./operands.js";

/** Elements worth waking a thread for. */
const SORT_GRAIN = 1 << 12;
const SCAN_GRAIN = 1 << 12;

/** Writes the first `keep` of each row in order. */
function emitSort(group: KernelGroup, ctx: EmitContext, keep: number, descending: boolean): void {
  const x = operandAt(group, 0);
  const [values, indices] = group.outputs;
  if (values!.size === 0) return;
  const { rows, n } = rowsOf(x.dims);
  ctx.scratch(x.dtype === "f64" ? n * 32 : n * 16 + 4096);
  ctx.command(
    SORT,
    [
      ctx.pointer(x),
      ctx.pointer(values!),
      ctx.pointer(indices!),
      rows,
      n,
      keep,
      DTYPE_IDS[x.dtype],
      descending ? 1 : 0,
    ],
    Math.min(rows, chunksOf(rows * n, SORT_GRAIN)),
    chunksOf(rows * n, SORT_GRAIN),
  );
}

export const sortKernel: Kernel = {
  emit(group, ctx) {
    const { descending } = group.arg as { descending: boolean };
    emitSort(group, ctx, rowsOf(operandAt(group, 0).dims).n, descending);
  },
};

export const topKKernel: Kernel = {
  emit(group, ctx) {
    const { k, largest } = group.arg as { k: number; largest: boolean };
    emitSort(group, ctx, k, largest);
  },
};

const argExtreme = (least: boolean): Kernel => ({
  emit(group, ctx) {
    const x = operandAt(group, 0);
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const { rows, n } = rowsOf(x.dims);
    ctx.command(
      ARG_EXTREME,
      [ctx.pointer(x), ctx.pointer(y), rows, n, DTYPE_IDS[x.dtype], least ? 1 : 0],
      chunksOf(rows * n, SCAN_GRAIN),
    );
  },
});

export const argmaxKernel: Kernel = /* @__PURE__ */ argExtreme(false);
export const argminKernel: Kernel = /* @__PURE__ */ argExtreme(true);

export const cumsumKernel: Kernel = {
  inPlace: 0,
  emit(group, ctx) {
    const { reverse } = group.arg as { reverse: boolean };
    const x = operandAt(group, 0);
    if (group.outputs[0]!.size === 0) return;
    const { rows, n } = rowsOf(x.dims);
    ctx.command(
      CUMSUM,
      [ctx.pointer(x), ctx.pointer(group.outputs[0]!), rows, n, DTYPE_IDS[x.dtype], reverse ? 1 : 0],
      Math.min(rows, chunksOf(rows * n, SCAN_GRAIN)),
      chunksOf(rows * n, SCAN_GRAIN),
    );
  },
};
