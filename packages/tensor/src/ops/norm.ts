import { expectFloat } from "../dtype.js";
import { ConfigError, ShapeError } from "../errors.js";
import { type Aval, defineOp, type OpDef } from "../op.js";
import { showDims } from "../shape.js";
import { apply, applyMulti, type Tensor } from "../tensor.js";
import { ones } from "./create.js";
import { add, mul, rsqrt, square, sub } from "./elementwise.js";
import { castTo, expectDims, expectLastAxis, wideDtype, widen } from "./expect.js";
import { reshape } from "./movement.js";
import { mean, sum } from "./reduce.js";

export interface LayerNormArg {
  readonly eps: number;
  /** Whether a weight and a bias [D] follow x. */
  readonly affine: boolean;
}

export interface LayerNormBackwardArg {
  readonly affine: boolean;
}

export interface RmsNormArg {
  readonly eps: number;
}

const ROW = { keepDims: true } as const;

/** A per-row number [..] as a column [.., 1]. */
const column = (x: Tensor): Tensor => reshape(x, [...x.shape, 1]);
/** Sums everything but the last axis. */
const overRows = (x: Tensor): Tensor =>
  x.ndim === 1
    ? x
    : sum(
        x,
        Array.from({ length: x.ndim - 1 }, (_, i) => i),
      );
/** Adds what is there. */
const total = (terms: readonly (Tensor | null)[]): Tensor | null =>
  terms.reduce((a, b) => (a && b ? add(a, b) : (a ?? b)), null);

function expectRow(where: string, x: Aval, params: readonly (Aval | undefined)[]): Aval {
  expectFloat(where, "x", x.dtype);
  expectLastAxis(where, x);
  for (const p of params) {
    if (!p) continue;
    expectFloat(where, "weight and bias", p.dtype);
    expectDims(where, "weight and bias", p.dims, x.dims.slice(-1));
  }
  return { dtype: wideDtype(x.dtype), dims: x.dims.slice(0, -1) };
}

/**
 * Layer normalization over the last axis D, Ba et al. 2016 (arXiv:1607.06450):
 *
 *     y = (x - μ) · r · weight + bias, μ = mean(x), r = 1 / sqrt(mean((x - μ)²) + eps)
 *
 * x is [.., D], weight and bias [D] (when `affine`); results y [.., D] and, kept for the gradient, μ and r [..] in f32.
 * The variance is taken in a second pass over x - μ.
 */
export const layerNormOp: OpDef<LayerNormArg> = /* @__PURE__ */ defineOp<LayerNormArg>("layerNorm", {
  kind: "composite",
  infer([x, weight, bias], { affine }) {
    const stat = expectRow("layerNorm", x!, affine ? [weight, bias] : []);
    return [x!, stat, stat];
  },
  vjp(_dy, { inputs, outputs: [, mu, r], arg: { affine }, needs, dys: [dy, dmu, dr] }) {
    const [x, weight, bias] = inputs;
    const centered = () => sub(widen(x!), column(mu!));
    const size = x!.shape[x!.ndim - 1]!;
    const dx = needs[0]
      ? total([
          dy
            ? apply(layerNormBackwardOp, affine ? [x!, weight!, mu!, r!, dy] : [x!, mu!, r!, dy], { affine })
            : null,
          // dμ/dx = 1 / D
          dmu ? castTo(mul(column(dmu), castTo(ones(x!.shape), dmu.dtype)).div(size), x!.dtype) : null,
          // dr/dx = -r³ (x - μ) / D
          dr ? castTo(mul(column(mul(dr, mul(square(r!), r!))), centered()).div(-size), x!.dtype) : null,
        ])
      : null;
    if (!affine) return [dx];
    return [
      dx,
      needs[1] && dy ? castTo(overRows(mul(widen(dy), mul(centered(), column(r!)))), weight!.dtype) : null,
      needs[2] && dy ? castTo(overRows(widen(dy)), bias!.dtype) : null,
    ];
  },
  meaning([x, weight, bias], { eps, affine }) {
    const wide = widen(x!);
    const mu = mean(wide, -1, ROW);
    const centered = sub(wide, mu);
    const r = rsqrt(add(mean(square(centered), -1, ROW), eps));
    const unit = mul(centered, r);
    const y = affine ? add(mul(unit, widen(weight!)), widen(bias!)) : unit;
    const stat = x!.shape.slice(0, -1);
    return [castTo(y, x!.dtype), reshape(mu, stat), reshape(r, stat)];
  },
});

/**
 * Gradient of layer normalization with respect to x, with x̂ = (x - μ) r and g = dy · weight:
 *
 *     dx = r · (g - mean(g) - x̂ · mean(g x̂))
 *
 * Inputs x, weight (when `affine`), μ, r, dy.
 */
export const layerNormBackwardOp: OpDef<LayerNormBackwardArg> =
  /* @__PURE__ */ defineOp<LayerNormBackwardArg>("layerNormBackward", {
    kind: "composite",
    infer: ([x]) => x!,
    meaning(inputs, { affine }) {
      const [x, mu, r, dy] = affine ? [inputs[0]!, ...inputs.slice(2)] : inputs;
      const unit = mul(sub(widen(x!), column(mu!)), column(r!));
      const g = affine ? mul(widen(dy!), widen(inputs[1]!)) : widen(dy!);
      const bracket = sub(sub(g, mean(g, -1, ROW)), mul(unit, mean(mul(g, unit), -1, ROW)));
      return castTo(mul(column(r!), bracket), x!.dtype);
    },
  });

/**
 * Root-mean-square normalization over the last axis D, Zhang and Sennrich 2019 (arXiv:1910.07467):
 *
 *     y = x · r · weight, r = 1 / sqrt(mean(x²) + eps)
 *
 * x is [.., D], weight [D]; results y [.., D] and, kept for the gradient, r [..] in f32.
 */
export const rmsNormOp: OpDef<RmsNormArg> = /* @__PURE__ */ defineOp<RmsNormArg>("rmsNorm", {
  kind: "composite",
  infer([x, weight]) {
    return [x!, expectRow("rmsNorm", x!, [weight])];
  },
  vjp(_dy, { inputs: [x, weight], outputs: [, r], needs, dys: [dy, dr] }) {
    const size = x!.shape[x!.ndim - 1]!;
    return [
      needs[0]
        ? total([
            dy ? apply(rmsNormBackwardOp, [x!, weight!, r!, dy], null) : null,
            // dr/dx = -r³ x / D
            dr ? castTo(mul(column(mul(dr, mul(square(r!), r!))), widen(x!)).div(-size), x!.dtype) : null,
          ])
        : null,
      needs[1] && dy ? castTo(overRows(mul(widen(dy), mul(widen(x!), column(r!)))), weight!.dtype) : null,
    ];
  },
  meaning([x, weight], { eps }) {
    const wide = widen(x!);
    const r = rsqrt(add(mean(square(wide), -1, ROW), eps));
    const y = mul(mul(wide, r), widen(weight!));
    return [castTo(y, x!.dtype), reshape(r, x!.shape.slice(0, -1))];
  },
});

/**
 * Gradient of RMS normalization with respect to x, with x̂ = x r and g = dy · weight:
 *
 *     dx = r · (g - x̂ · mean(g x̂))
 */
export const rmsNormBackwardOp: OpDef<null> = /* @__PURE__ */ defineOp("rmsNormBackward", {
  kind: "composite",
  infer: ([x]) => x!,
  meaning([x, weight, r, dy]) {
    const unit = mul(widen(x!), column(r!));
    const g = mul(widen(dy!), widen(weight!));
    return castTo(mul(column(r!), sub(g, mul(unit, mean(mul(g, unit), -1, ROW)))), x!.dtype);
  },
});

export interface NormOptions {
  /** Added to the variance (mean square) under the root. Default 1e-5 (`layerNorm`), 1e-6 (`rmsNorm`). */
  eps?: number;
}

function expectNorm(where: string, x: Tensor, eps: number): void {
  if (!(eps >= 0) || !Number.isFinite(eps)) {
    throw new ConfigError({ where, expected: "eps to be a number ≥ 0", got: String(eps) });
  }
  if (x.ndim === 0 || x.shape[x.ndim - 1] === 0) {
    throw new ShapeError({
      where,
      expected: "x with a last axis of at least one element",
      got: showDims(x.shape),
    });
  }
}

/**
 * Layer normalization over the last axis: (x - mean) / sqrt(variance + eps) · weight + bias. `weight` and `bias` are [D];
 * each may be left out. Statistics are in f32 whatever x is.
 *
 * @category Normalization
 */
export function layerNorm(
  x: Tensor,
  weight?: Tensor | null,
  bias?: Tensor | null,
  { eps = 1e-5 }: NormOptions = {},
): Tensor {
  expectNorm("layerNorm", x, eps);
  if (weight && bias) return applyMulti(layerNormOp, [x, weight, bias], { eps, affine: true })[0]!;
  const unit = applyMulti(layerNormOp, [x], { eps, affine: false })[0]!;
  const scaled = weight ? mul(unit, weight) : unit;
  return bias ? add(scaled, bias) : scaled;
}

/**
 * RMS normalization over the last axis: x / sqrt(mean(x²) + eps) · weight. `weight` is [D], by default ones.
 *
 * @category Normalization
 */
export function rmsNorm(x: Tensor, weight?: Tensor | null, { eps = 1e-6 }: NormOptions = {}): Tensor {
  expectNorm("rmsNorm", x, eps);
  return applyMulti(rmsNormOp, [x, weight ?? ones(x.shape.slice(-1), { dtype: wideDtype(x.dtype) })], {
    eps,
  })[0]!;
}
