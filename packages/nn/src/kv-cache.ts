import {
  type Assignment,
  attention,
  type AttentionOptions,
  ConfigError,
  type DType,
  dtypeBytes,
  type Parameter,
  parameter,
  scalar,
  type Tensor,
  updateSlice,
  zeros,
} from "@lowrank/tensor";
import { like } from "./linear.js";

export interface KVCacheOptions {
  layers: number;
  /** Sequences at once. Default 1. */
  batch?: number;
  /** Positions that fit. */
  capacity: number;
  /** Key-value heads. */
  heads: number;
  headDim: number;
  /** Width of a value, where it differs from that of a key. */
  valueDim?: number;
  /** Storage type. Default f32. */
  dtype?: DType;
}

/** Where keys and values lie between the passes of a text: what attention asks of it. */
export interface AttentionCache {
  /** Positions that fit. */
  readonly capacity: number;
  /** The position of this pass, an i32 tensor whose numbers are no part of a plan: 0-d, or [batch, 1, 1, 1]. */
  readonly offset: Tensor;
  /**
   * Writes `k` and `v` [batch, T, heads, width] of a layer and gives the attention of `q` [batch, T, queries, width] to all
   * that is there: [batch, T, queries, width].
   */
  attend(layer: number, q: Tensor, k: Tensor, v: Tensor, options: Omit<AttentionOptions, "offset">): Tensor;
}

/**
 * Keys and values of the positions seen so far, [batch, capacity, heads, headDim] per layer, in memory that is written
 * in place. Capacity is fixed, and the position is a number fed to the plan, so that every step of a generation runs the
 * same plan.
 *
 * A pass writes with `write`, and the caller evaluates its results together with `pending()` and then calls
 * `advance`.
 *
 * @example
 * ```ts
 * const logits = model.forward(ids, { cache });
 * await evaluate(logits, ...cache.pending());
 * cache.advance(ids.shape[1]!);
 * ```
 */
export class KVCache implements AttentionCache {
  readonly capacity: number;
  readonly batch: number;
  private readonly layers: readonly { k: Parameter; v: Parameter }[];
  private assignments: Assignment[] = [];
  private filled = 0;
  private start: Tensor = scalar(0, { dtype: "i32" });

  constructor({
    layers,
    batch = 1,
    capacity,
    heads,
    headDim,
    valueDim = headDim,
    dtype = "f32",
  }: KVCacheOptions) {
    for (const [name, n] of Object.entries({ layers, batch, capacity, heads, headDim })) {
      if (!Number.isInteger(n) || n < 1) {
        throw new ConfigError({
          where: "KVCache",
          expected: `${name} to be a positive integer`,
          got: String(n),
        });
      }
    }
    this.capacity = capacity;
    this.batch = batch;
    const room = (width: number): Parameter =>
      parameter(zeros([batch, capacity, heads, width], { dtype }), { trainable: false });
    this.layers = Array.from({ length: layers }, () => ({ k: room(headDim), v: room(valueDim) }));
  }

  /** Positions filled so far: where the next one goes. */
  get position(): number {
    return this.filled;
  }

  /** The position as a 0-d i32 tensor whose number is no part of a plan. */
  get offset(): Tensor {
    return this.start;
  }

  /** Bytes of all keys and values. */
  get sizeBytes(): number {
    return this.layers.reduce((sum, { k, v }) => sum + (k.size + v.size) * dtypeBytes(k.dtype), 0);
  }

  /**
   * Keys and values of a layer with `k` and `v` [batch, T, heads, width] written from the position on. Rows beyond it
   * are left from earlier passes: a causal mask with `offset` hides them.
   */
  write(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
    const room = this.layers[layer];
    const count = k.shape[1]!;
    if (room === undefined || k.shape[0] !== this.batch || this.filled + count > this.capacity) {
      throw new ConfigError({
        where: "KVCache",
        expected: `at most ${this.capacity - this.filled} more positions of ${this.batch} sequences in ${this.layers.length} layers`,
        got: `${count} positions of ${k.shape[0]} sequences for layer ${layer}`,
        hint: "make the cache with a larger capacity",
      });
    }
    const whole = {
      k: updateSlice(room.k, k, this.start, 1),
      v: updateSlice(room.v, v, this.start, 1),
    };
    this.assignments.push(room.k.assign(whole.k), room.v.assign(whole.v));
    return whole;
  }

  attend(layer: number, q: Tensor, k: Tensor, v: Tensor, options: Omit<AttentionOptions, "offset">): Tensor {
    const whole = this.write(layer, k, v); // [batch, capacity, heads, width]
    return attention(q, like(whole.k, q), like(whole.v, q), { ...options, offset: this.start });
  }

  /** What the present pass writes, for `evaluate`; empty after `advance`. */
  pending(): readonly Assignment[] {
    return this.assignments;
  }

  /** Ends a pass: the next one starts `count` positions later. */
  advance(count: number): void {
    this.moveTo(this.filled + count);
  }

  /** Goes back (or on) to a position, as for another prompt with the same beginning. */
  moveTo(position: number): void {
    if (!Number.isInteger(position) || position < 0 || position > this.capacity) {
      throw new ConfigError({
        where: "KVCache",
        expected: `a position from 0 to ${this.capacity}`,
        got: String(position),
      });
    }
    this.filled = position;
    this.start = scalar(position, { dtype: "i32" });
    this.assignments = [];
  }
}
