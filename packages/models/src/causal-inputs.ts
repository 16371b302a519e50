import type { AttentionCache } from "@lowrank/nn";
import { add, and, arange, ConfigError, eq, ge, gt, ShapeError, type Tensor } from "@lowrank/tensor";
import { expectSameShape, type ForwardOptions } from "./causal-lm.js";

/** What the blocks of a model that predicts the next token are given besides the ids [batch, T], which are checked. */
export function causalInputs(
  ids: Tensor,
  { positions, segments, cache }: ForwardOptions,
): { length: number; positions: Tensor; mask: Tensor | undefined } {
  if (ids.ndim !== 2 || ids.dtype !== "i32") {
    throw new ShapeError({
      where: "forward",
      expected: "ids of shape [batch, T] and dtype i32",
      got: `${ids.dtype}[${ids.shape.join(", ")}]`,
      hint: "make them with model.ids([[...]])",
    });
  }
  if (segments !== undefined) {
    expectSameShape("forward", "segments", segments, ids);
    if (cache !== undefined) {
      throw new ConfigError({ where: "forward", expected: "segments or a cache", got: "both" });
    }
  }
  const packed = segments === undefined ? undefined : packing(segments);
  const length = ids.shape[1]!;
  return {
    length,
    positions: positions ?? packed?.positions ?? place(length, cache),
    mask: packed?.mask,
  };
}

/** Positions [1, T] that follow what the cache holds. */
function place(length: number, cache: AttentionCache | undefined): Tensor {
  const row = arange(0, length, 1, { dtype: "i32" }).reshape([1, length]);
  return cache === undefined ? row : add(row, cache.offset);
}

/** Who may see whom where a query sees no further back than `window` keys, its own included; causality comes on top. */
export function windowMask(
  window: number,
  length: number,
  cache: AttentionCache | undefined,
  mask: Tensor | undefined,
): Tensor | undefined {
  const keys = cache?.capacity ?? length;
  if (window >= keys) return mask;
  const query = arange(0, length, 1, { dtype: "i32" }).reshape([length, 1]);
  const own = cache === undefined ? query : add(query, cache.offset);
  const near = gt(arange(0, keys, 1, { dtype: "i32" }), own.sub(window)); // [T, S]: j > i - window
  return mask === undefined ? near : and(mask, near);
}

/** Of segments [batch, T]: who may see whom, [batch, 1, T, T], and the place of each token in its own text. */
function packing(segments: Tensor): { mask: Tensor; positions: Tensor } {
  const [batch, length] = segments.shape as [number, number];
  const same = eq(segments.reshape([batch, length, 1]), segments.reshape([batch, 1, length])); // [batch, T, T]
  const at = arange(0, length, 1, { dtype: "i32" });
  const earlier = ge(at.reshape([length, 1]), at.reshape([1, length])); // [T, T]: j ≤ i
  const positions = and(same, earlier).astype("i32").sum(-1).sub(1); // [batch, T]
  return { mask: same.reshape([batch, 1, length, length]), positions };
}
