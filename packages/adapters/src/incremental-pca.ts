import { StreamingSvd } from "@lowrank/linalg";
import { concat, evaluate, type Tensor, zeros } from "@lowrank/tensor";

/**
 * Principal components of rows that come in blocks: a streaming decomposition of the rows less their mean. A block is put in
 * less its own mean, with one row more for how far that is from the mean before:
 *
 *     √(n₀ n / (n₀ + n)) · (mean₀ − mean)   after n₀ rows, for a block of n
 *
 * Source: Ross et al. 2008, "Incremental learning for robust visual tracking", section 3.1.
 */
export class IncrementalPca {
  private readonly svd: StreamingSvd;
  private mean: Tensor;
  private rows = 0;
  /** Σ ‖x − mean‖² over all rows. */
  private total = 0;
  /** |cosine| of each component with what it was before the last block, 0 for one that is new. */
  similarity: readonly number[] = [];
  /** Share of the variance that each component explains. */
  ratios: readonly number[] = [];

  constructor(width: number, rank: number) {
    this.svd = new StreamingSvd(width, { rank });
    this.mean = zeros([width]);
  }

  /** Components as rows [k, width], those of most variance first; k is at most the rank. */
  get components(): Tensor {
    return this.svd.vt;
  }

  get singularValues(): Tensor {
    return this.svd.s;
  }

  /** Takes rows [n, width] in. */
  async push(block: Tensor): Promise<void> {
    const n = block.shape[0]!;
    if (n === 0) return;
    const mean = block.mean(0);
    const centred = block.sub(mean);
    const weight = Math.sqrt((this.rows * n) / (this.rows + n));
    const moved = this.mean.sub(mean).mul(weight).reshape([1, -1]);
    const pushed = this.rows === 0 ? centred : concat([centred, moved], 0);
    const next = this.mean.mul(this.rows / (this.rows + n)).add(mean.mul(n / (this.rows + n)));
    const energy = pushed.square().sum();
    await evaluate(pushed, next, energy);
    const before = this.svd.vt;
    await this.svd.push(pushed);
    this.mean = next;
    this.rows += n;
    this.total += await energy.item();
    const k = this.svd.vt.shape[0]!;
    const both = Math.min(before.shape[0]!, k);
    const cosines = this.svd.vt
      .slice([[0, both]])
      .mul(before.slice([[0, both]]))
      .sum(1)
      .abs();
    const known = both === 0 ? [] : Array.from(await cosines.data());
    this.similarity = Array.from({ length: k }, (_, i) => known[i] ?? 0);
    this.ratios = Array.from(await this.svd.s.data(), (s) => (this.total > 0 ? s ** 2 / this.total : 0));
  }
}
