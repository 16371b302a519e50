import { expectFloat } from "../dtype.js";
import { ConfigError } from "../errors.js";
import { apply, type Tensor } from "../tensor.js";
import {
  asRow,
  type Im2colArg,
  im2colOp,
  type Pair,
  resolveWindow,
  windowCounts,
  type WindowOptions,
} from "./conv.js";
import { ones } from "./create.js";
import { div } from "./elementwise.js";
import { expectRank } from "./expect.js";
import { reshape } from "./movement.js";
import { max, sum } from "./reduce.js";

export interface PoolOptions extends WindowOptions {
  /** Distance between windows. Default: the size of the window. */
  stride?: number | Pair;
}

export interface AvgPoolOptions extends PoolOptions {
  /** Whether zeros of the padding count in the average. Default true. */
  countIncludePad?: boolean;
}

export interface Pool1dOptions {
  /** Distance between windows. Default: the size of the window. */
  stride?: number;
  padding?: number | Pair | "same" | "valid";
  dilation?: number;
}

interface Pooled {
  /** [N, C, kh·kw, OH·OW] */
  columns: Tensor;
  arg: Im2colArg;
  dims: number[];
}

function windows(
  where: string,
  x: Tensor,
  kernel: number | Pair,
  options: PoolOptions,
  fill: 0 | "-inf",
): Pooled {
  expectFloat(where, "x", x.dtype);
  expectRank(where, "x", x.shape, 4, "[N, C, H, W]");
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const k: Pair = typeof kernel === "number" ? [kernel, kernel] : kernel;
  const window = resolveWindow(where, k, [h, w], { stride: k, ...options });
  for (const a of [0, 1] as const) {
    const side = Math.max(...window.padding[a]);
    if (side >= window.dilation[a] * (k[a] - 1) + 1) {
      throw new ConfigError({
        where,
        expected: `padding smaller than the window (${k[a]})`,
        got: String(side),
      });
    }
  }
  const arg: Im2colArg = { ...window, fill };
  return { columns: apply(im2colOp, [x], arg), arg, dims: [n, c, ...windowCounts(where, [h, w], window)] };
}

/**
 * The largest number of each window: x [N, C, H, W] gives [N, C, OH, OW]. Padding never wins. Equal largest numbers
 * share the gradient.
 *
 * @category Convolution
 */
export function maxPool2d(x: Tensor, kernel: number | Pair, options: PoolOptions = {}): Tensor {
  const { columns, dims } = windows("maxPool2d", x, kernel, options, "-inf");
  return reshape(max(columns, 2), dims);
}

/**
 * The average of each window: x [N, C, H, W] gives [N, C, OH, OW]. With `countIncludePad: false` padding is left out of
 * the count.
 *
 * @category Convolution
 */
export function avgPool2d(x: Tensor, kernel: number | Pair, options: AvgPoolOptions = {}): Tensor {
  const { countIncludePad = true, ...rest } = options;
  const { columns, arg, dims } = windows("avgPool2d", x, kernel, rest, 0);
  const total = sum(columns, 2); // [N, C, OH·OW]
  if (countIncludePad) return reshape(div(total, arg.kernel[0] * arg.kernel[1]), dims);
  const image = ones([1, 1, x.shape[2]!, x.shape[3]!], { dtype: x.dtype });
  return reshape(div(total, sum(apply(im2colOp, [image], arg), 2)), dims);
}

const inRow = (where: string, x: Tensor, f: (x: Tensor) => Tensor): Tensor => {
  expectRank(where, "x", x.shape, 3, "[N, C, L]");
  const y = f(reshape(x, [x.shape[0]!, x.shape[1]!, 1, x.shape[2]!]));
  return reshape(y, [y.shape[0]!, y.shape[1]!, y.shape[3]!]);
};

/** The largest number of each window of a sequence: [N, C, L] gives [N, C, OL]. @category Convolution */
export const maxPool1d = (x: Tensor, kernel: number, options: Pool1dOptions = {}): Tensor =>
  inRow("maxPool1d", x, (t) => maxPool2d(t, [1, kernel], asRow({ stride: kernel, ...options })));

/** The average of each window of a sequence: [N, C, L] gives [N, C, OL]. @category Convolution */
export const avgPool1d = (
  x: Tensor,
  kernel: number,
  { countIncludePad = true, ...options }: Pool1dOptions & { countIncludePad?: boolean } = {},
): Tensor =>
  inRow("avgPool1d", x, (t) =>
    avgPool2d(t, [1, kernel], { ...asRow({ stride: kernel, ...options }), countIncludePad }),
  );
