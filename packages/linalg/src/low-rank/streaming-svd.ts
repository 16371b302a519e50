import {
  concat,
  ConfigError,
  type DType,
  evaluate,
  ShapeError,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { scaleRows } from "../diagonal.js";
import { asMatrix, columnsOf, showDims } from "../matrix.js";
import { svdFrom } from "../svd.js";
import { expectCount } from "./expect.js";
import { leading } from "./truncation.js";

export interface StreamingSvdOptions {
  /** How many singular values are kept, at least 1. */
  rank: number;
  /**
   * "truncate" (default) cuts the values beyond `rank` after each block: exact while the rows seen have that rank, the
   * most accurate where values fall off; no bound is known beforehand. "frequentDirections" takes the square of the
   * first value cut from the squares of the others as well: values come out too small, and with A all rows seen and
   * any k ≤ rank, `errorBound` ≤ ‖A - A_k‖_F² / (rank + 1 - k), whatever the rows and their order.
   */
  method?: "truncate" | "frequentDirections";
  /** Default "f32". */
  dtype?: DType;
}

/**
 * Singular values and right singular vectors of a matrix A [rows, n] that comes in blocks of rows and is never held: what
 * was kept, diag(s) vt, is put on top of the new rows and decomposed again. Then for B = diag(s) vt
 *
 *     0 ⪯ AᵀA - BᵀB ⪯ errorBound · I
 *
 * up to rounding. It holds rank · n numbers.
 *
 * Source: Brand 2002, Incremental singular value decomposition, for "truncate"; Liberty 2013, arXiv:1206.0594, and
 * Ghashami et al. 2016, arXiv:1501.01711, theorem 1.1, for "frequentDirections".
 *
 * @example
 * ```ts
 * const stream = new StreamingSvd(768, { rank: 32 });
 * for await (const rows of blocks) await stream.push(rows);
 * const { s, vt } = stream;
 * ```
 * @category Randomized
 */
export class StreamingSvd {
  /** Singular values, descending: at most `rank`, fewer while fewer rows were seen. */
  s: Tensor;
  /** Right singular vectors as rows. */
  vt: Tensor;
  /** How many rows were seen. */
  rows = 0;
  /** Σ of the squares of the first value that each block has cut: above ‖AᵀA - BᵀB‖₂. */
  errorBound = 0;

  private last: Promise<void> = Promise.resolve();
  private readonly columns: number;
  private readonly rank: number;
  private readonly shrink: boolean;

  /** @throws ConfigError for a size that is not an integer ≥ 1 or an unknown method; DTypeError */
  constructor(columns: number, { rank, method = "truncate", dtype = "f32" }: StreamingSvdOptions) {
    expectCount("StreamingSvd", "columns", columns, 1);
    expectCount("StreamingSvd", "rank", rank, 1);
    if (method !== "truncate" && method !== "frequentDirections") {
      throw new ConfigError({
        where: "StreamingSvd",
        expected: 'method "truncate" or "frequentDirections"',
        got: String(method),
      });
    }
    this.columns = columns;
    this.rank = Math.min(rank, columns);
    this.shrink = method === "frequentDirections";
    this.vt = asMatrix("StreamingSvd", "vt", zeros([0, columns], { dtype }));
    this.s = zeros([0], { dtype: this.vt.dtype });
  }

  /**
   * Takes rows [k, n] in. Blocks that are pushed without waiting are taken in turn.
   *
   * @throws ShapeError, DTypeError; as a rejection NumericalError for NaN or infinity, which leaves all as it was
   */
  push(rows: Tensor): Promise<void> {
    if (rows.ndim !== 2 || columnsOf(rows) !== this.columns) {
      throw new ShapeError({
        where: "StreamingSvd.push",
        expected: `rows of shape [k, ${this.columns}]`,
        got: showDims(rows.shape),
      });
    }
    const block = asMatrix("StreamingSvd.push", "rows", rows).astype(this.vt.dtype);
    const done = this.last.then(() => this.merge(block));
    this.last = done.catch(() => {});
    return done;
  }

  private async merge(block: Tensor): Promise<void> {
    const stacked = concat([scaleRows(this.vt, this.s), block], 0);
    const parts = svdFrom("StreamingSvd.push", stacked);
    await evaluate(parts.s, parts.vt);
    const values = Array.from(await parts.s.data());
    const kept = Math.min(this.rank, values.length);
    const cut = values[kept] ?? 0;
    const { s, vt } = leading(parts, kept);
    const shrunk = values.slice(0, kept).map((x) => Math.sqrt(Math.max(0, (x - cut) * (x + cut))));
    const next = this.shrink ? tensor(Float64Array.from(shrunk), { dtype: s.dtype, shape: [kept] }) : s;
    await evaluate(next, vt);
    [this.s, this.vt] = [next, vt];
    this.rows += block.shape[0]!;
    this.errorBound += cut * cut;
  }
}
