import { concat, matmul, slice, sqrt, type Tensor } from "@lowrank/tensor";

/** Columns of length 1. */
export const unitColumns = (U: Tensor): Tensor => U.div(sqrt(U.square().sum(0, { keepDims: true })));

/** Orthonormal columns by Gram and Schmidt, each projected twice, which keeps them orthogonal where they are close. */
export function orthonormal(U: Tensor): Tensor {
  let Q: Tensor | null = null;
  for (let i = 0; i < U.shape[1]!; i++) {
    let u = unitColumns(slice(U, [null, [i, i + 1]]));
    for (let pass = 0; Q !== null && pass < 2; pass++) u = u.sub(matmul(Q, matmul(Q.T, u)));
    u = unitColumns(u);
    Q = Q === null ? u : concat([Q, u], 1);
  }
  return Q!;
}
