import { expectInteger, expectNumber } from "./expect.js";
import type { Contribution } from "./contributions.js";

export interface ContributionRanksOptions {
  /** Share of the layers' weights that may be trained, Σ r (rows + columns) / Σ rows · columns. Default 0.07. */
  budget?: number;
  /** Contributions above this quantile of them count as that quantile. Default 0.9. */
  quantile?: number;
  /** The least rank of a layer; with 0 a layer may get none and is not among the results. Default 1. */
  minRank?: number;
}

/** Quantile of numbers, between neighbours in proportion. */
function quantileOf(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (at - low) * (sorted[high]! - sorted[low]!);
}

/**
 * CoLoRA's ranks: layers that contribute more get a larger share δ of their weight to train, as a low-rank update of that many
 * numbers at most,
 *
 *     δ = min(1, a · min(1, c / Q)),   r = max(minRank, ⌊δ · rows · columns / (rows + columns)⌋)
 *
 * where Q is the quantile of the contributions c, or the largest if that is zero, and a is the largest factor that keeps to the
 * budget. If nothing contributes all δ are equal. The least rank may exceed a small budget, by what it needs.
 *
 * Source: Park et al. 2024, arXiv:2408.01099. The paper sets size and spread of the shares by two constants; here
 * the budget sets the size, and clipping at a quantile the spread.
 *
 * @example
 * ```ts
 * const ranks = contributionRanks(layers, { budget: 0.05 }); // { "conv1": 2, "conv2": 7 }
 * ```
 * @category Choice of ranks
 */
export function contributionRanks(
  layers: Readonly<Record<string, Contribution>>,
  { budget = 0.07, quantile = 0.9, minRank = 1 }: ContributionRanksOptions = {},
): Record<string, number> {
  expectNumber("contributionRanks", "budget", budget, { min: Number.MIN_VALUE, below: 1 + 1e-12 });
  expectNumber("contributionRanks", "quantile", quantile, { min: 0, below: 1 + 1e-12 });
  expectInteger("contributionRanks", "minRank", minRank, { min: 0 });
  const all = Object.values(layers);
  const values = all.map(({ value }) => value);
  const most = Math.max(0, ...values);
  const cap = (all.length > 0 && quantileOf(values, quantile)) || most;
  const shares = values.map((c) => (most === 0 ? 1 : Math.min(1, c / cap)));
  const ranksAt = (a: number): number[] =>
    all.map(({ rows, columns }, i) => {
      const share = Math.min(1, a * shares[i]!);
      const fits = Math.min(rows, columns);
      return Math.min(fits, Math.max(minRank, Math.floor((share * rows * columns) / (rows + columns))));
    });
  const whole = all.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const trained = (ranks: readonly number[]): number =>
    all.reduce((sum, { rows, columns }, i) => sum + ranks[i]! * (rows + columns), 0);
  // Trained numbers grow with a: from a = 0, which may be above the budget already, to where every share that is not 0 is 1.
  let [low, high] = [0, 1 / Math.min(...shares.filter((s) => s > 0), 1)];
  if (trained(ranksAt(high)) <= budget * whole) low = high;
  for (let i = 0; i < 60 && low < high; i++) {
    const middle = (low + high) / 2;
    if (trained(ranksAt(middle)) <= budget * whole) low = middle;
    else high = middle;
  }
  const ranks = ranksAt(low);
  return Object.fromEntries(
    Object.keys(layers)
      .map((path, i): [string, number] => [path, ranks[i]!])
      .filter(([, rank]) => rank > 0),
  );
}
