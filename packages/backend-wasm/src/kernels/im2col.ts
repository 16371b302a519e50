import type { DType, KernelGroup } from "@lowrank/tensor/backend";
import { COL2IM, IM2COL } from "../../assembly/ids.js";
import { type ArgWord, chunksOf, DTYPE_IDS, type EmitContext, type Kernel, operandAt } from "../emit.js";

type Pair = readonly [number, number];

interface Window {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: readonly [Pair, Pair];
  readonly dilation: Pair;
}

/** Elements worth waking a thread for. */
const GRAIN = 1 << 15;

/** Bits of -∞; of f64 the upper half. */
const MINUS_INFINITY: Partial<Record<DType, number>> = {
  f32: 0xff800000,
  f16: 0xfc00,
  bf16: 0xff80,
  f64: 0xfff00000,
};

function words(
  group: KernelGroup,
  ctx: EmitContext,
  images: number,
  size: Pair,
  windows: Pair,
  fill: number,
): ArgWord[] {
  const { kernel, stride, padding, dilation } = group.arg as Window;
  const x = operandAt(group, 0);
  return [
    ctx.pointer(x),
    ctx.pointer(group.outputs[0]!),
    images,
    ...size,
    ...kernel,
    ...stride,
    padding[0][0],
    padding[1][0],
    ...dilation,
    ...windows,
    DTYPE_IDS[x.dtype],
    fill,
  ];
}

/** Windows along each axis. */
function windowsOf(size: Pair, { kernel, stride, padding, dilation }: Window): Pair {
  const count = (a: 0 | 1): number =>
    Math.floor((size[a] + padding[a][0] + padding[a][1] - dilation[a] * (kernel[a] - 1) - 1) / stride[a]) + 1;
  return [count(0), count(1)];
}

export const im2colKernel: Kernel = {
  emit(group, ctx) {
    const { fill } = group.arg as { fill: 0 | "-inf" };
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const [n, c, h, w] = operandAt(group, 0).dims as [number, number, number, number];
    const bits = fill === 0 ? 0 : MINUS_INFINITY[y.dtype]!;
    const windows = windowsOf([h, w], group.arg as Window);
    ctx.command(IM2COL, words(group, ctx, n * c, [h, w], windows, bits), chunksOf(y.size, 2 * GRAIN));
  },
};

export const col2imKernel: Kernel = {
  emit(group, ctx) {
    const { size } = group.arg as { size: Pair };
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const columns = operandAt(group, 0);
    const images = y.dims[0]! * y.dims[1]!;
    ctx.scratch(size[0] * size[1] * 4);
    const windows = windowsOf(size, group.arg as Window);
    ctx.command(
      COL2IM,
      words(group, ctx, images, size, windows, 0),
      Math.min(images, chunksOf(columns.value.size, GRAIN)),
    );
  },
};
