import { ShapeError } from "../errors.js";
import { defineOp } from "../op.js";
import { type Dims, showDims } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { ones } from "./create.js";
import { where } from "./logic.js";
import { slice, unchanged } from "./movement.js";

export interface PadArg {
  /** Elements added before, after and between neighbours, along each axis. */
  readonly low: Dims;
  readonly high: Dims;
  readonly interior: Dims;
}

const paddedDims = (dims: Dims, { low, high, interior }: PadArg): number[] =>
  dims.map((n, d) => low[d]! + high[d]! + n + Math.max(0, n - 1) * interior[d]!);

/** Zeros around and between the elements: y[low + i · (interior + 1)] = x[i]. */
export const padOp = /* @__PURE__ */ defineOp<PadArg>("pad", {
  kind: "kernel",
  infer([x], arg) {
    for (const counts of [arg.low, arg.high, arg.interior]) {
      if (counts.length !== x!.dims.length || counts.some((c) => !Number.isInteger(c) || c < 0)) {
        throw new ShapeError({
          where: "pad",
          expected: `${x!.dims.length} counts ≥ 0, one per axis`,
          got: showDims(counts),
        });
      }
    }
    return { dtype: x!.dtype, dims: paddedDims(x!.dims, arg) };
  },
  vjp: (dy, { inputs: [x], arg }) => [
    slice(
      dy,
      x!.shape.map((n, d) => {
        const [low, step] = [arg.low[d]!, arg.interior[d]! + 1];
        return n === 0 ? [0, 0] : [low, low + (n - 1) * step + 1, step];
      }),
    ),
  ],
});

export interface PadOptions {
  /** The number written into the new places. Default: 0. */
  value?: number;
  /** Elements added between neighbours, along each axis. Default: none. */
  interior?: readonly number[];
}

/**
 * Adds `widths[d] = [before, after]` elements along each axis.
 *
 * @throws ShapeError unless there is one pair of counts ≥ 0 per axis
 */
export function pad(
  x: Tensor,
  widths: readonly (readonly [number, number])[],
  options: PadOptions = {},
): Tensor {
  const { value = 0, interior = new Array<number>(x.ndim).fill(0) } = options;
  const arg: PadArg = { low: widths.map((w) => w[0]), high: widths.map((w) => w[1]), interior };
  if ([...arg.low, ...arg.high, ...interior].every((c) => c === 0) && widths.length === x.ndim)
    return unchanged(x);
  const padded = apply(padOp, [x], arg);
  if (value === 0) return padded;
  return where(apply(padOp, [ones(x.shape, { dtype: "bool" })], arg), padded, value);
}
