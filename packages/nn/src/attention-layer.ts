import { ConfigError, type DType, dtypeBytes, rope, type RopeOptions, type Tensor } from "@lowrank/tensor";
import type { AttentionCache, CacheShape } from "./kv-cache.js";
import { Module } from "./module.js";

export interface AttentionInputs {
  /** Positions [1 or batch, T] i32 for the rotary embedding; without them none is applied. */
  positions?: Tensor;
  /** Rotary frequencies [ropeDim / 2] f32; needed with `positions`. */
  inverseFrequencies?: Tensor;
  /** Query i sees keys up to i (with a cache: up to its own position). Default true. */
  causal?: boolean;
  /** bool, broadcastable to [batch, heads, T, S]: false hides a key. Also where `causal` holds. */
  mask?: Tensor;
  cache?: AttentionCache;
  /** The layer's place in the cache. */
  layer?: number;
}

/** What every kind of self-attention here has: one call, and one account of what a position leaves in a cache. */
export abstract class AttentionLayer extends Module {
  /** Query heads. */
  abstract readonly heads: number;
  /** Numbers of a head that turn with the position. */
  abstract readonly ropeDim: number;
  /** Keys and values of one position, for `new KVCache({ layers, capacity, ...layer.cacheShape })`. */
  abstract readonly cacheShape: CacheShape;

  /** x [batch, T, width] to [batch, T, width]. */
  abstract forward(x: Tensor, inputs?: AttentionInputs): Tensor;

  /**
   * Bytes that one position of one sequence takes in a cache of this layer: heads · (headDim + valueDim) of `cacheShape`, times
   * those of a number. A cache of L such layers holds L · batch · capacity times as many.
   */
  cacheBytesPerToken(dtype: DType = "f32"): number {
    const { heads, headDim, valueDim } = this.cacheShape;
    return heads * (headDim + valueDim) * dtypeBytes(dtype);
  }
}

/** The rotary embedding of a pass, for tensors [batch, T, heads, ropeDim]: the identity where no positions are given. */
export function turning(
  where: string,
  { positions, inverseFrequencies }: AttentionInputs,
  options: RopeOptions = {},
): (x: Tensor) => Tensor {
  if (positions === undefined) return (x) => x;
  if (inverseFrequencies === undefined) {
    throw new ConfigError({ where, expected: "inverseFrequencies beside positions", got: "none" });
  }
  return (x) => rope(x, positions, inverseFrequencies, options);
}

/** Refuses sizes of a layer that are no positive integers. */
export function expectSizes(where: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(sizes)) {
    if (Number.isInteger(n) && n > 0) continue;
    throw new ConfigError({ where, expected: `${name} to be a positive integer`, got: String(n) });
  }
}
