import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/** softmax of each row of x, f32. */
export interface SoftmaxSpec {
  kind: "softmax";
  x: Filled;
}

export const softmaxRow: Row = {
  name: "softmax",
  tolerance: 1e-4,
  spec: { kind: "softmax", x: filled([4096, 1024], 1, 8) },
};
