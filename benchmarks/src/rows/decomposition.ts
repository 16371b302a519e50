import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

export type Decomposition = "svd" | "eigh" | "qr" | "cholesky" | "solve";

/**
 * One decomposition of a square matrix with all of its parts: svd and qr of a, eigh of s = (a + aᵀ) / 2, cholesky of s + n I,
 * and the x of a x = b. What is compared: singular values, eigenvalues, the absolute diagonal of r, the factor, and x.
 */
export interface DecompositionSpec {
  kind: "decomposition";
  what: Decomposition;
  dtype: "f32" | "f64";
  a: Filled;
  b: Filled;
}

const SIZES = [128, 256, 512, 1024];

export const decompositionRows: Row[] = (["f64", "f32"] as const).flatMap((dtype) =>
  (["svd", "eigh", "qr", "cholesky", "solve"] as const).flatMap((what) =>
    SIZES.map(
      (n): Row => ({
        name: `${what}-${n}-${dtype}`,
        // What is solved in f32 loses as many digits as the condition has.
        tolerance: dtype === "f64" ? 1e-8 : what === "solve" ? 5e-2 : 1e-3,
        spec: { kind: "decomposition", what, dtype, a: filled([n, n], 1, 2), b: filled([n, 1], 2, 2) },
      }),
    ),
  ),
);
