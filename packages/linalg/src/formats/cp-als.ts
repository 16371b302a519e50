import {
  argsort,
  evaluate,
  eye,
  gt,
  type Key,
  norm,
  normal,
  sum,
  take,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { choleskyFrom, choleskySolve } from "../cholesky.js";
import { expectCount, expectKey } from "../low-rank/expect.js";
import { expectNumber } from "../matrix.js";
import { asTensor, distance, expectFiniteTensor, khatriRao, unfold } from "./unfold.js";

/** A tensor Σ_r weights[r] · a₀[:, r] ∘ a₁[:, r] ∘ ⋯ of rank-one terms. */
export class CanonicalPolyadic {
  constructor(
    /** Sizes of the terms, descending, [rank]. */
    readonly weights: Tensor,
    /** Columns of length 1, [n_j, rank] for each mode. */
    readonly factors: readonly Tensor[],
    /** ‖x - x̂‖_F after each sweep of the fit that was kept. */
    readonly errors: readonly number[],
  ) {}

  /** The tensor [n₀, n₁, ...]. */
  reconstruct(): Tensor {
    return assembled(this.weights, this.factors);
  }

  /** ‖x - reconstruct()‖_F */
  error(x: Tensor): Tensor {
    return distance(x, this.reconstruct());
  }
}

function assembled(weights: Tensor, factors: readonly Tensor[]): Tensor {
  const [first, ...rest] = factors as [Tensor, ...Tensor[]];
  return first
    .mul(weights)
    .matmul(khatriRao(rest).T)
    .reshape(factors.map((a) => a.shape[0]!));
}

export interface CpAlsOptions {
  /** Number of terms, at least 1. */
  rank: number;
  /** Where the factors start: the same key gives the same answer. */
  key: Key;
  /** Sweeps over the modes at most, for each start. Default 200. */
  iterations?: number;
  /** Stops when a sweep changes the error by no more than tolerance · ‖x‖_F. Default 1e-8. */
  tolerance?: number;
  /** Random starts, of which the best is kept. Default 5. */
  restarts?: number;
  /**
   * Added to the diagonal of the normal equations, relative to its mean: keeps terms that grow and cancel in check.
   * Default 1e-8 in f64, 1e-6 in f32.
   */
  ridge?: number;
}

/**
 * The canonical polyadic decomposition (CP, PARAFAC) of x [n₀, n₁, ...], two axes or more, by alternating least squares:
 * each factor in turn solves
 *
 *     a_j (G + ridge) = unfold(x, j) K,   K the Khatri-Rao product of the others, G = KᵀK the product of their Gram matrices
 *
 * element by element, and its columns are then scaled to 1. There is no best tensor of a rank in general, and a fit may
 * stop in a local minimum: hence several starts. The parts are computed and pass no gradient on.
 *
 * Source: Kolda and Bader 2009, Tensor decompositions and applications, section 3.4 and figure 3.3.
 *
 * @throws ConfigError for options out of range or without a key; ShapeError, DTypeError; when computed NumericalError for
 * NaN or infinity, and with ridge 0 where terms fall together
 * @category Formats
 */
export async function cpAls(
  x: Tensor,
  { rank, key, iterations = 200, tolerance = 1e-8, restarts = 5, ridge }: CpAlsOptions,
): Promise<CanonicalPolyadic> {
  const where = "cpAls";
  const y = asTensor(where, x, 2);
  expectCount(where, "rank", rank, 1);
  expectKey(where, key);
  expectCount(where, "iterations", iterations, 1);
  expectCount(where, "restarts", restarts, 1);
  expectNumber(where, "tolerance", tolerance, 0);
  const shift = ridge ?? (y.dtype === "f64" ? 1e-8 : 1e-6);
  expectNumber(where, "ridge", shift, 0);
  const size = await norm(y).item();
  if (!Number.isFinite(size)) await expectFiniteTensor(where, y);
  let best: CanonicalPolyadic | null = null;
  for (let start = 0; start < restarts; start++) {
    const fit = await fitFrom(where, y, rank, key.fold(start), iterations, tolerance * size, shift);
    if (!best || lastOf(fit.errors) < lastOf(best.errors)) best = fit;
    if (lastOf(best.errors) <= tolerance * size) break;
  }
  return best!;
}

const lastOf = (errors: readonly number[]): number => errors[errors.length - 1]!;

async function fitFrom(
  where: string,
  x: Tensor,
  rank: number,
  key: Key,
  iterations: number,
  enough: number,
  ridge: number,
): Promise<CanonicalPolyadic> {
  const keys = key.split(x.ndim);
  let factors = x.shape.map((n, j) => unit(normal([n, rank], { key: keys[j]!, dtype: x.dtype })).columns);
  let weights = factors[0]!;
  const errors: number[] = [];
  for (let sweep = 0; sweep < iterations; sweep++) {
    const next = [...factors];
    for (let j = 0; j < x.ndim; j++) {
      const others = next.filter((_, i) => i !== j);
      const gram = others.map((a) => a.T.matmul(a)).reduce((a, b) => a.mul(b));
      const right = unfold(x, j).matmul(khatriRao(others));
      const L = choleskyFrom(where, ridged(gram, ridge), { assumeSymmetric: true });
      const { columns, lengths } = unit(choleskySolve(L, right.T).T);
      next[j] = columns;
      weights = lengths;
    }
    const error = distance(x, assembled(weights, next));
    await evaluate(weights, error, ...next);
    factors = next;
    errors.push(await error.item());
    const [before, now] = errors.slice(-2);
    if (now === undefined ? before! <= enough : Math.abs(before! - now) <= enough) break;
  }
  const order = argsort(weights.neg());
  const sorted = factors.map((a) => take(a, order, 1));
  weights = take(weights, order);
  await evaluate(weights, ...sorted);
  return new CanonicalPolyadic(weights, sorted, errors);
}

/** gram + ridge · mean(diag) I; where all is 0, I. */
function ridged(gram: Tensor, ridge: number): Tensor {
  const r = gram.shape[0]!;
  const one = eye(r, r, { dtype: gram.dtype });
  const mean = sum(gram.mul(one)).mul(ridge / r);
  return gram.add(one.mul(select(gt(mean, 0), mean, ridge > 0 ? 1 : 0)));
}

/** Columns scaled to length 1, and their lengths; columns of zeros stay. */
function unit(a: Tensor): { columns: Tensor; lengths: Tensor } {
  const lengths = norm(a, 0);
  return { columns: a.div(select(gt(lengths, 0), lengths, 1)), lengths };
}
