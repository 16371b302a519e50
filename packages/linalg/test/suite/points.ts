import { eye, type Tensor, zeros } from "@lowrank/tensor";
import { qr, stiefel } from "../../src/index.js";
import { weights } from "./gradient.js";

const f64 = { dtype: "f64" } as const;

export const SHAPES = [
  [6, 2],
  [5, 4],
  [4, 4],
  [3, 1],
  [2, 7, 3],
];
/** An orthonormal matrix. */
export const point = (dims: readonly number[], seed = 1): Tensor => qr(weights(dims, seed)).q;
export const unitOf = (x: Tensor): Tensor =>
  eye(x.shape[x.ndim - 1]!, undefined, f64).add(zeros([...x.shape.slice(0, -2), 1, 1], f64));
export const skew = (x: Tensor): Tensor => x.add(x.T);

export type Retraction = (x: Tensor, xi: Tensor) => Tensor;
export const canonical = { metric: "canonical" } as const;
export const RETRACTIONS: Readonly<Record<string, Retraction>> = {
  retractQr: stiefel.retractQr,
  retractPolar: stiefel.retractPolar,
  retractCayley: stiefel.retractCayley,
  exp: (x, xi) => stiefel.exp(x, xi),
  "canonical exp": (x, xi) => stiefel.exp(x, xi, canonical),
};
