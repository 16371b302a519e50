import {
  ConfigError,
  type Conv1dOptions,
  conv1d,
  type ConvOptions,
  conv2d,
  type DType,
  type Key,
  type Parameter,
  ShapeError,
  type Tensor,
} from "@lowrank/tensor";
import type { AdaptableConvolution, Overlay } from "./adaptable.js";
import { affineStart } from "./init.js";
import { like } from "./linear.js";
import { Module } from "./module.js";

interface ConvolutionOptions {
  /** Whether a bias is added. Default true. */
  bias?: boolean;
  /** Random start; without a key the weight starts at zero, to be loaded. */
  key?: Key;
  /** Storage type. Default f32. */
  dtype?: DType;
}

export interface Conv1dLayerOptions extends ConvolutionOptions, Omit<Conv1dOptions, "bias"> {}

export interface Conv2dLayerOptions extends ConvolutionOptions, Omit<ConvOptions, "bias"> {}

/** What both convolutions have in common; the subclass knows how to convolve. */
abstract class Convolution extends Module implements AdaptableConvolution {
  abstract readonly kind: "conv1d" | "conv2d";
  weight: Parameter;
  bias: Parameter | null;
  /** @internal */
  _overlay: Overlay | null = null;

  constructor(
    where: string,
    readonly inChannels: number,
    readonly outChannels: number,
    readonly kernelSize: readonly number[],
    readonly groups: number,
    { bias = true, key, dtype = "f32" }: ConvolutionOptions,
  ) {
    super();
    for (const [name, n] of [
      ["inChannels", inChannels],
      ["outChannels", outChannels],
      ["groups", groups],
      ...kernelSize.map((n): [string, number] => ["kernelSize", n]),
    ] as const) {
      if (Number.isInteger(n) && n > 0) continue;
      throw new ConfigError({ where, expected: `${name} to be an integer ≥ 1`, got: String(n) });
    }
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      throw new ConfigError({
        where,
        expected: "inChannels and outChannels to be multiples of groups",
        got: `${inChannels} and ${outChannels} for ${groups}`,
      });
    }
    const dims = [outChannels, inChannels / groups, ...kernelSize];
    const start = affineStart(dims, { bias, key, dtype });
    this.weight = start.weight;
    this.bias = start.bias;
  }

  /** The convolution with filters [rows, in / groups, ...kernel] and no bias. */
  protected abstract filtered(x: Tensor, filters: Tensor): Tensor;

  forward(x: Tensor): Tensor {
    return this._overlay ? this._overlay.forward(x, this) : this.withWeight(x, this.weight);
  }

  /** [out, in / groups · kernel], a row for each filter. */
  denseWeight(): Tensor {
    return this.weight.reshape([this.outChannels, -1]);
  }

  asStored(weight: Tensor): Tensor {
    return weight.reshape(this.weight.shape);
  }

  convolve(x: Tensor, filters: Tensor): Tensor {
    const shape = [-1, this.inChannels / this.groups, ...this.kernelSize];
    return this.filtered(x, like(filters, x).reshape(shape));
  }

  /** Another weight may be in rows, as `denseWeight` gives it, or as the layer stores it. */
  withWeight(x: Tensor, weight: Tensor): Tensor {
    if (x.ndim !== this.kernelSize.length + 2 || x.shape[1] !== this.inChannels) {
      throw new ShapeError({
        where: this.constructor.name,
        expected: `an input of shape [N, ${this.inChannels}, ${this.kernelSize.length === 1 ? "L" : "H, W"}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const y = this.convolve(x, weight);
    return this.bias === null ? y : y.add(like(this.bias, y).reshape([-1, ...this.kernelSize.map(() => 1)]));
  }
}

/**
 * Convolution of sequences: x [N, in, L] and the weight [out, in / groups, k] give [N, out, OL], with
 * OL = ⌊(L + padding − dilation (k − 1) − 1) / stride⌋ + 1, padding at both ends together.
 *
 *     y[n, o, t] = b[o] + Σ_{c, i} W[o, c, i] · x[n, c, t · stride − before + i · dilation]
 *
 * Stride, dilation and groups are 1 by default and padding 0. Random start as in PyTorch: W and b uniform within
 * ±1/√(in / groups · k).
 *
 * @category Layers
 */
export class Conv1d extends Convolution {
  readonly kind = "conv1d";
  /** @internal */
  readonly _options: Omit<Conv1dOptions, "bias">;

  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number,
    { bias, key, dtype, ...options }: Conv1dLayerOptions = {},
  ) {
    super("Conv1d", inChannels, outChannels, [kernelSize], options.groups ?? 1, { bias, key, dtype });
    this._options = options;
  }

  protected filtered(x: Tensor, filters: Tensor): Tensor {
    return conv1d(x, filters, this._options);
  }
}

/**
 * Convolution of images: x [N, in, H, W] and the weight [out, in / groups, kh, kw] give [N, out, OH, OW], sizes as in
 * {@link Conv1d}.
 *
 *     y[n, o, v, u] = b[o] + Σ_{c, i, j} W[o, c, i, j] · x[n, c, v · stride − top + i · dilation, u · stride − left + j · dilation]
 *
 * One product of matrices over the patches of the images. A kernel, stride, padding or dilation is one number for both
 * directions, or [height, width]. To adapters the weight is a matrix with a row for each filter, [out, in / groups · kh · kw].
 *
 * @example
 * ```ts
 * const layer = new Conv2d(3, 16, 3, { padding: 1, stride: 2, key: key(0) });
 * const y = layer.forward(normal([8, 3, 32, 32], { key: key(1) })); // [8, 16, 16, 16]
 * ```
 * @category Layers
 */
export class Conv2d extends Convolution {
  readonly kind = "conv2d";
  /** @internal */
  readonly _options: Omit<ConvOptions, "bias">;

  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number | readonly [number, number],
    { bias, key, dtype, ...options }: Conv2dLayerOptions = {},
  ) {
    const kernel = typeof kernelSize === "number" ? [kernelSize, kernelSize] : kernelSize;
    super("Conv2d", inChannels, outChannels, kernel, options.groups ?? 1, { bias, key, dtype });
    this._options = options;
  }

  protected filtered(x: Tensor, filters: Tensor): Tensor {
    return conv2d(x, filters, this._options);
  }
}
