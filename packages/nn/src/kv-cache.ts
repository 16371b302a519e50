import {
  type Assignment,
  attention,
  type AttentionOptions,
  broadcastTo,
  concat,
  ConfigError,
  type DType,
  dtypeBytes,
  evaluate,
  type Parameter,
  parameter,
  scalar,
  type Tensor,
  updateSlice,
  zeros,
} from "@lowrank/tensor";
import { like } from "./linear.js";

/** Keys and values of one position. */
export interface CacheShape {
  /** Key-value heads. */
  heads: number;
  /** Width of a key. */
  headDim: number;
  /** Width of a value; 0 where values are read from the keys. */
  valueDim: number;
}

export interface KVCacheOptions extends Omit<CacheShape, "valueDim"> {
  layers: number;
  /** Sequences at once. Default 1. */
  batch?: number;
  /** Positions that fit at first; `reserve` makes room for more. */
  capacity: number;
  /** Width of a value, 0 where values are read from the keys. Default: `headDim`. */
  valueDim?: number;
  /** Storage type. Default f32. */
  dtype?: DType;
}

/** What attention sees of stored keys [batch, S, heads, headDim], where no values are stored; place j holds position j. */
export type ReadKeys = (keys: Tensor) => { k: Tensor; v: Tensor };

/** Where keys and values lie between the passes of a text: what attention asks of it. */
export interface AttentionCache {
  /** Positions that fit. */
  readonly capacity: number;
  /** The position of this pass, an i32 tensor whose numbers are no part of a plan: 0-d, or [batch, 1, 1, 1]. */
  readonly offset: Tensor;
  /**
   * Writes `k` and `v` [batch, T, heads, width] of a layer and gives the attention of `q` [batch, T, queries, width] to all
   * that is there: [batch, T, queries, width]. A function in the place of `v` stores `k` alone and says what is seen of it.
   */
  attend(
    layer: number,
    q: Tensor,
    k: Tensor,
    v: Tensor | ReadKeys,
    options: Omit<AttentionOptions, "offset">,
  ): Tensor;
}

/** The memory of one layer. */
interface Room {
  k: Parameter;
  /** Absent where values are read from the keys. */
  v?: Parameter;
}

const SIDES = ["k", "v"] as const;

/**
 * Keys and values of the positions seen so far, [batch, capacity, heads, headDim] per layer, in memory that is written
 * in place. The position is a number fed to the plan, so that every step of a generation runs the same plan until
 * `reserve` makes room for more. With dtype f16 it takes half the memory, and attention widens what it reads.
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
  readonly batch: number;
  private room: number;
  private readonly layers: readonly Room[];
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
    for (const [name, n] of Object.entries({ layers, batch, capacity, heads, headDim, valueDim })) {
      if (!Number.isInteger(n) || n < (name === "valueDim" ? 0 : 1)) {
        throw new ConfigError({
          where: "KVCache",
          expected: `${name} to be a positive integer`,
          got: String(n),
        });
      }
    }
    this.room = capacity;
    this.batch = batch;
    const room = (width: number): Parameter =>
      parameter(zeros([batch, capacity, heads, width], { dtype }), { trainable: false });
    this.layers = Array.from({ length: layers }, () => ({
      k: room(headDim),
      ...(valueDim > 0 ? { v: room(valueDim) } : {}),
    }));
  }

  /** Positions that fit. */
  get capacity(): number {
    return this.room;
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
    return this.layers.reduce((sum, { k, v }) => sum + (k.size + (v?.size ?? 0)) * dtypeBytes(k.dtype), 0);
  }

  /**
   * Keys and values of a layer with `k` and `v` [batch, T, heads, width] written from the position on. Rows beyond it
   * are left from earlier passes: a causal mask with `offset` hides them. Without values in the cache `v` is null.
   */
  write(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor };
  write(layer: number, k: Tensor, v: Tensor | null): { k: Tensor; v: Tensor | null };
  write(layer: number, k: Tensor, v: Tensor | null): { k: Tensor; v: Tensor | null } {
    const room = this.layers[layer];
    const count = k.shape[1]!;
    if (room === undefined || k.shape[0] !== this.batch || this.filled + count > this.room) {
      throw new ConfigError({
        where: "KVCache",
        expected: `at most ${this.room - this.filled} more positions of ${this.batch} sequences in ${this.layers.length} layers`,
        got: `${count} positions of ${k.shape[0]} sequences for layer ${layer}`,
        hint: "await cache.reserve(positions) before the pass",
      });
    }
    if ((v === null) !== (room.v === undefined)) {
      throw new ConfigError({
        where: "KVCache",
        expected: room.v === undefined ? "keys alone, as its valueDim is 0" : "keys and values",
        got: v === null ? "keys alone" : "keys and values",
        hint: "make the cache with the cacheShape of the layer",
      });
    }
    const put = (base: Parameter, value: Tensor): Tensor => {
      const whole = updateSlice(base, value, this.start, 1);
      this.assignments.push(base.assign(whole));
      return whole;
    };
    return { k: put(room.k, k), v: v === null ? null : put(room.v!, v) };
  }

  attend(
    layer: number,
    q: Tensor,
    k: Tensor,
    v: Tensor | ReadKeys,
    options: Omit<AttentionOptions, "offset">,
  ): Tensor {
    const read = typeof v === "function" ? v : null;
    const whole = this.write(layer, k, typeof v === "function" ? null : v); // [batch, capacity, heads, width]
    const keys = like(whole.k, q);
    const seen = read === null ? { k: keys, v: like(whole.v!, q) } : read(keys);
    return attention(q, seen.k, seen.v, { ...options, offset: this.start });
  }

  /**
   * Makes room for so many positions in all, at least twice those of before, and keeps what is there. Not within a pass.
   * Layers grow one after the other, so that only one of them is in memory twice.
   *
   * @param most Doubling ends here. Default: no limit.
   */
  async reserve(positions: number, most = Number.POSITIVE_INFINITY): Promise<void> {
    if (positions <= this.room) return;
    const capacity = Math.max(positions, Math.min(2 * this.room, most));
    for (const layer of this.layers) {
      for (const side of SIDES) {
        const old = layer[side];
        if (old === undefined) continue;
        const [batch, length, heads, width] = old.shape as [number, number, number, number];
        if (length >= capacity) continue; // from an attempt for which memory did not suffice
        const more = zeros([batch, capacity - length, heads, width], { dtype: old.dtype });
        layer[side] = parameter(concat([old, more], 1), { trainable: false });
        await evaluate(layer[side]);
        old.dispose();
      }
    }
    this.room = capacity;
  }

  /** A cache of so many sequences that all begin with the positions filled so far of this one's only sequence. */
  async repeat(batch: number, capacity = this.room): Promise<KVCache> {
    const [{ k, v }] = this.layers as [Room];
    const copy = new KVCache({
      layers: this.layers.length,
      batch,
      capacity,
      heads: k.shape[2]!,
      headDim: k.shape[3]!,
      valueDim: v?.shape[3] ?? 0,
      dtype: k.dtype,
    });
    if (this.batch !== 1 || capacity < this.filled) {
      throw new ConfigError({
        where: "KVCache.repeat",
        expected: `one sequence, and a capacity of at least ${this.filled}`,
        got: `${this.batch} sequences, capacity ${capacity}`,
      });
    }
    if (this.filled > 0) {
      for (const [i, layer] of this.layers.entries()) {
        const assignments = SIDES.flatMap((side) => {
          const [from, to] = [layer[side], copy.layers[i]![side]];
          if (from === undefined || to === undefined) return [];
          const [, , heads, width] = from.shape as [number, number, number, number];
          const begin = from.slice([null, [0, this.filled], null, null]);
          const rows = broadcastTo(begin, [batch, this.filled, heads, width]);
          return [to.assign(updateSlice(to, rows, 0, 1))];
        });
        await evaluate(...assignments);
      }
    }
    copy.moveTo(this.filled);
    return copy;
  }

  /**
   * Takes the position of this pass from a tensor of the caller, as the argument of a compiled function whose runs
   * differ in it.
   */
  beginAt(start: Tensor): void {
    this.start = start;
    this.assignments = [];
  }

  /** Gives the memory back at once. */
  dispose(): void {
    for (const { k, v } of this.layers) for (const t of [k, v]) t?.dispose();
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
    if (!Number.isInteger(position) || position < 0 || position > this.room) {
      throw new ConfigError({
        where: "KVCache",
        expected: `a position from 0 to ${this.room}`,
        got: String(position),
      });
    }
    this.filled = position;
    this.start = scalar(position, { dtype: "i32" });
    this.assignments = [];
  }
}
