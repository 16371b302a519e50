import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

export type Decomposition = "svd" | "eigh" | "qr" | "cholesky" | "solve" | "randomized";

/**
 * One decomposition of a square matrix with all of its parts: svd and qr of a, eigh of s = (a + aᵀ) / 2, cholesky of s + n I,
 * and the x of a x = b. What is compared: singular values, eigenvalues, the absolute diagonal of r, the factor, and x.
 * `randomized` is the SVD of a cut to `RANK` by 42 random columns and two power steps: its singular values come near each
 * other where the random columns differ.
 */
export interface DecompositionSpec {
  kind: "decomposition";
  what: Decomposition;
  dtype: "f32" | "f64";
  a: Filled;
  b: Filled;
}

/** Rank and size of the randomised SVD. */
export const RANK = 32;
const RANDOMIZED_SIZE = 2048;

const SIZES = [128, 256, 512, 1024];
const DTYPES = ["f64", "f32"] as const;

function row(what: Decomposition, n: number, dtype: "f32" | "f64", tolerance: number): Row {
  return {
    name: `${what}-${n}-${dtype}`,
    tolerance,
    spec: { kind: "decomposition", what, dtype, a: filled([n, n], 1, 2), b: filled([n, 1], 2, 2) },
  };
}

export const decompositionRows: Row[] = [
  ...DTYPES.flatMap((dtype) =>
    (["svd", "eigh", "qr", "cholesky", "solve"] as const).flatMap((what) => {
      // What is solved in f32 loses as many digits as the condition has.
      const tolerance = dtype === "f64" ? 1e-8 : what === "solve" ? 5e-2 : 1e-3;
      return SIZES.map((n) => row(what, n, dtype, tolerance));
    }),
  ),
  ...DTYPES.map((dtype) => row("randomized", RANDOMIZED_SIZE, dtype, 0.1)),
];
