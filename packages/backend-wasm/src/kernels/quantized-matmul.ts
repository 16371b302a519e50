import type { KernelGroup } from "@lowrank/tensor/backend";
import { MATMUL_NARROW, QUANTIZED_PACK, QUANTIZED_PREPARE, QUANTIZED_THIN } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, type EmitContext, type Fixup, type Kernel, operandAt } from "../emit.js";
import { emitPacked } from "./matmul.js";
import { isNarrowFloat } from "./operands.js";

interface Arg {
  readonly bits: 8 | 4;
  readonly groupSize: number;
  readonly activations: "f32" | "int16" | "int8";
  readonly transposed: boolean;
}

/** Up to so many rows the codes are multiplied as they are read; more share panels that are widened once. */
const THIN_ROWS = 4;
const LARGEST = { f32: 0, int16: 32767, int8: 127 };
const NONE = 0;

/** x times a matrix of codes, widened in registers for few rows and in packed panels for many. */
export const quantizedMatmulKernel: Kernel = {
  supports: ({ inputs, arg }) => {
    const [x, , ...parts] = inputs;
    const { activations, transposed } = arg as Arg;
    // Many rows are taken as they are: rounding them would change the result without being faster.
    const rounded = activations !== "f32" && (transposed || x!.dims[0]! > THIN_ROWS);
    return !rounded && isNarrowFloat(x!.dtype) && parts.every((p) => isNarrowFloat(p.dtype));
  },
  emit(group, ctx) {
    const out = group.outputs[0]!;
    if (out.size === 0) return;
    const { transposed } = group.arg as Arg;
    const half = out.dtype !== "f32";
    const y = half ? ctx.workspace(out.size * 4) : ctx.pointer(out);
    if (out.dims[0]! <= THIN_ROWS && !transposed) emitThin(group, y, ctx);
    else emitPanels(group, y, ctx);
    if (half) {
      const args = [y, ctx.pointer(out), out.size, DTYPE_IDS[out.dtype]];
      ctx.command(MATMUL_NARROW, args, chunksOf(out.size, 1 << 16));
    }
  },
};

/** The matrix of codes: pointers, sizes and dtypes as the kernels want them. */
function weightOf(group: KernelGroup, ctx: EmitContext) {
  const { bits, groupSize } = group.arg as Arg;
  const [codes, scales] = [operandAt(group, 1), operandAt(group, 2)];
  const mins = group.inputs.length > 3 ? operandAt(group, 3) : null;
  return {
    bits,
    groupSize,
    rows: codes.dims[0]!,
    columns: (codes.dims[1]! * 8) / bits,
    pointers: [ctx.pointer(codes), ctx.pointer(scales), mins ? ctx.pointer(mins) : NONE],
    dtypes: [DTYPE_IDS[scales.dtype], mins ? DTYPE_IDS[mins.dtype] : NONE],
  };
}

function emitThin(group: KernelGroup, y: Fixup, ctx: EmitContext): void {
  const x = operandAt(group, 0);
  const { bits, groupSize, rows: N, columns: K, pointers, dtypes } = weightOf(group, ctx);
  const rows = x.dims[0]!;
  const largest = LARGEST[(group.arg as Arg).activations];
  // Numbers, sums of groups or blocks, steps of blocks; each part begins with a whole vector.
  const bytes = K * 4 + (K / Math.min(groupSize, 32)) * 4 + K / 8 + 64;
  const stride = Math.ceil(bytes / 64) * 64;
  const prepared = ctx.workspace(rows * stride);
  ctx.command(
    QUANTIZED_PREPARE,
    [ctx.pointer(x), prepared, rows, K, groupSize, bits, DTYPE_IDS[x.dtype], largest, stride],
    1,
  );
  ctx.scratch(K / 4 + 32); // scales of two rows
  ctx.command(
    QUANTIZED_THIN,
    [prepared, ...pointers, y, rows, N, K, groupSize, bits, ...dtypes, largest, stride],
    Math.min(Math.ceil(N / 4), chunksOf(rows * N * K, 1 << 19)),
  );
}

function emitPanels(group: KernelGroup, y: Fixup, ctx: EmitContext): void {
  const x = operandAt(group, 0);
  const { transposed } = group.arg as Arg;
  const { bits, groupSize, rows, columns, pointers, dtypes } = weightOf(group, ctx);
  const [K, N] = transposed ? [rows, columns] : [columns, rows];
  const product = {
    M: x.dims[0]!,
    N,
    K,
    a: ctx.pointer(x),
    b: pointers[0] as Fixup,
    c: y,
    rowA: K,
    stepA: 1,
    stepB: 0,
    columnB: 0,
    rowC: N,
    columnC: 1,
    dtypeA: x.dtype,
    dtypeB: "f32" as const,
    batch: [],
  };
  emitPacked(product, ctx, (column, count, depth, packed) => {
    ctx.command(
      QUANTIZED_PACK,
      [...pointers, packed, K, count, column, depth, bits, groupSize, columns, ...dtypes, transposed ? 1 : 0],
      Math.min(Math.ceil(count / 8), chunksOf(K * count, 1 << 16)),
    );
  });
}
