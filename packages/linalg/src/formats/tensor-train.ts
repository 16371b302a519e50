import { evaluate, type Tensor } from "@lowrank/tensor";
import { scaleRows } from "../diagonal.js";
import { expectRank } from "../low-rank/expect.js";
import { leading } from "../low-rank/truncation.js";
import { svdFrom } from "../svd.js";
import { countByTail, expectOneRule, expectRanks } from "./rank-rule.js";
import { asTensor, distance } from "./unfold.js";

/** A tensor as a chain of cores: x[i₀, i₁, ...] = G₀[:, i₀, :] G₁[:, i₁, :] ⋯, a product of small matrices. */
export class TensorTrain {
  constructor(
    /** [r_{j-1}, n_j, r_j] with r = 1 at both ends; all but the last have orthonormal columns as [r_{j-1} n_j, r_j]. */
    readonly cores: readonly Tensor[],
  ) {}

  /** The sizes r_j between the cores. */
  get ranks(): number[] {
    return this.cores.slice(1).map((core) => core.shape[0]!);
  }

  /** The tensor [n₀, n₁, ...]. */
  reconstruct(): Tensor {
    const dims = this.cores.map((core) => core.shape[1]!);
    const [first, ...rest] = this.cores;
    return rest
      .reduce((left, core) => {
        const [r, n, next] = core.shape as [number, number, number];
        return left.reshape([left.size / r, r]).matmul(core.reshape([r, n * next]));
      }, first!)
      .reshape(dims);
  }

  /** ‖x - reconstruct()‖_F */
  error(x: Tensor): Tensor {
    return distance(x, this.reconstruct());
  }
}

export interface TrainRanks {
  /** One for each bond between neighbours, order - 1 in all. */
  ranks: readonly number[];
}

export interface TrainTolerance {
  /** ‖x - x̂‖_F ≤ tolerance · ‖x‖_F. Not negative. */
  tolerance: number;
}

/**
 * The tensor train of x [n₀, n₁, ...] by singular value decompositions from left to right, each cut to r_j values:
 *
 *     C = x;  reshape(C, [r_{j-1} n_j, rest]) ≈ U diag(s) Vᵀ,  G_j = U,  C = diag(s) Vᵀ
 *
 * ‖x - x̂‖_F² is exactly the sum of all squares cut off, and at most (order - 1) times that of the best train of these
 * ranks. By tolerance every cut is allowed tolerance · ‖x‖_F / √(order - 1); this is a promise of computed cores, which
 * pass no gradient on.
 *
 * Source: Oseledets 2011, Tensor-train decomposition, algorithm 1 and theorem 2.2.
 *
 * @throws ConfigError for ranks or a tolerance out of range; ShapeError, DTypeError; when computed NumericalError for NaN
 * or infinity
 * @category Formats
 */
export function tensorTrain(x: Tensor, rule: TrainRanks): TensorTrain;
export function tensorTrain(x: Tensor, rule: TrainTolerance): Promise<TensorTrain>;
export function tensorTrain(
  x: Tensor,
  { ranks, tolerance }: Partial<TrainRanks & TrainTolerance>,
): TensorTrain | Promise<TensorTrain> {
  const where = "tensorTrain";
  const y = asTensor(where, x, 1);
  expectOneRule(where, ranks, tolerance);
  if (!ranks) return byTolerance(where, y, tolerance!);
  expectRanks(where, ranks, y.ndim - 1, "bond");
  let [rest, before] = [y, 1];
  const cores = ranks.map((r, j) => {
    const matrix = asRows(rest, before, y.shape[j]!);
    expectRank(where, r, Math.min(...matrix.shape), `rank ${j}`);
    const { u, s, vt } = leading(svdFrom(where, matrix), r);
    const core = u.reshape([before, y.shape[j]!, r]);
    [rest, before] = [scaleRows(vt, s), r];
    return core;
  });
  return new TensorTrain([...cores, rest.reshape([before, y.shape[y.ndim - 1]!, 1])]);
}

/** [r n, rest] */
const asRows = (x: Tensor, r: number, n: number): Tensor =>
  x.reshape([r * n, r * n === 0 ? 0 : x.size / (r * n)]);

async function byTolerance(where: string, x: Tensor, tolerance: number): Promise<TensorTrain> {
  const size = await distance(x, x.mul(0)).item();
  const allowed = (tolerance * size) ** 2 / Math.max(1, x.ndim - 1);
  const cores: Tensor[] = [];
  let [rest, before] = [x, 1];
  for (const n of x.shape.slice(0, -1)) {
    const parts = svdFrom(where, asRows(rest, before, n));
    await evaluate(parts.u, parts.s, parts.vt);
    const k = await countByTail(parts.s, allowed);
    const { u, s, vt } = leading(parts, k);
    cores.push(u.reshape([before, n, k]));
    [rest, before] = [scaleRows(vt, s), k];
  }
  cores.push(rest.reshape([before, x.shape[x.ndim - 1]!, 1]));
  await evaluate(...cores);
  return new TensorTrain(cores);
}
