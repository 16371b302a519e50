import {
  CholeskyDecomposition,
  EigenvalueDecomposition,
  Matrix,
  QrDecomposition,
  SingularValueDecomposition,
  solve,
} from "ml-matrix";
import { digest } from "../check.js";
import { numbers } from "../inputs.js";
import { ascending, diagonalOf, matrixOf } from "../matrices.js";
import { type Job, serve } from "../protocol.js";
import type { Decomposition, DecompositionSpec } from "../rows/decomposition.js";

/** What is made beside that which is compared: asked for, since some of it is made only then. */
let parts: readonly unknown[] = [];

function decomposition(spec: DecompositionSpec): Job | string {
  if (spec.dtype === "f32") return "it computes in f64 alone";
  if (spec.what === "randomized") return "it has no randomised SVD";
  const { n, data } = matrixOf(spec);
  const a = Matrix.from1DArray(n, n, data);
  const b = Matrix.from1DArray(n, 1, numbers(spec.b));
  const jobs: Record<Exclude<Decomposition, "randomized">, () => ArrayLike<number>> = {
    svd: () => {
      const svd = new SingularValueDecomposition(a);
      parts = [svd.leftSingularVectors, svd.rightSingularVectors];
      return ascending(svd.diagonal);
    },
    eigh: () => {
      const eigh = new EigenvalueDecomposition(a, { assumeSymmetric: true });
      parts = [eigh.eigenvectorMatrix];
      return ascending(eigh.realEigenvalues);
    },
    qr: () => {
      const qr = new QrDecomposition(a);
      parts = [qr.orthogonalMatrix];
      return diagonalOf(qr.upperTriangularMatrix.to1DArray(), n);
    },
    cholesky: () => new CholeskyDecomposition(a).lowerTriangularMatrix.to1DArray(),
    solve: () => solve(a, b).to1DArray(),
  };
  const job = jobs[spec.what];
  return { cpu: true, run: () => void [job(), parts], check: () => ({ y: digest(job())["elements"]! }) };
}

await serve({
  lib: "ml-matrix",
  details: `ml-matrix 6.15.1, Node ${process.versions.node}`,
  threads: 1,
  jobs: { decomposition },
});
