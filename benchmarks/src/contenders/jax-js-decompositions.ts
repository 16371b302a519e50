import { blockUntilReady, jit, numpy as np, tree } from "@jax-js/jax";
import { digest } from "../check.js";
import { numbers } from "../inputs.js";
import { ascending, matrixOf } from "../matrices.js";
import type { Job } from "../protocol.js";
import type { Decomposition, DecompositionSpec } from "../rows/decomposition.js";

type Arr = np.Array;

/** A decomposition whole, compiled, and a read of the last number of what is compared. */
export function decomposition(spec: DecompositionSpec): Job | string {
  if (spec.what === "qr" || spec.what === "randomized") return "it has no QR";
  const { n, data } = matrixOf(spec);
  const dtype = spec.dtype === "f64" ? np.float64 : np.float32;
  const array = (x: ArrayLike<number>, shape: number[]) =>
    np.array(spec.dtype === "f64" ? Float64Array.from(x) : Float32Array.from(x), { shape, dtype });
  const [a, b] = [array(data, [n, n]), array(numbers(spec.b), [n, 1])];
  const what: Record<Exclude<Decomposition, "qr" | "randomized">, (x: Arr, y: Arr) => Arr[]> = {
    svd: (x, y) => {
      y.dispose();
      const [u, s, vt] = np.linalg.svd(x, { fullMatrices: false });
      return [s, u, vt];
    },
    eigh: (x, y) => {
      y.dispose();
      return np.linalg.eigh(x);
    },
    cholesky: (x, y) => {
      y.dispose();
      return [np.linalg.cholesky(x)];
    },
    solve: (x, y) => [np.linalg.solve(x, y)],
  };
  const make = what[spec.what];
  // Its triangular solve is none of what its compiler takes.
  const compiled =
    spec.what === "solve" ? make : (jit((x: Arr, y: Arr) => make(x, y)) as unknown as typeof make);
  let made: Arr[] | null = null;
  return {
    cpu: true,
    async run() {
      if (made) tree.dispose(made);
      made = compiled(a.ref, b.ref);
      await blockUntilReady(made);
    },
    async check() {
      const y = (await made![0]!.ref.data()) as Float32Array;
      const values = spec.what === "svd" || spec.what === "eigh";
      return { y: digest(values ? ascending(y) : y)["elements"]! };
    },
  };
}
