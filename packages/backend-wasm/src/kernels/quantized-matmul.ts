import { dtypeBytes, type KernelGroup } from "@lowrank/tensor/backend";
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
const THIN_ROWS = 10;
/** From so many columns on there are four blocks of integers. */
const LEAST_DEPTH = 128;
const LARGEST = { f32: 0, int16: 32767, int8: 127 };
const NONE = 0;
/** Rows of x whose integers are at hand while the codes pass by. */
const ROWS_AT_ONCE = 32;

/**
 * x times a matrix of codes: widened in registers for few rows and in packed panels for many. With x in integers all rows
 * meet the codes as they are read, which is as fast as panels of f32.
 */
export const quantizedMatmulKernel: Kernel = {
  supports: ({ inputs, arg }) => {
    const { activations, transposed } = arg as Arg;
    const narrow = inputs.every(({ dtype }, i) => i === 1 || isNarrowFloat(dtype));
    const long = inputs[0]!.dims[1]! >= LEAST_DEPTH;
    return narrow && (activations === "f32" || (long && !transposed));
  },
  emit(group, ctx) {
    const out = group.outputs[0]!;
    if (out.size === 0) return;
    const { transposed, activations } = group.arg as Arg;
    const half = out.dtype !== "f32";
    const y = half ? ctx.workspace(out.size * 4) : ctx.pointer(out);
    if (activations !== "f32" || (out.dims[0]! <= THIN_ROWS && !transposed)) emitThin(group, y, ctx);
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
  // Numbers, sums of groups or blocks, two more numbers of each block; each part begins with a whole vector.
  const bytes = K * 4 + (K / Math.min(groupSize, 32)) * 4 + K / 8 + 64;
  const stride = Math.ceil(bytes / 64) * 64;
  const prepared = ctx.workspace(Math.min(rows, ROWS_AT_ONCE) * stride);
  ctx.scratch(K + 256); // sums, scales and mins of four rows
  for (let row = 0; row < rows; row += ROWS_AT_ONCE) {
    const count = Math.min(ROWS_AT_ONCE, rows - row);
    const from = ctx.pointer(x, row * K * dtypeBytes(x.dtype));
    ctx.command(
      QUANTIZED_PREPARE,
      [from, prepared, count, K, groupSize, bits, DTYPE_IDS[x.dtype], largest, stride],
      Math.min(count, chunksOf(count * K, 1 << 13)),
    );
    const to = ctx.offset(y, row * N * 4);
    ctx.command(
      QUANTIZED_THIN,
      [prepared, ...pointers, to, count, N, K, groupSize, bits, ...dtypes, largest, stride],
      Math.min(Math.ceil(N / 4), chunksOf(count * N * K, 1 << 17)),
    );
  }
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
