import { type Drawn, type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/**
 * One training step: h = relu(x W₁ᵀ + b₁), relu(h W₂ᵀ + b₂), logits h W₃ᵀ + b₃, mean cross-entropy, gradients, Adam.
 * Weights are [out, in]; biases start at zero. The loss of each step is read.
 */
export interface MlpSpec {
  kind: "mlp";
  weights: Filled[];
  x: Filled;
  labels: Drawn;
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
}

const SIZES = [784, 1024, 1024, 10];
const BATCH = 128;

export const mlpRow: Row = {
  name: "mlp",
  tolerance: 1e-3,
  spec: {
    kind: "mlp",
    weights: [0, 1, 2].map((i) => filled([SIZES[i + 1]!, SIZES[i]!], 10 + i, 2 / Math.sqrt(SIZES[i]!))),
    x: filled([BATCH, SIZES[0]!], 1, 2),
    labels: { shape: [BATCH], seed: 2, below: SIZES[3]! },
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
  },
};
