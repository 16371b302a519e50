import { cast, exp, gt, log, sub, sum, type Tensor, where } from "@lowrank/tensor";
import { columnsOf, epsOf, expectNumber, rowsOf } from "../matrix.js";
import { scaleOf } from "../spectral-gaps.js";
import { spectrumOf } from "./spectrum.js";

export interface NumericalRankOptions {
  /** Values up to tolerance · s₁ count as 0. Default: max(m, n) eps of the dtype. */
  tolerance?: number;
}

/**
 * The number of singular values s_j > tolerance · s₁ of a [.., m, n], as i32 [..]. It has no gradient.
 *
 * @throws ConfigError for a negative tolerance; ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Measures
 */
export function numericalRank(a: Tensor, { tolerance }: NumericalRankOptions = {}): Tensor {
  const name = "numericalRank";
  if (tolerance !== undefined) expectNumber(name, "tolerance", tolerance, 0);
  const s = spectrumOf(name, a);
  const least = tolerance ?? Math.max(rowsOf(a), columnsOf(a)) * epsOf(s.dtype);
  return sum(cast(gt(s, s.max(-1, { keepDims: true }).mul(least)), "i32"), -1);
}

/**
 * The stable rank ‖a‖_F² / ‖a‖₂² of a [.., m, n], as [..]: from 1 to the rank, 0 for a = 0. Small changes of a change it
 * little.
 *
 * Source: Rudelson and Vershynin 2007, Sampling from large matrices, section 1.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Measures
 */
export function stableRank(a: Tensor): Tensor {
  const s = spectrumOf("stableRank", a);
  const x = s.div(scaleOf(s));
  return sum(x.mul(x), -1);
}

/** -Σ p log p of p = x / Σ x along the last axis with 0 log 0 = 0, and whether there is anything but zeros. */
function entropyOf(x: Tensor): { entropy: Tensor; any: Tensor } {
  const total = sum(x, -1, { keepDims: true });
  const p = x.div(where(gt(total, 0), total, 1));
  const inside = where(gt(p, 0), p, 1);
  return { entropy: sub(0, sum(inside.mul(log(inside)), -1)), any: gt(sum(x, -1), 0) };
}

/**
 * The effective rank exp(-Σ p_j log p_j), p_j = s_j / Σ s, of a [.., m, n], as [..]: from 1 to the rank, 0 for a = 0.
 *
 * Source: Roy and Vetterli 2007, The effective rank: a measure of effective dimensionality.
 *
 * @throws as `stableRank`
 * @category Measures
 */
export function effectiveRank(a: Tensor): Tensor {
  const { entropy, any } = entropyOf(spectrumOf("effectiveRank", a));
  return where(any, exp(entropy), 0);
}

export interface MatrixEntropyOptions {
  /** Divide by log n, n the columns of a: from 0 to 1. Default false. */
  normalized?: boolean;
}

/**
 * The entropy -Σ p_j log p_j, p_j = s_j² / Σ s², of the spectrum of aᵀa / ‖a‖_F² (von Neumann's), in nats, of a [.., m, n],
 * as [..]: 0 for rank 1, log q for q equal values.
 *
 * Source: Wei et al. 2024, arXiv:2401.17139. There the rows of a are centred and scaled to length 1; here they
 * are taken as they are.
 *
 * @throws as `stableRank`
 * @category Measures
 */
export function matrixEntropy(a: Tensor, { normalized = false }: MatrixEntropyOptions = {}): Tensor {
  const s = spectrumOf("matrixEntropy", a);
  const x = s.div(scaleOf(s));
  const { entropy } = entropyOf(x.mul(x));
  const n = columnsOf(a);
  return normalized && n > 1 ? entropy.div(Math.log(n)) : entropy;
}

/**
 * The participation ratio (Σ s_j²)² / Σ s_j⁴ of a [.., m, n], as [..]: how many eigenvalues of aᵀa take part, from 1 to the
 * rank, 0 for a = 0.
 *
 * @throws as `stableRank`
 * @category Measures
 */
export function participationRatio(a: Tensor): Tensor {
  const s = spectrumOf("participationRatio", a);
  const x = s.div(scaleOf(s));
  const square = x.mul(x);
  const [second, fourth] = [sum(square, -1), sum(square.mul(square), -1)];
  return second.mul(second).div(where(gt(fourth, 0), fourth, 1));
}
