import { ConfigError, evaluate, type Tensor } from "@lowrank/tensor";
import { expectCount, expectRank } from "../low-rank/expect.js";
import { leading } from "../low-rank/truncation.js";
import { expectNumber } from "../matrix.js";
import { svdFrom } from "../svd.js";
import { countByTail, expectOneRule, expectRanks } from "./rank-rule.js";
import { asTensor, distance, modeProduct, unfold } from "./unfold.js";

/** A tensor core ×₀ U₀ ×₁ U₁ ⋯ with orthonormal columns in every U_j. */
export class Tucker {
  constructor(
    /** [r₀, r₁, ...] */
    readonly core: Tensor,
    /** U_j [n_j, r_j]; null for a mode that was left as it is, r_j = n_j. */
    readonly factors: readonly (Tensor | null)[],
  ) {}

  /** The tensor [n₀, n₁, ...]. */
  reconstruct(): Tensor {
    return this.factors.reduce<Tensor>((y, U, j) => (U ? modeProduct(y, U, j) : y), this.core);
  }

  /** ‖x - reconstruct()‖_F */
  error(x: Tensor): Tensor {
    return distance(x, this.reconstruct());
  }
}

export interface TuckerRanks {
  /** r_j for every mode, from 1 to min(n_j, product of the others); null leaves the mode as it is. */
  ranks: readonly (number | null)[];
}

export interface TuckerTolerance {
  /** ‖x - x̂‖_F ≤ tolerance · ‖x‖_F. Not negative. */
  tolerance: number;
  /** The modes that are cut. Default: all. */
  modes?: readonly number[];
}

type Given = Partial<TuckerRanks & TuckerTolerance>;

function check(where: string, x: Tensor, { ranks, tolerance, modes }: Given): number[] {
  expectOneRule(where, ranks, tolerance);
  if (ranks) {
    expectRanks(where, ranks, x.ndim, "mode");
    for (const [j, r] of ranks.entries()) if (r !== null) expectRank(where, r, mostOf(x, j), `rank ${j}`);
    return ranks.flatMap((r, j) => (r === null ? [] : [j]));
  }
  const all = modes ?? x.shape.map((_, j) => j);
  if (all.some((j) => !(Number.isInteger(j) && j >= 0 && j < x.ndim)) || new Set(all).size !== all.length) {
    throw new ConfigError({
      where,
      expected: `distinct modes from 0 to ${x.ndim - 1}`,
      got: `[${all.join(", ")}]`,
    });
  }
  return [...all];
}

const mostOf = (x: Tensor, j: number): number => Math.min(x.shape[j]!, x.size / Math.max(1, x.shape[j]!));

/** The first r left singular vectors of an unfolding. */
const leftVectors = (where: string, x: Tensor, j: number, r: number): Tensor =>
  leading(svdFrom(where, unfold(x, j)), r).u;

/** Cuts mode after mode; with `sequential` each sees what the ones before left. */
function cutByRanks(
  where: string,
  x: Tensor,
  ranks: readonly (number | null)[],
  sequential: boolean,
): Tucker {
  let core = x;
  const factors = ranks.map((r, j) => {
    if (r === null) return null;
    const U = leftVectors(where, sequential ? core : x, j, r);
    core = modeProduct(core, U.T, j);
    return U;
  });
  return new Tucker(core, factors);
}

async function cutByTolerance(
  where: string,
  x: Tensor,
  modes: readonly number[],
  tolerance: number,
  sequential: boolean,
): Promise<Tucker> {
  const factors: (Tensor | null)[] = x.shape.map(() => null);
  const size = await distance(x, x.mul(0)).item();
  const allowed = modes.length ? (tolerance * size) ** 2 / modes.length : 0;
  let core = x;
  for (const j of modes) {
    const { u, s, vt } = svdFrom(where, unfold(sequential ? core : x, j));
    await evaluate(u, s);
    const U = leading({ u, s, vt }, await countByTail(s, allowed)).u;
    core = modeProduct(core, U.T, j);
    await evaluate(U, core);
    factors[j] = U;
  }
  return new Tucker(core, factors);
}

function higherOrder(where: string, x: Tensor, given: Given, sequential: boolean): Tucker | Promise<Tucker> {
  const y = asTensor(where, x, 1);
  const modes = check(where, y, given);
  return given.ranks
    ? cutByRanks(where, y, given.ranks, sequential)
    : cutByTolerance(where, y, modes, given.tolerance!, sequential);
}

/**
 * The higher-order singular value decomposition of x [n₀, n₁, ...], cut: U_j holds the first r_j left singular vectors of
 * `unfold(x, j)`, the core is x ×_j U_jᵀ over all modes. With tail_j² the squares cut off in mode j
 *
 *     max_j tail_j² ≤ ‖x - best‖² ≤ ‖x - x̂‖² ≤ Σ_j tail_j²,
 *
 * so that the error is at most √order that of the best tensor of these ranks. By tolerance it is a promise of computed
 * parts, which pass no gradient on; every mode is allowed the same share.
 *
 * Source: De Lathauwer, De Moor and Vandewalle 2000, A multilinear singular value decomposition; Kolda and Bader 2009,
 * section 4.2.
 *
 * @throws ConfigError for ranks or a tolerance out of range; ShapeError, DTypeError; when computed NumericalError for NaN
 * or infinity
 * @category Formats
 */
export function hosvd(x: Tensor, rule: TuckerRanks): Tucker;
export function hosvd(x: Tensor, rule: TuckerTolerance): Promise<Tucker>;
export function hosvd(x: Tensor, rule: TuckerRanks | TuckerTolerance): Tucker | Promise<Tucker> {
  return higherOrder("hosvd", x, rule, false);
}

/**
 * The same with every mode cut from what the modes before it left: cheaper, the same bounds, and ‖x - x̂‖² is exactly the
 * sum of the squares that were cut off.
 *
 * Source: Vannieuwenhoven, Vandebril and Meerbergen 2012, A new truncation strategy for the higher-order singular value
 * decomposition.
 *
 * @throws as `hosvd`
 * @category Formats
 */
export function stHosvd(x: Tensor, rule: TuckerRanks): Tucker;
export function stHosvd(x: Tensor, rule: TuckerTolerance): Promise<Tucker>;
export function stHosvd(x: Tensor, rule: TuckerRanks | TuckerTolerance): Tucker | Promise<Tucker> {
  return higherOrder("stHosvd", x, rule, true);
}

export interface HooiOptions extends TuckerRanks {
  /** Sweeps over the modes at most. Default 50. */
  iterations?: number;
  /** Stops when a sweep lowers the error by no more than tolerance · ‖x‖_F. Default 1e-6. */
  tolerance?: number;
}

/**
 * Higher-order orthogonal iteration: from `stHosvd`, each U_j in turn becomes the first left singular vectors of x projected
 * on all the others. The error, in `errors` after each sweep (first: of the start), never rises. The parts are computed
 * and pass no gradient on.
 *
 * Source: De Lathauwer, De Moor and Vandewalle 2000, On the best rank-1 and rank-(R₁, ..., R_N) approximation; Kolda and
 * Bader 2009, figure 4.4.
 *
 * @throws as `hosvd`; ConfigError also for a rank above the product of the others
 * @category Formats
 */
export async function hooi(
  x: Tensor,
  { ranks, iterations = 50, tolerance = 1e-6 }: HooiOptions,
): Promise<Tucker & { errors: readonly number[] }> {
  const where = "hooi";
  const y = asTensor(where, x, 1);
  const modes = check(where, y, { ranks });
  expectCount(where, "iterations", iterations, 0);
  expectNumber(where, "tolerance", tolerance, 0);
  const sizes = ranks.map((r, j) => r ?? y.shape[j]!);
  for (const j of modes) {
    const others = sizes.reduce((product, r, i) => (i === j ? product : product * r), 1);
    expectRank(where, sizes[j]!, others, `rank ${j}, beside the others,`);
  }
  let fit = cutByRanks(where, y, ranks, true);
  const errors: number[] = [];
  const size = await distance(y, y.mul(0)).item();
  for (let sweep = 0; ; sweep++) {
    const error = fit.error(y);
    await evaluate(fit.core, error, ...fit.factors.filter((U) => U !== null));
    errors.push(await error.item());
    const [before, now] = errors.slice(-2);
    if (sweep === iterations || (sweep > 0 && before! - now! <= tolerance * size)) break;
    fit = sweepOf(where, y, ranks, modes, fit);
  }
  return Object.assign(fit, { errors });
}

function sweepOf(
  where: string,
  x: Tensor,
  ranks: readonly (number | null)[],
  modes: readonly number[],
  { core, factors }: Tucker,
): Tucker {
  const next = [...factors];
  let last = core;
  for (const j of modes) {
    const others = next.reduce<Tensor>((y, U, i) => (U && i !== j ? modeProduct(y, U.T, i) : y), x);
    next[j] = leftVectors(where, others, j, ranks[j]!);
    last = modeProduct(others, next[j]!.T, j);
  }
  return new Tucker(last, next);
}
