import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/**
 * softmax(q kᵀ / √size + mask) v for each head, f32; q, k, v are [1, length, heads, size], and with `causal` a position
 * sees none after it. With `dy`, also the gradients for q, k and v where dy arrives at the result.
 */
export interface AttentionSpec {
  kind: "attention";
  q: Filled;
  k: Filled;
  v: Filled;
  causal: boolean;
  dy: Filled | null;
}

export function attentionRow(length: number, heads: number, size: number, backward: boolean): Row {
  const part = (seed: number, scale: number): Filled => filled([1, length, heads, size], seed, scale);
  return {
    name: `attention-${length}${backward ? "-grad" : ""}`,
    tolerance: 1e-3,
    spec: {
      kind: "attention",
      q: part(1, 4),
      k: part(2, 4),
      v: part(3, 2),
      causal: true,
      dy: backward ? part(4, 2) : null,
    },
  };
}

/** 8 heads, 64 wide. */
export const attentionRows: Row[] = [512, 2048].flatMap((length) =>
  [false, true].map((backward) => attentionRow(length, 8, 64, backward)),
);
