import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/** (x − mean) / √(variance + eps) · weight + bias for each row of x, f32. */
export interface LayerNormSpec {
  kind: "layernorm";
  x: Filled;
  weight: Filled;
  bias: Filled;
  eps: number;
}

export const layerNormRow: Row = {
  name: "layernorm",
  tolerance: 1e-4,
  spec: {
    kind: "layernorm",
    x: filled([4096, 1024], 1, 8, 0.5),
    weight: filled([1024], 2, 2),
    bias: filled([1024], 3, 2),
    eps: 1e-5,
  },
};
