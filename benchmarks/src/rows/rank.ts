import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/**
 * y = (x A) B with thin factors, x [m, k], A [k, r], B [r, n], f32: the update of a rank-r adapter. With `dy`, also the
 * gradients for x, A and B where dy arrives at y.
 */
export interface RankSpec {
  kind: "rank";
  x: Filled;
  a: Filled;
  b: Filled;
  dy: Filled | null;
}

const [M, K, R] = [1024, 576, 8];

const row = (name: string, dy: Filled | null): Row => ({
  name,
  tolerance: 1e-4,
  spec: { kind: "rank", x: filled([M, K], 1, 2), a: filled([K, R], 2, 0.1), b: filled([R, K], 3, 0.1), dy },
});

export const rankRows: Row[] = [row("rank-8", null), row("rank-8-grad", filled([M, K], 4, 2))];
