import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/** softmax of each row of x, f32. With `dy`, also the gradient for x where dy arrives at the result. */
export interface SoftmaxSpec {
  kind: "softmax";
  x: Filled;
  dy: Filled | null;
}

const row = (name: string, dy: Filled | null): Row => ({
  name,
  tolerance: 1e-4,
  spec: { kind: "softmax", x: filled([4096, 1024], 1, 8), dy },
});

export const softmaxRows: Row[] = [row("softmax", null), row("softmax-grad", filled([4096, 1024], 4, 2))];
