import { sizeOf } from "./inputs.js";
import { FMA_CHAINS, FMA_STEPS } from "./rows/probe.js";
import type { Row } from "./rows/row.js";

/** What a row cannot do without. */
export interface Work {
  /** Inputs read once and results written once. */
  bytes: number;
  /** Multiplications and additions of its products; 0 where it has none. */
  flops: number;
}

const F32 = 4;
const bytesOf = (...shapes: (readonly number[])[]): number =>
  F32 * shapes.map(sizeOf).reduce((a, b) => a + b, 0);

/** The least work of a row, from its description: shares of an adapter's limits are told by it. */
export function workOf(spec: Row["spec"]): Work {
  switch (spec.kind) {
    case "probe":
      return spec.what === "fma"
        ? { bytes: 0, flops: 2 * spec.size * FMA_CHAINS * FMA_STEPS }
        : { bytes: 2 * spec.size, flops: 0 };
    case "matmul": {
      const [m, k] = spec.a.shape as [number, number]; // square: the same for all transposes
      const n = spec.b.shape[1]!;
      return { bytes: bytesOf([m, k], [k, n], [m, n]), flops: 2 * m * n * k };
    }
    case "rank": {
      const [[m, k], [, r], [, n]] = [spec.x.shape, spec.a.shape, spec.b.shape] as [number, number][] as [
        [number, number],
        [number, number],
        [number, number],
      ];
      const [ends, both] = [bytesOf([m, k], [k, r], [r, n], [m, n]), 2 * m * r * (k + n)];
      // Backward: dy is read, the gradients of x, A and B are written, and each product has two.
      return spec.dy ? { bytes: 2 * ends, flops: 3 * both } : { bytes: ends, flops: both };
    }
    case "chain":
      return { bytes: 4 * bytesOf(spec.x.shape), flops: 0 };
    case "softmax":
    case "layernorm":
      return { bytes: (spec.dy ? 4 : 2) * bytesOf(spec.x.shape), flops: 0 };
    case "attention": {
      const [batch, length, heads, size] = spec.q.shape as [number, number, number, number];
      const product = 2 * batch * heads * length ** 2 * size * (spec.causal ? 0.5 : 1);
      // Forward q kᵀ and p v; backward dv, dp, dq and dk, and q kᵀ once more.
      const products = spec.dy ? 2 + 5 : 2;
      return { bytes: (spec.dy ? 8 : 4) * bytesOf(spec.q.shape), flops: products * product };
    }
    case "mlp": {
      const sizes = spec.weights.map((w) => sizeOf(w.shape));
      const weights = sizes.reduce((a, b) => a + b, 0);
      const batch = spec.x.shape[0]!;
      // Each weight has a product forward and two backward, but no gradient goes to the input of the first.
      // Adam reads and writes the weights and both moments.
      return { bytes: 6 * F32 * weights, flops: 2 * batch * (3 * weights - sizes[0]!) };
    }
    case "decoder": {
      const shapes = Object.values(spec.weights).map((w) => w.shape);
      const products = shapes.filter((s) => s.length === 2).slice(1); // the first table is looked up
      const weights = products.map(sizeOf).reduce((a, b) => a + b, 0);
      const { batch, length, width, layers } = spec;
      const attention = layers * 7 * batch * length ** 2 * width; // causal: half of 2 · 7 products
      return { bytes: 2 * bytesOf(...shapes), flops: 6 * batch * length * weights + attention };
    }
    case "matvec":
      return { bytes: spec.sizeBytes, flops: 2 * sizeOf(spec.x.shape) * spec.x.shape[1]! };
    case "decomposition":
    case "start":
      return { bytes: 0, flops: 0 };
  }
}
