import { isFloat } from "../dtype.js";
import { ConfigError, DTypeError, ShapeError } from "../errors.js";
import { Node } from "../node.js";
import { type Aval, defineOp, type OpDef } from "../op.js";
import { type Dims, internShape, normalizeAxes, sameDims, showDims } from "../shape.js";
import { Tensor } from "../tensor.js";
import { div, mul, sub } from "./arithmetic.js";
import { cast, eq, gt, isfinite, ne, where } from "./logic.js";
import { abs, exp, log, sqrt } from "./math.js";
import { broadcastTo, reshape, stopGradient, unchanged } from "./movement.js";
import { toFloat } from "./operands.js";
import { productGradient } from "./product-gradient.js";

export interface ReduceArg {
  /** Sorted and distinct; the reduced axes keep size 1 in the result. */
  readonly axes: readonly number[];
}

export interface ReduceOptions {
  /** Keep the reduced axes with size 1. Default: false, they are dropped. */
  keepDims?: boolean;
}

type Axes = number | readonly number[] | undefined;

/** A row that folds the elements along some axes into one. */
function reduction(name: string, vjp: OpDef<ReduceArg>["vjp"], check?: OpDef["check"]): OpDef<ReduceArg> {
  return defineOp<ReduceArg>(name, {
    kind: "reduce",
    infer([x], { axes }): Aval {
      if (x!.dtype === "bool") {
        throw new DTypeError({ where: name, expected: "numbers", got: "bool", hint: "cast to i32" });
      }
      const dims = x!.dims.slice();
      for (const d of axes) {
        if (!(d >= 0 && d < dims.length)) {
          throw new ShapeError({ where: name, expected: `axes below ${dims.length}`, got: showDims(axes) });
        }
        dims[d] = 1;
      }
      return { dtype: x!.dtype, dims };
    },
    vjp,
    ...(check && { check }),
  });
}

/** Σ x along the axes; the sum of nothing is 0. Half floats are summed in f32 and rounded once; i32 wraps. */
export const sumOp = /* @__PURE__ */ reduction("sum", (dy, { inputs: [x] }) => [broadcastTo(dy, x!.shape)]);

/** Π x along the axes; the product of nothing is 1. */
export const prodOp = /* @__PURE__ */ reduction(
  "prod",
  (dy, { inputs: [x], arg }) => [productGradient(dy, x!, arg.axes)],
  { domain: [0.5, 1.5], rtol: 1e-5 },
);

/** The largest along the axes; NaN if one is. Equal largest elements share the gradient equally. */
export const maxOp = /* @__PURE__ */ reduction("max", (dy, { inputs: [x], outputs: [y], arg }) => [
  shareGradient(dy, x!, y!, arg.axes),
]);

/** The smallest along the axes; NaN if one is. Equal smallest elements share the gradient equally. */
export const minOp = /* @__PURE__ */ reduction("min", (dy, { inputs: [x], outputs: [y], arg }) => [
  shareGradient(dy, x!, y!, arg.axes),
]);

function shareGradient(dy: Tensor, x: Tensor, y: Tensor, axes: readonly number[]): Tensor {
  const chosen = eq(x, broadcastTo(y, x.shape));
  const count = reduceKept(sumOp, cast(chosen, dy.dtype), axes);
  return where(chosen, broadcastTo(div(dy, count), x.shape), 0);
}

/** The node of a reduction whose axes are known to be right; the axes stay with size 1. */
function reduceKept(op: OpDef<ReduceArg>, x: Tensor, axes: readonly number[]): Tensor {
  const dims = x.shape.map((n, d) => (axes.includes(d) ? 1 : n));
  return new Tensor(new Node(op, x.dtype, internShape(dims), { axes }, [x.node]));
}

function reduce(
  op: OpDef<ReduceArg>,
  x: Tensor,
  axes: readonly number[],
  { keepDims = false }: ReduceOptions,
): Tensor {
  // An axis of size 1 has nothing to fold.
  const folded = axes.filter((d) => x.shape[d] !== 1);
  const kept = folded.length ? reduceKept(op, x, folded) : unchanged(x);
  return keepDims ? kept : dropAxes(kept, axes);
}

const dropAxes = (x: Tensor, axes: readonly number[]): Tensor =>
  reshape(
    x,
    x.shape.filter((_, d) => !axes.includes(d)),
  );

/** Sums what a broadcast from `dims` has stretched: the transpose of `broadcastTo`. */
export function sumTo(x: Tensor, dims: Dims): Tensor {
  if (sameDims(x.shape, dims)) return x;
  const lead = x.ndim - dims.length;
  const axes: number[] = [];
  for (let d = 0; d < x.ndim; d++) if (x.shape[d] !== 1 && (d < lead || dims[d - lead] === 1)) axes.push(d);
  return reshape(axes.length ? reduceKept(sumOp, x, axes) : x, dims);
}

/** Integers and bools are summed as i32. */
const summable = (x: Tensor): Tensor => (isFloat(x.dtype) ? x : cast(x, "i32"));

/** Σ x along `axes` (default: all). Integers and bools are summed as i32. */
export function sum(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return reduce(sumOp, summable(x), normalizeAxes("sum", axes, x.ndim), options);
}

/** Π x along `axes` (default: all); differentiable also where factors are 0. Integers and bools count as i32. */
export function prod(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return reduce(prodOp, summable(x), normalizeAxes("prod", axes, x.ndim), options);
}

/**
 * The largest along `axes` (default: all); NaN if one is. Equal largest elements share the gradient equally.
 *
 * @throws ShapeError when there is nothing to choose from
 */
export const max = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  extreme("max", maxOp, x, axes, options);

/** The smallest along `axes` (default: all); NaN if one is. Equal smallest elements share the gradient equally. */
export const min = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  extreme("min", minOp, x, axes, options);

function extreme(where: string, op: OpDef<ReduceArg>, x: Tensor, axes: Axes, options: ReduceOptions): Tensor {
  const over = normalizeAxes(where, axes, x.ndim);
  if (over.some((d) => x.shape[d] === 0)) {
    throw new ShapeError({
      where,
      expected: "at least one element along the axes",
      got: `shape ${showDims(x.shape)}`,
    });
  }
  return reduce(op, x.dtype === "bool" ? cast(x, "i32") : x, over, options);
}

const countOf = (x: Tensor, axes: readonly number[]): number => axes.reduce((n, d) => n * x.shape[d]!, 1);

/** Runs `f` on f32 numbers where x has half floats, and rounds the result back. */
function inWide(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  const wide = x.dtype === "f16" || x.dtype === "bf16";
  return wide ? cast(f(cast(x, "f32")), x.dtype) : f(toFloat(x));
}

/** The mean along `axes` (default: all); NaN of nothing. Integers and bools count as f32; half floats are summed in f32. */
export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const over = normalizeAxes("mean", axes, x.ndim);
  return inWide(x, (wide) => div(reduce(sumOp, wide, over, options), countOf(x, over)));
}

export interface VarianceOptions extends ReduceOptions {
  /** The sum of squares is divided by count − correction: 0 for a population (default), 1 for a sample. */
  correction?: number;
}

/** The mean square distance from the mean along `axes` (default: all), in two passes. */
export function variance(
  x: Tensor,
  axes?: Axes,
  { correction = 0, ...options }: VarianceOptions = {},
): Tensor {
  const over = normalizeAxes("variance", axes, x.ndim);
  return inWide(x, (wide) => {
    const centred = sub(wide, mean(wide, over, { keepDims: true }));
    return div(reduce(sumOp, mul(centred, centred), over, options), countOf(x, over) - correction);
  });
}

/** The square root of the variance; its gradient is 0 where the variance is. */
export function std(x: Tensor, axes?: Axes, options: VarianceOptions = {}): Tensor {
  return inWide(x, (wide) => safeSqrt(variance(wide, axes, options)));
}

/** √x with gradient 0 at 0. */
function safeSqrt(x: Tensor): Tensor {
  const zero = eq(x, 0);
  return where(zero, 0, sqrt(where(zero, 1, x)));
}

/** log Σ eˣ along `axes` (default: all) without overflow. Where all are −∞ it is −∞ with gradient 0. */
export function logsumexp(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const over = normalizeAxes("logsumexp", axes, x.ndim);
  return inWide(x, (wide) => {
    // The maximum only moves the numbers into range: it cancels, so no gradient goes through it.
    const top = stopGradient(max(wide, over, { keepDims: true }));
    const shift = where(isfinite(top), top, 0);
    const total = reduce(sumOp, exp(sub(wide, shift)), over, { keepDims: true });
    const none = eq(total, 0);
    const value = where(none, Number.NEGATIVE_INFINITY, log(where(none, 1, total)).add(shift));
    return options.keepDims ? value : dropAxes(value, over);
  });
}

/** Whether all along `axes` are not 0; true of nothing. */
export const all = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  eq(sum(eq(x, 0), axes, options), 0);

/** Whether any along `axes` is not 0; false of nothing. */
export const any = (x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor =>
  gt(sum(ne(x, 0), axes, options), 0);

export interface NormOptions extends ReduceOptions {
  /** 1: Σ|x|, 2: √Σx² (default), Infinity: max|x|. */
  ord?: number;
}

/**
 * The vector norm along `axes` (default: all). The gradient of the 2-norm at 0 is 0.
 *
 * @throws ConfigError for another order than 1, 2 or Infinity
 */
export function norm(x: Tensor, axes?: Axes, { ord = 2, ...options }: NormOptions = {}): Tensor {
  return inWide(x, (wide) => {
    if (ord === 1) return sum(abs(wide), axes, options);
    if (ord === 2) return safeSqrt(sum(mul(wide, wide), axes, options));
    if (ord === Number.POSITIVE_INFINITY) return max(abs(wide), axes, options);
    throw new ConfigError({ where: "norm", expected: "ord 1, 2 or Infinity", got: String(ord) });
  });
}
