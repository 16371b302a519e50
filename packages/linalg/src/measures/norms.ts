import { ConfigError, eq, gt, slice, stopGradient, sum, type Tensor, where } from "@lowrank/tensor";
import { scaleOf } from "../spectral-gaps.js";
import { spectrumOf } from "./spectrum.js";

const at = (s: Tensor, j: number): Tensor => slice(s, [...s.shape.slice(0, -1).map(() => null), j]);

/**
 * The spectral norm ‖a‖₂ = s₁, the largest singular value of a [.., m, n], as [..]. Its gradient is u₁ v₁ᵀ, one of the
 * subgradients where s₁ is multiple.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Measures
 */
export const spectralNorm = (a: Tensor): Tensor => at(spectrumOf("spectralNorm", a), 0);

/**
 * The nuclear norm ‖a‖_* = Σ s_j of a [.., m, n], as [..]. Its gradient is U Vᵀ, a subgradient where a lacks rank.
 *
 * @throws as `spectralNorm`
 * @category Measures
 */
export const nuclearNorm = (a: Tensor): Tensor => sum(spectrumOf("nuclearNorm", a), -1);

/**
 * Schatten's norm (Σ s_jᵖ)^(1/p) of a [.., m, n], as [..]: p = 1 is the nuclear norm, 2 Frobenius' and Infinity the
 * spectral norm. Neither large nor small numbers overflow. The gradient at 0 is 0.
 *
 * @throws ConfigError for p below 1; otherwise as `spectralNorm`
 * @category Measures
 */
export function schattenNorm(a: Tensor, p: number): Tensor {
  if (!(p >= 1)) {
    throw new ConfigError({ where: "schattenNorm", expected: "p from 1 to Infinity", got: String(p) });
  }
  const s = spectrumOf("schattenNorm", a);
  if (p === Number.POSITIVE_INFINITY) return at(s, 0);
  if (p === 1) return sum(s, -1);
  // The norm is homogeneous, so that the scale cancels from value and gradient.
  const scale = stopGradient(scaleOf(s));
  const total = sum(s.div(scale).pow(p), -1);
  const nonzero = gt(total, 0);
  return where(nonzero, where(nonzero, total, 1).pow(1 / p), 0).mul(at(scale, 0));
}

/**
 * The condition number s₁ / s_q, q = min(m, n), of a [.., m, n] for the 2-norm, as [..]; Infinity where s_q = 0.
 *
 * @throws as `spectralNorm`
 * @category Measures
 */
export function conditionNumber(a: Tensor): Tensor {
  const s = spectrumOf("conditionNumber", a);
  const least = at(s, s.shape[s.ndim - 1]! - 1);
  const none = eq(least, 0);
  return where(none, Number.POSITIVE_INFINITY, at(s, 0).div(where(none, 1, least)));
}
