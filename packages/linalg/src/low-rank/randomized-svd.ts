import { concat, hypot, type Key, slice, type Tensor, zerosLike } from "@lowrank/tensor";
import { asMatrix, columnsOf, rowsOf } from "../matrix.js";
import { qrFrom } from "../qr.js";
import { type Svd, svdFrom } from "../svd.js";
import { expectCount, expectKey, expectRank } from "./expect.js";
import { gaussian, probeBound, type RangeFinderOptions, rangeFrom } from "./range-finder.js";
import { withSigns } from "./signs.js";
import { leading } from "./truncation.js";

export interface RandomizedSvd extends Svd {
  /** Above ‖a - u diag(s) vt‖₂ but for a chance of 10^-probes, [..]; computed only if it is asked for. */
  errorBound: Tensor;
}

/** The decomposition of q qᵀ a cut to `rank`, with its error: that of q, and what is cut, which is orthogonal to it. */
function inRange(where: string, a: Tensor, q: Tensor, bound: Tensor, rank: number): RandomizedSvd {
  const { u, s, vt } = svdFrom(where, q.T.matmul(a));
  const rest = s.ndim - 1;
  const next = slice(concat([s, zerosLike(s)], -1), [...s.shape.slice(0, rest).map(() => null), rank]);
  return { ...withSigns(leading({ u: q.matmul(u), s, vt }, rank)), errorBound: hypot(bound, next) };
}

/**
 * The singular value decomposition of a [.., m, n] cut to `rank`, nearly: that of q qᵀ a with q from `rangeFinder`. It
 * costs 2 (powerSteps + 1) products of a with rank + oversample columns instead of a decomposition of a. Gradients are
 * those of this computation, and need the rank of a to be at least rank + oversample (`qr` has none for dependent columns).
 *
 * Source: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 5.1 and theorem 9.3.
 *
 * @throws as `rangeFinder`
 * @example
 * ```ts
 * const { u, s, vt, errorBound } = randomizedSvd(a, { rank: 16, key: key(0) });
 * ```
 * @category Randomized
 */
export function randomizedSvd(a: Tensor, { probes = 10, ...options }: RangeFinderOptions): RandomizedSvd {
  const where = "randomizedSvd";
  expectCount(where, "probes", probes, 1);
  const x = asMatrix(where, "a", a);
  const { q, errorBound } = rangeFrom(where, x, probes, options);
  return inRange(where, x, q, errorBound, options.rank);
}

export interface BlockKrylovOptions {
  /** From 1 to min(m, n). */
  rank: number;
  /** How often a aᵀ is applied. Default 3. */
  steps?: number;
  /** Columns of a block, at least `rank`. Default: rank. */
  blockSize?: number;
  /** Random vectors that the bound of the error is made from. Default 10. */
  probes?: number;
  /** Which random numbers: the same key gives the same answer. */
  key: Key;
}

/**
 * The singular value decomposition of a [.., m, n] cut to `rank`, nearly, from the block Krylov space
 *
 *     [a W, (a aᵀ) a W, ..., (a aᵀ)^steps a W],   W Gaussian [n, blockSize]
 *
 * which holds more than the last power alone, so that about the square root of the steps suffices: log(n) / √ε of them
 * give ‖a - u uᵀ a‖₂ ≤ (1 + ε) s_{rank+1} with high chance, however close the values lie.
 *
 * Source: Musco and Musco 2015, arXiv:1504.05477, algorithm 2 and theorem 1.
 *
 * @throws as `rangeFinder`
 * @category Randomized
 */
export function blockKrylovSvd(
  a: Tensor,
  { rank, steps = 3, blockSize = rank, probes = 10, key }: BlockKrylovOptions,
): RandomizedSvd {
  const where = "blockKrylovSvd";
  const x = asMatrix(where, "a", a);
  const most = Math.min(rowsOf(x), columnsOf(x));
  expectRank(where, rank, most);
  expectCount(where, "steps", steps, 0);
  expectCount(where, "blockSize", blockSize, rank);
  expectCount(where, "probes", probes, 1);
  expectKey(where, key);
  const [sketch, probe] = key.split() as [Key, Key];
  const width = Math.min(blockSize, most);
  const blocks = [qrFrom(where, x.matmul(gaussian(x, width, sketch))).q];
  // Blocks beyond the size of a would bring nothing.
  while (blocks.length <= steps && blocks.length * width < most)
    blocks.push(qrFrom(where, x.matmul(x.T.matmul(blocks[blocks.length - 1]!))).q);
  const { q } = qrFrom(where, concat(blocks, -1));
  return inRange(where, x, q, probeBound(x, q, probes, probe), rank);
}
