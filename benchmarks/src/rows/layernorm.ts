import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/**
 * (x − mean) / √(variance + eps) · weight + bias for each row of x, f32. With `dy`, also the gradients for x, weight and
 * bias where dy arrives at the result.
 */
export interface LayerNormSpec {
  kind: "layernorm";
  x: Filled;
  weight: Filled;
  bias: Filled;
  eps: number;
  dy: Filled | null;
}

const row = (name: string, dy: Filled | null): Row => ({
  name,
  tolerance: 1e-4,
  spec: {
    kind: "layernorm",
    x: filled([4096, 1024], 1, 8, 0.5),
    weight: filled([1024], 2, 2),
    bias: filled([1024], 3, 2),
    eps: 1e-5,
    dy,
  },
});

export const layerNormRows: Row[] = [
  row("layernorm", null),
  row("layernorm-grad", filled([4096, 1024], 4, 2)),
];
