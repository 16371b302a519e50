import { type Tensor, tensor } from "@lowrank/tensor";
import { modeProduct, svd } from "../../src/index.js";
import { weights } from "./gradient.js";

/** Sides of the tensors of these suites. */
export const DIMS = [4, 5, 3];

/** A tensor whose unfoldings have falling singular values. */
export const falling = (seed = 1): Tensor => {
  const scale = (n: number) => tensor(Float64Array.from({ length: n }, (_, i) => 0.5 ** i));
  const [a, b, c] = DIMS.map(scale) as [Tensor, Tensor, Tensor];
  const x = weights(DIMS, seed)
    .mul(a.reshape([4, 1, 1]))
    .mul(b.reshape([5, 1]))
    .mul(c);
  return DIMS.reduce((y, n, j) => modeProduct(y, svd(weights([n, n], seed + j)).u, j), x);
};
/** Sum of the squares behind the first r. */
export const squaresAfter = (s: readonly number[], r: number): number =>
  s.slice(r).reduce((x, v) => x + v * v, 0);

export const identity = (n: number): number[][] =>
  Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)));

export const projector = (U: Tensor): Tensor => U.matmul(U.T);
