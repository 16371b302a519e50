import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/** gelu(x · y + z) by elements, f32, with gelu(t) = t / 2 · (1 + erf(t / √2)). */
export interface ChainSpec {
  kind: "chain";
  x: Filled;
  y: Filled;
  z: Filled;
}

const SIZE = 16_777_216;

export const chainRow: Row = {
  name: "chain",
  tolerance: 1e-4,
  spec: { kind: "chain", x: filled([SIZE], 1, 4), y: filled([SIZE], 2, 4), z: filled([SIZE], 3, 4) },
};
