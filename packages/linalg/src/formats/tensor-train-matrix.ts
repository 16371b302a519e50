import { ConfigError, ShapeError, type Tensor } from "@lowrank/tensor";
import { asMatrix, showDims } from "../matrix.js";
import { TensorTrain, tensorTrain, type TrainRanks, type TrainTolerance } from "./tensor-train.js";
import { distance } from "./unfold.js";

/** A matrix [Π o_j, Π i_j] as a chain of cores: w[(o₀, o₁, ...), (i₀, i₁, ...)] = G₀[:, o₀, i₀, :] G₁[:, o₁, i₁, :] ⋯. */
export class TensorTrainMatrix {
  constructor(
    /** [r_{j-1}, o_j, i_j, r_j] with r = 1 at both ends. */
    readonly cores: readonly Tensor[],
  ) {}

  /** The sizes r_j between the cores. */
  get ranks(): number[] {
    return this.cores.slice(1).map((core) => core.shape[0]!);
  }

  /** The matrix [Π o_j, Π i_j]. */
  reconstruct(): Tensor {
    const pairs = this.cores.map((core) => core.shape.slice(1, 3) as [number, number]);
    const flat = this.cores.map((core) => core.reshape([core.shape[0]!, -1, core.shape[3]!]));
    const d = pairs.length;
    const axes = [...Array(d).keys()];
    return new TensorTrain(flat)
      .reconstruct()
      .reshape(pairs.flat())
      .permute([...axes.map((j) => 2 * j), ...axes.map((j) => 2 * j + 1)])
      .reshape([product(pairs.map(([o]) => o)), product(pairs.map(([, i]) => i))]);
  }

  /** ‖w - reconstruct()‖_F */
  error(w: Tensor): Tensor {
    return distance(w, this.reconstruct());
  }

  /** x wᵀ for rows x [.., Π i_j], core after core: [.., Π o_j]. The matrix is never formed. */
  apply(x: Tensor): Tensor {
    const columns = product(this.cores.map((core) => core.shape[2]!));
    const lead = x.shape.slice(0, -1);
    if (x.ndim === 0 || x.shape[lead.length] !== columns) {
      throw new ShapeError({
        where: "TensorTrainMatrix.apply",
        expected: `x of shape [.., ${columns}]`,
        got: showDims(x.shape),
      });
    }
    // [done, r, i, rest] with `done` the rows of x and the outputs so far.
    let [y, done, rest] = [x, product(lead), columns];
    for (const core of this.cores) {
      const [r, o, i, next] = core.shape as [number, number, number, number];
      rest /= i;
      const operand = y
        .reshape([done, r, i, rest])
        .permute([0, 3, 1, 2])
        .reshape([done * rest, r * i]);
      const matrix = core.permute([0, 2, 1, 3]).reshape([r * i, o * next]);
      y = operand.matmul(matrix).reshape([done, rest, o, next]).permute([0, 2, 3, 1]);
      done *= o;
    }
    return y.reshape([...lead, product(this.cores.map((core) => core.shape[1]!))]);
  }
}

const product = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1);

export interface TrainMatrixShape {
  /** o_j, whose product is the number of rows. */
  rows: readonly number[];
  /** i_j, as many, whose product is the number of columns. */
  columns: readonly number[];
}

/**
 * The tensor train of a matrix w [Π o_j, Π i_j] with rows and columns split into factors: `tensorTrain` of w as a tensor
 * [o₀ i₀, o₁ i₁, ...]. All ranks are 1 exactly for a Kronecker product of matrices [o_j, i_j].
 *
 * Source: Oseledets 2010, Approximation of 2^d × 2^d matrices using tensor decomposition; Novikov et al. 2015,
 * arXiv:1509.06569, section 3.
 *
 * @throws ConfigError where rows and columns do not multiply to the shape of w; otherwise as `tensorTrain`
 * @category Formats
 */
export function tensorTrainMatrix(w: Tensor, options: TrainMatrixShape & TrainRanks): TensorTrainMatrix;
export function tensorTrainMatrix(
  w: Tensor,
  options: TrainMatrixShape & TrainTolerance,
): Promise<TensorTrainMatrix>;
export function tensorTrainMatrix(
  w: Tensor,
  { rows, columns, ...rule }: TrainMatrixShape & Partial<TrainRanks & TrainTolerance>,
): TensorTrainMatrix | Promise<TensorTrainMatrix> {
  const where = "tensorTrainMatrix";
  const x = asMatrix(where, "w", w);
  if (x.ndim !== 2) {
    throw new ShapeError({ where, expected: "w to be one matrix", got: `shape ${showDims(w.shape)}` });
  }
  const d = rows.length;
  const sizes = [...rows, ...columns];
  const fit = product(rows) === x.shape[0] && product(columns) === x.shape[1];
  if (d < 1 || columns.length !== d || !fit || !sizes.every((n) => Number.isInteger(n) && n >= 1)) {
    throw new ConfigError({
      where,
      expected: `as many rows as columns, with products ${x.shape[0]} and ${x.shape[1]}`,
      got: `${showDims(rows)} and ${showDims(columns)}`,
    });
  }
  const paired = x
    .reshape(sizes)
    .permute(rows.flatMap((_, j) => [j, d + j]))
    .reshape(rows.map((o, j) => o * columns[j]!));
  const split = ({ cores }: TensorTrain) =>
    new TensorTrainMatrix(
      cores.map((core, j) => core.reshape([core.shape[0]!, rows[j]!, columns[j]!, core.shape[2]!])),
    );
  const train = tensorTrain(paired, rule as TrainRanks) as TensorTrain | Promise<TensorTrain>;
  return train instanceof TensorTrain ? split(train) : train.then(split);
}
