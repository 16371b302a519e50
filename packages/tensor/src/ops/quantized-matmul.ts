import { expectFloat } from "../dtype.js";
import { ConfigError, ShapeError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { showDims, sizeOf } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import {
  codesOf,
  dequantized,
  type QuantizedArg,
  type QuantizedFormat,
  quantizedDims,
} from "./dequantize.js";
import { abs, div, gt, mul, round, where } from "./elementwise.js";
import { castTo, expectRank, wideDtype, widen } from "./expect.js";
import { matmul } from "./matmul.js";
import { reshape, transpose } from "./movement.js";
import { toFloat } from "./operands.js";
import { max, sum } from "./reduce.js";

/** How the left operand of a quantized product is taken: as it is, or in integers per block of 32. */
export type Activations = "f32" | "int16" | "int8";

export interface QuantizedMatmulArg extends QuantizedArg {
  readonly activations: Activations;
  /** y = x W instead of x Wᵀ. */
  readonly transposed: boolean;
}

/** Columns that share a step where the left operand is taken in integers. */
const BLOCK = 32;
/** Largest code of the left operand. */
const LARGEST = { int16: 32767, int8: 127 } as const;
/** Blocks with no number above it are taken as zero: the steps of smaller ones have no reciprocal. */
const TINIEST = 2 ** -100;

/** What is left of x [R, in] when each block of 32 becomes step · round(x / step), step = max |x| / largest. */
function inSteps(x: Tensor, activations: "int16" | "int8"): Tensor {
  const [rows, columns] = x.shape as [number, number];
  const blocks = reshape(x, [rows, columns / BLOCK, BLOCK]);
  const peak = max(abs(blocks), -1, { keepDims: true });
  const perStep = where(gt(peak, TINIEST), div(LARGEST[activations], peak), 0);
  const step = div(peak, LARGEST[activations]);
  return reshape(mul(round(mul(blocks, perStep)), step), x.shape);
}

/**
 * y = x Wᵀ, or x W if `transposed`, where W [out, in] is stored in codes (see `dequantize`). Inputs: x [R, in] (or [R, out]),
 * the codes, scales and, if there is a fourth, mins. The gradient with respect to x is the transposed product and takes
 * rounded activations as if they had not been rounded; that of scales and mins sums the gradient of W, of which a whole
 * copy is made, over each group.
 */
export const quantizedMatmulOp: OpDef<QuantizedMatmulArg> = /* @__PURE__ */ defineOp<QuantizedMatmulArg>(
  "quantizedMatmul",
  {
    kind: "composite",
    infer([x, weight, scales, mins], arg) {
      const name = "quantizedMatmul";
      expectFloat(name, "x", x!.dtype);
      expectRank(name, "x", x!.dims, 2, arg.transposed ? "[rows, out]" : "[rows, in]");
      const [out, columns] = quantizedDims(name, weight!, scales!, mins, arg);
      const [inner, outer] = arg.transposed ? [out, columns] : [columns, out];
      if (x!.dims[1] !== inner) {
        throw new ShapeError({
          where: name,
          expected: `x of shape [..., ${inner}] for a weight of ${out} rows and ${columns} columns`,
          got: showDims(x!.dims),
        });
      }
      if (arg.activations !== "f32") expectWholeBlocks(arg);
      return { dtype: x!.dtype, dims: [x!.dims[0]!, outer] };
    },
    vjp(dy, { inputs, arg, needs }) {
      const [x, weight, scales, mins] = inputs as [Tensor, Tensor, Tensor, Tensor | undefined];
      const rest = inputs.slice(1);
      const back = { ...arg, transposed: !arg.transposed, activations: "f32" as const };
      const dx = needs[0] ? apply(quantizedMatmulOp, [dy, ...rest], back) : null;
      if (!needs[2] && !needs[3]) return [dx, null, null, null].slice(0, inputs.length);
      // dW = dyᵀ x; dscale = Σ dW · q and dmin = Σ dW over a group
      const dtype = wideDtype(x.dtype);
      const [left, right] = arg.transposed ? [x, dy] : [dy, x];
      const q = codesOf(weight, arg, dtype);
      const dw = reshape(matmul(transpose(widen(left)), widen(right)), q.shape);
      const dscales = needs[2] ? castTo(sum(mul(dw, q), -1), scales.dtype) : null;
      const dmins = needs[3] ? castTo(sum(dw, -1), mins!.dtype) : null;
      return [dx, null, dscales, dmins].slice(0, inputs.length);
    },
    meaning(inputs, arg) {
      const [x, weight, scales, mins] = inputs as [Tensor, Tensor, Tensor, Tensor | undefined];
      const wide = widen(x);
      if (arg.activations !== "f32") {
        const taken = inSteps(wide, arg.activations);
        const plain = { ...arg, activations: "f32" as const };
        return castTo(apply(quantizedMatmulOp, [taken, ...inputs.slice(1)], plain), x.dtype);
      }
      const w = dequantized(weight, scales, mins, arg, wide.dtype);
      return castTo(matmul(wide, arg.transposed ? w : transpose(w)), x.dtype);
    },
  },
);

function expectWholeBlocks({ groupSize, activations }: QuantizedMatmulArg): void {
  if (activations !== "int16" && activations !== "int8") {
    throw new ConfigError({
      where: "quantizedMatmul",
      expected: 'activations to be "f32", "int16" or "int8"',
      got: String(activations),
    });
  }
  if (groupSize % BLOCK !== 0) {
    throw new ConfigError({
      where: "quantizedMatmul",
      expected: `groupSize to be a multiple of ${BLOCK} for activations in ${activations}`,
      got: String(groupSize),
      hint: 'leave activations at "f32"',
    });
  }
}

export interface QuantizedMatmulOptions extends QuantizedFormat {
  /** One per group, [out, in / groupSize], as `dequantize` adds them. Default: none. */
  mins?: Tensor;
  /**
   * `f32`: x as it is. `int16`, `int8`: each block of 32 neighbours of x is rounded to integers up to 32767 or 127 times a
   * step of max |x| / 32767 or / 127, and codes are multiplied and added as integers, without an error; that is faster for
   * few rows. Each number of x is then off by up to half a step, that is by 1.5e-5 or 0.4 % of the largest of its block. Default: `f32`.
   */
  activations?: Activations;
}

/**
 * The product with a quantized weight, the layout of every linear layer:
 *
 *     y = x · dequantize(weight)ᵀ
 *
 * `x` is [..., in] (integers count as f32), `weight` and `scales` as in `dequantize`, the result [..., out] in the dtype of x.
 * Sums are taken in f32 (f64 for an f64 x). A backend with a kernel for it widens the codes where it multiplies and
 * never keeps the whole matrix.
 *
 * @throws ConfigError, DTypeError or ShapeError where the parts do not belong together
 * @category Quantization
 */
export function quantizedMatmul(
  x: Tensor,
  weight: Tensor,
  scales: Tensor,
  { bits, groupSize = 32, mins, activations = "f32" }: QuantizedMatmulOptions,
): Tensor {
  const left = toFloat(x);
  if (left.ndim === 0) {
    throw new ShapeError({ where: "quantizedMatmul", expected: "x of shape [..., in]", got: "a scalar" });
  }
  const lead = left.shape.slice(0, -1);
  const rows = reshape(left, [sizeOf(lead), left.shape[left.ndim - 1]!]);
  const inputs = mins ? [rows, weight, scales, mins] : [rows, weight, scales];
  const y = apply(quantizedMatmulOp, inputs, { bits, groupSize, activations, transposed: false });
  return reshape(y, [...lead, weight.shape[0]!]);
}
