import { ConfigError, evaluate, slice, type Tensor } from "@lowrank/tensor";
import { scaleColumns } from "../diagonal.js";
import { expectNumber } from "../matrix.js";
import { type Svd, svdFrom } from "../svd.js";
import { expectRank } from "./expect.js";

/** Keep this many singular values. */
export interface ByRank {
  /** From 1 to min(m, n). */
  rank: number;
}

/** Keep as many singular values as the numbers ask for: exactly one of the two. */
export interface BySpectrum {
  /**
   * The fewest values with Σ_{j ≤ k} s_j² ≥ energy · Σ s_j²: of squares, not of values. Above 0, up to 1.
   */
  energy?: number;
  /** The values s_j > tolerance · s₁. Not negative. */
  tolerance?: number;
}

export type Truncation = ByRank | BySpectrum;

/** @throws ConfigError unless exactly one of rank, energy and tolerance is given and in its range */
export function expectTruncation(where: string, given: Truncation, most: number): void {
  const { rank, energy, tolerance } = given as Partial<ByRank> & BySpectrum;
  const names = Object.entries({ rank, energy, tolerance }).flatMap(([name, value]) =>
    value === undefined ? [] : [name],
  );
  if (names.length !== 1) {
    throw new ConfigError({
      where,
      expected: "one of rank, energy and tolerance",
      got: names.join(" and ") || "none",
    });
  }
  if (rank !== undefined) expectRank(where, rank, most);
  if (tolerance !== undefined) expectNumber(where, "tolerance", tolerance, 0);
  if (energy !== undefined && !(energy > 0 && energy <= 1)) {
    throw new ConfigError({ where, expected: "energy above 0, up to 1", got: String(energy) });
  }
}

/** How many of the descending values are kept. */
export function countKept(s: ArrayLike<number>, { energy, tolerance }: BySpectrum): number {
  const top = s.length ? s[0]! : 0;
  if (tolerance !== undefined) return Array.from(s).filter((x) => x > tolerance * top).length;
  const squares = Array.from(s, (x) => (top > 0 ? (x / top) ** 2 : 0));
  // From the smallest: the energy that is left is then right to its last digits.
  const left = (1 - energy!) * squares.reduceRight((sum, x) => sum + x, 0);
  let [kept, tail] = [squares.length, 0];
  while (kept > 0 && tail + squares[kept - 1]! <= left) tail += squares[--kept]!;
  return kept;
}

/** The most that any of the rows [.., q] asks for. Computes them. */
export async function countKeptOf(s: Tensor, rule: BySpectrum): Promise<number> {
  const q = s.shape[s.ndim - 1]!;
  const data = await s.data();
  let kept = 0;
  for (let from = 0; from < data.length; from += q)
    kept = Math.max(kept, countKept(data.subarray(from, from + q), rule));
  return kept;
}

/** The parts that belong to the first k singular values. */
export function leading({ u, s, vt }: Svd, k: number): Svd {
  const lead = s.shape.slice(0, -1).map(() => null);
  return {
    u: slice(u, [...lead, null, [0, k]]),
    s: slice(s, [...lead, [0, k]]),
    vt: slice(vt, [...lead, [0, k], null]),
  };
}

/** A decomposition cut by a rule that was checked. */
export function truncate(parts: Svd, rule: Truncation): Svd | Promise<Svd> {
  if ("rank" in rule && rule.rank !== undefined) return leading(parts, rule.rank);
  return evaluate(parts.u, parts.s, parts.vt).then(async () =>
    leading(parts, await countKeptOf(parts.s, rule as BySpectrum)),
  );
}

/**
 * The singular value decomposition of a [.., m, n] cut to its first k values, the nearest matrix of rank k in every
 * unitarily invariant norm:
 *
 *     ‖a - a_k‖_F² = Σ_{j > k} s_j²,   ‖a - a_k‖₂ = s_{k+1}
 *
 * k is `rank`, or what `energy` or `tolerance` ask for; the latter have to see the values, so that the answer is a
 * promise of computed parts, which pass no gradient on. For a batch k is the most that any of its matrices asks for; it is
 * 0 if all of them are 0.
 *
 * Source: Eckart and Young 1936; Mirsky 1960.
 *
 * @throws ConfigError for a rank that is not from 1 to min(m, n), energy not in (0, 1], a negative tolerance; otherwise as
 * `svd`
 * @category Low rank
 */
export function truncatedSvd(a: Tensor, rule: ByRank): Svd;
export function truncatedSvd(a: Tensor, rule: BySpectrum): Promise<Svd>;
export function truncatedSvd(a: Tensor, rule: Truncation): Svd | Promise<Svd>;
export function truncatedSvd(a: Tensor, rule: Truncation): Svd | Promise<Svd> {
  const where = "truncatedSvd";
  const parts = svdFrom(where, a);
  expectTruncation(where, rule, parts.s.shape[parts.s.ndim - 1]!);
  return truncate(parts, rule);
}

/**
 * The matrix u diag(s) vt of a decomposition, [.., m, n].
 *
 * @category Low rank
 */
export const reconstruct = ({ u, s, vt }: Svd): Tensor => scaleColumns(u, s).matmul(vt);
