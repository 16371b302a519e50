import { DTypeError, ConfigError, ShapeError } from "../errors.js";
import { expectFloat, isFloat, promote } from "../dtype.js";
import { defineOp, type OpDef } from "../op.js";
import { type Dims, showDims } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { add } from "./elementwise.js";
import { castTo, expectDims, expectPositiveInteger, expectRank } from "./expect.js";
import { matmul } from "./matmul.js";
import { reshape, transpose } from "./movement.js";

export type Pair = readonly [number, number];

export interface Window {
  readonly kernel: Pair;
  readonly stride: Pair;
  /** Places added before and after, in height and in width. */
  readonly padding: readonly [Pair, Pair];
  readonly dilation: Pair;
}

export interface Im2colArg extends Window {
  /** What the padding reads: 0, or -∞ (for a maximum). */
  readonly fill: 0 | "-inf";
}

export interface Col2imArg extends Window {
  /** Height and width of the image. */
  readonly size: Pair;
}

/** Windows that fit: floor((n + padding - dilation · (kernel - 1) - 1) / stride) + 1 in height and in width. */
export function windowCounts(where: string, size: Pair, { kernel, stride, padding, dilation }: Window): Pair {
  const count = (a: 0 | 1): number => {
    const reach = dilation[a] * (kernel[a] - 1) + 1;
    const room = size[a] + padding[a][0] + padding[a][1];
    if (room < reach) {
      throw new ShapeError({
        where,
        expected: `an image (with padding) of at least ${reach} in ${a === 0 ? "height" : "width"}`,
        got: String(room),
      });
    }
    return Math.floor((room - reach) / stride[a]) + 1;
  };
  return [count(0), count(1)];
}

const windowOf = ({ kernel, stride, padding, dilation }: Window): Window => ({
  kernel,
  stride,
  padding,
  dilation,
});

/**
 * The patches of an image as columns:
 *
 *     y[n, c, ky·kw + kx, oy·OW + ox] = x[n, c, oy·sh - ph + ky·dh, ox·sw - pw + kx·dw], `fill` outside
 *
 * x is [N, C, H, W], y [N, C, kh·kw, OH·OW].
 */
export const im2colOp: OpDef<Im2colArg> = /* @__PURE__ */ defineOp<Im2colArg>("im2col", {
  kind: "kernel",
  infer([x], arg) {
    expectRank("im2col", "x", x!.dims, 4, "[N, C, H, W]");
    if (arg.fill !== 0 && !isFloat(x!.dtype)) {
      throw new DTypeError({ where: "im2col", expected: "a float dtype to fill with -∞", got: x!.dtype });
    }
    const [n, c, h, w] = x!.dims as [number, number, number, number];
    const [oh, ow] = windowCounts("im2col", [h, w], arg);
    return { dtype: x!.dtype, dims: [n, c, arg.kernel[0] * arg.kernel[1], oh * ow] };
  },
  vjp: (dy, { inputs: [x], arg }) => [
    apply(col2imOp, [dy], { ...windowOf(arg), size: [x!.shape[2]!, x!.shape[3]!] }),
  ],
});

/** The transpose of `im2col`: adds each column back to its pixel. Columns [N, C, kh·kw, OH·OW] give [N, C, ...size]. */
export const col2imOp: OpDef<Col2imArg> = /* @__PURE__ */ defineOp<Col2imArg>("col2im", {
  kind: "kernel",
  infer([columns], arg) {
    expectRank("col2im", "columns", columns!.dims, 4, "[N, C, kh·kw, OH·OW]");
    const [oh, ow] = windowCounts("col2im", arg.size, arg);
    const [n, c] = columns!.dims as [number, number];
    expectDims("col2im", "columns", columns!.dims, [n, c, arg.kernel[0] * arg.kernel[1], oh * ow]);
    return { dtype: columns!.dtype, dims: [n, c, ...arg.size] };
  },
  vjp: (dy, { arg }) => [apply(im2colOp, [dy], { ...windowOf(arg), fill: 0 })],
});

export type Padding = number | Pair | readonly [Pair, Pair] | "same" | "valid";

export interface WindowOptions {
  /** Distance between windows, in height and width. Default 1. */
  stride?: number | Pair;
  /** Zeros around the image: a number, [height, width], [[top, bottom], [left, right]], "valid" (none) or "same" (the
   * result has ceil(n / stride) places; an odd one goes after). Default 0. */
  padding?: Padding;
  /** Distance between the places of a kernel. Default 1. */
  dilation?: number | Pair;
}

export interface ConvOptions extends WindowOptions {
  /** [O], added to each output channel. */
  bias?: Tensor | null;
  /** Channels are split into this many groups that do not mix. Default 1. */
  groups?: number;
}

const pair = (x: number | Pair): Pair => (typeof x === "number" ? [x, x] : x);

/** Options as a checked window over an image of `size`. */
export function resolveWindow(where: string, kernel: Pair, size: Pair, options: WindowOptions): Window {
  const stride = pair(options.stride ?? 1);
  const dilation = pair(options.dilation ?? 1);
  for (const [name, values] of [
    ["kernel", kernel],
    ["stride", stride],
    ["dilation", dilation],
  ] as const) {
    for (const v of values) expectPositiveInteger(where, name, v);
  }
  const padding = resolvePadding(where, options.padding ?? 0, kernel, size, stride, dilation);
  return { kernel, stride, padding, dilation };
}

function resolvePadding(
  where: string,
  padding: Padding,
  kernel: Pair,
  size: Pair,
  stride: Pair,
  dilation: Pair,
): [Pair, Pair] {
  if (padding === "valid")
    return [
      [0, 0],
      [0, 0],
    ];
  if (padding === "same") {
    const side = (a: 0 | 1): Pair => {
      const reach = dilation[a] * (kernel[a] - 1) + 1;
      const extra = Math.max(0, (Math.ceil(size[a] / stride[a]) - 1) * stride[a] + reach - size[a]);
      return [Math.floor(extra / 2), Math.ceil(extra / 2)];
    };
    return [side(0), side(1)];
  }
  const [y, x] = typeof padding === "number" ? [padding, padding] : padding;
  const sides: [Pair, Pair] = [pair(y), pair(x)];
  for (const p of sides.flat()) expectPositiveInteger(where, "padding", p, 0);
  return sides;
}

const isPointwise = ({ kernel, stride, padding }: Window): boolean =>
  [...kernel, ...stride].every((n) => n === 1) && padding.flat().every((n) => n === 0);

function withBias(where: string, y: Tensor, bias: Tensor | null | undefined, channels: number): Tensor {
  if (!bias) return y;
  expectDims(where, "bias", bias.shape, [channels]);
  return add(y, reshape(bias, [channels, 1, 1]));
}

function expectGroups(
  where: string,
  groups: number,
  channels: number,
  weight: Dims,
  inPerGroup: number,
): void {
  expectPositiveInteger(where, "groups", groups);
  if (channels % groups !== 0 || weight[0]! % groups !== 0 || channels / groups !== inPerGroup) {
    throw new ShapeError({
      where,
      expected: `a weight that takes ${channels} channels in ${groups} group${groups === 1 ? "" : "s"}`,
      got: showDims(weight),
    });
  }
}

/**
 * Convolution (cross-correlation, as in every framework) of images:
 *
 *     y[n, o, oy, ox] = bias[o] + Σ_{c, ky, kx} weight[o, c, ky, kx] · x[n, c, oy·sh - ph + ky·dh, ox·sw - pw + kx·dw]
 *
 * x is [N, C, H, W], weight [O, C/groups, kh, kw], y [N, O, OH, OW]. Done as one matrix product over patches; its
 * gradients are products and the transpose of the patch reading.
 *
 * @category Convolution
 */
export function conv2d(x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor {
  const { bias, groups = 1 } = options;
  expectFloat("conv2d", "x", x.dtype);
  expectRank("conv2d", "x", x.shape, 4, "[N, C, H, W]");
  expectRank("conv2d", "weight", weight.shape, 4, "[O, C/groups, kh, kw]");
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const [o, cg, kh, kw] = weight.shape as [number, number, number, number];
  expectGroups("conv2d", groups, c, weight.shape, cg);
  const window = resolveWindow("conv2d", [kh, kw], [h, w], options);
  const [oh, ow] = windowCounts("conv2d", [h, w], window);
  const dtype = promote(x.dtype, weight.dtype);
  const image = castTo(x, dtype);
  const columns = isPointwise(window) ? image : apply(im2colOp, [image], { ...window, fill: 0 });
  const patches = reshape(columns, [n, groups, cg * kh * kw, oh * ow]);
  const filters = reshape(castTo(weight, dtype), [groups, o / groups, cg * kh * kw]);
  const y = reshape(matmul(filters, patches), [n, o, oh, ow]);
  return withBias("conv2d", y, bias, o);
}

/**
 * The transpose of `conv2d` in its first argument, which makes images larger: x [N, C, H, W] and weight
 * [C, O/groups, kh, kw] give [N, O, (H-1)·sh - ph + dh·(kh-1) + 1 + outputPadding, ...] (ph: both sides together).
 *
 * @category Convolution
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  options: ConvOptions & { outputPadding?: number | Pair } = {},
): Tensor {
  const { bias, groups = 1 } = options;
  expectFloat("convTranspose2d", "x", x.dtype);
  expectRank("convTranspose2d", "x", x.shape, 4, "[N, C, H, W]");
  expectRank("convTranspose2d", "weight", weight.shape, 4, "[C, O/groups, kh, kw]");
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const [cw, og, kh, kw] = weight.shape as [number, number, number, number];
  expectGroups("convTranspose2d", groups, c, weight.shape, cw / groups);
  if (options.padding === "same") {
    throw new ConfigError({ where: "convTranspose2d", expected: "padding in numbers", got: '"same"' });
  }
  const window = resolveWindow("convTranspose2d", [kh, kw], [h, w], options);
  const more = pair(options.outputPadding ?? 0);
  for (const a of [0, 1] as const) {
    if (!Number.isInteger(more[a]) || more[a] < 0 || more[a] >= window.stride[a]) {
      throw new ConfigError({
        where: "convTranspose2d",
        expected: `outputPadding to be an integer from 0 to ${window.stride[a] - 1} (below the stride)`,
        got: String(more[a]),
      });
    }
  }
  const grown = (a: 0 | 1, size: number): number =>
    (size - 1) * window.stride[a] -
    window.padding[a][0] -
    window.padding[a][1] +
    window.dilation[a] * (window.kernel[a] - 1) +
    1 +
    more[a];
  const size: Pair = [grown(0, h), grown(1, w)];
  const dtype = promote(x.dtype, weight.dtype);
  const filters = transpose(reshape(castTo(weight, dtype), [groups, c / groups, og * kh * kw]));
  const columns = matmul(filters, reshape(castTo(x, dtype), [n, groups, c / groups, h * w]));
  const y = apply(col2imOp, [reshape(columns, [n, groups * og, kh * kw, h * w])], { ...window, size });
  return withBias("convTranspose2d", y, bias, groups * og);
}

export interface Conv1dOptions {
  bias?: Tensor | null;
  stride?: number;
  /** Zeros at both ends, [before, after], "valid" or "same". Default 0. */
  padding?: number | Pair | "same" | "valid";
  dilation?: number;
  groups?: number;
}

/** Window options in one dimension as those of an image of height 1. */
export function asRow({
  stride = 1,
  padding = 0,
  dilation = 1,
}: Omit<Conv1dOptions, "bias" | "groups">): WindowOptions {
  return {
    stride: [1, stride],
    dilation: [1, dilation],
    padding: typeof padding === "string" ? padding : [[0, 0], pair(padding)],
  };
}

/**
 * Convolution of sequences: x [N, C, L] and weight [O, C/groups, k] give [N, O, OL]. See `conv2d`.
 *
 * @category Convolution
 */
export function conv1d(x: Tensor, weight: Tensor, options: Conv1dOptions = {}): Tensor {
  expectRank("conv1d", "x", x.shape, 3, "[N, C, L]");
  expectRank("conv1d", "weight", weight.shape, 3, "[O, C/groups, k]");
  const row = (t: Tensor) => reshape(t, [t.shape[0]!, t.shape[1]!, 1, t.shape[2]!]);
  const { bias = null, groups = 1 } = options;
  const y = conv2d(row(x), row(weight), { ...asRow(options), bias, groups });
  return reshape(y, [y.shape[0]!, y.shape[1]!, y.shape[3]!]);
}
