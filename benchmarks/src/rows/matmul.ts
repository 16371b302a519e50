import { type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/** C = op(A) · op(B), f32, square; op transposes where the flag is set. */
export interface MatmulSpec {
  kind: "matmul";
  a: Filled;
  b: Filled;
  transposeA: boolean;
  transposeB: boolean;
}

/** `matmul-512` is A · B; `-tn` is Aᵀ · B, `-nt` A · Bᵀ, `-tt` Aᵀ · Bᵀ. */
const square = (n: number, t: string): Row => ({
  name: t === "nn" ? `matmul-${n}` : `matmul-${n}-${t}`,
  tolerance: 1e-4,
  spec: {
    kind: "matmul",
    a: filled([n, n], 1, 2),
    b: filled([n, n], 2, 2),
    transposeA: t[0] === "t",
    transposeB: t[1] === "t",
  },
});

export const matmulRows = (sizes: readonly number[]): Row[] =>
  sizes.flatMap((n) => ["nn", "tn", "nt", "tt"].map((t) => square(n, t)));
