import {
  type Assignment,
  type AttentionOptions,
  concat,
  ConfigError,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import type { AttentionCache, KVCache, ReadKeys } from "./kv-cache.js";

/**
 * Caches of one sequence each as the cache of a batch, in which every row is at a position of its own. Rows attend one by
 * one, each to what it holds, so that a row's numbers do not depend on those beside it and a short row costs little; all
 * positions are fed to the plan, so that one plan serves every step.
 *
 * @example
 * ```ts
 * const rows = new RowCaches([first, second]); // of capacity alike
 * const logits = model.forward(ids, { cache: rows, positions: rows.positions(1) }); // ids [2, 1]
 * await evaluate(logits, ...rows.pending());
 * rows.advance([1, 0]); // the second row has nothing to keep
 * ```
 */
export class RowCaches implements AttentionCache {
  readonly capacity: number;
  private start: Tensor | null = null;

  constructor(readonly rows: readonly KVCache[]) {
    const [first] = rows;
    if (first === undefined || rows.some((c) => c.batch !== 1 || c.capacity !== first.capacity)) {
      throw new ConfigError({
        where: "RowCaches",
        expected: "caches of one sequence and equal capacity each, at least one",
        got: rows.map((c) => `${c.batch} of ${c.capacity}`).join(", ") || "none",
      });
    }
    this.capacity = first.capacity;
  }

  /** Positions of the rows in this pass, [batch, 1, 1, 1] i32. */
  get offset(): Tensor {
    this.start ??= tensor(
      Int32Array.from(this.rows, (c) => c.position),
      { dtype: "i32", shape: [this.rows.length, 1, 1, 1] },
    );
    return this.start;
  }

  /** Positions [batch, count] i32 of the next `count` tokens of each row. */
  positions(count: number): Tensor {
    const all = this.rows.flatMap((c) => Array.from({ length: count }, (_, i) => c.position + i));
    return tensor(Int32Array.from(all), { dtype: "i32", shape: [this.rows.length, count] });
  }

  attend(
    layer: number,
    q: Tensor,
    k: Tensor,
    v: Tensor | ReadKeys,
    { mask, ...options }: Omit<AttentionOptions, "offset">,
  ): Tensor {
    const batch = this.rows.length;
    const row = (t: Tensor, r: number): Tensor => t.slice([[r, r + 1]]);
    const parts = this.rows.map((cache, r) => {
      const own = mask?.ndim === 4 && mask.shape[0] === batch ? row(mask, r) : mask;
      const values = typeof v === "function" ? v : row(v, r);
      return cache.attend(layer, row(q, r), row(k, r), values, { ...options, mask: own });
    });
    return concat(parts, 0);
  }

  /** What the present pass writes, for `evaluate`. */
  pending(): readonly Assignment[] {
    return this.rows.flatMap((cache) => cache.pending());
  }

  /** Ends a pass: row r goes on by `counts[r]` positions; what it has written behind them is hidden and will be overwritten. */
  advance(counts: readonly number[]): void {
    for (const [r, cache] of this.rows.entries()) cache.advance(counts[r]!);
    this.start = null;
  }
}
