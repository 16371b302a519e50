import { cholesky, eigh, qr, randomizedSvd, solve, svd } from "@lowrank/linalg";
import { evaluate, key, parameter, type Tensor, tensor } from "@lowrank/tensor";
import { digest } from "../check.js";
import { numbers } from "../inputs.js";
import { ascending, diagonalOf, matrixOf } from "../matrices.js";
import type { Job } from "../protocol.js";
import { type Decomposition, type DecompositionSpec, RANK } from "../rows/decomposition.js";

/** A decomposition whole, and a read of the last number of what is compared. */
export function decomposition(spec: DecompositionSpec): Job {
  const { n, data } = matrixOf(spec);
  const { dtype } = spec;
  const a = parameter(tensor(data, { shape: [n, n], dtype }));
  const b = parameter(tensor(Float64Array.from(numbers(spec.b)), { shape: [n, 1], dtype }));
  const jobs: Record<Decomposition, () => { y: Tensor; rest: Tensor[] }> = {
    svd: () => {
      const { u, s, vt } = svd(a);
      return { y: s, rest: [u, vt] };
    },
    eigh: () => {
      const { values, vectors } = eigh(a);
      return { y: values, rest: [vectors] };
    },
    qr: () => {
      const { q, r } = qr(a);
      return { y: r, rest: [q] };
    },
    cholesky: () => ({ y: cholesky(a), rest: [] }),
    solve: () => ({ y: solve(a, b), rest: [] }),
    randomized: () => {
      const { u, s, vt } = randomizedSvd(a, { rank: RANK, oversample: 10, powerSteps: 2, key: key(1) });
      return { y: s, rest: [u, vt] };
    },
  };
  const make = jobs[spec.what];
  return {
    cpu: true,
    async run() {
      const { y, rest } = make();
      const last = y.reshape([y.size]).slice([[y.size - 1, null]]);
      const all = [y, ...rest, last];
      await evaluate(...all);
      await last.data();
      for (const t of all) t.dispose();
    },
    async check() {
      const y = (await make().y.data()) as Float64Array;
      const compared =
        spec.what === "qr"
          ? diagonalOf(y, n)
          : spec.what === "cholesky" || spec.what === "solve"
            ? y
            : ascending(y);
      return { y: digest(compared)["elements"]! };
    },
  };
}
