import { solve } from "@lowrank/linalg";
import { eye, matmul, permute, take, type Tensor, tensor } from "@lowrank/tensor";

/** Skew-symmetric matrices [n, b, b] of the strict upper triangles [n, b (b − 1) / 2], row by row. */
export function skewFromTriangle(triangle: Tensor, b: number): Tensor {
  const index = new Int32Array(b * b).fill(-1); // read as 0
  for (let i = 0, at = 0; i < b; i++) for (let j = i + 1; j < b; j++) index[i * b + j] = at++;
  const upper = take(triangle, tensor(index, { shape: [b * b] }), 1).reshape([triangle.shape[0]!, b, b]);
  return upper.sub(upper.T);
}

/** Cayley's map of skew-symmetric Q [n, b, b] onto rotations: (I − Q) (I + Q)⁻¹. */
export function cayley(Q: Tensor): Tensor {
  const one = eye(Q.shape.at(-1)!, undefined, { dtype: Q.dtype });
  // (I − Q) and (I + Q)⁻¹ commute.
  return solve(one.add(Q), one.sub(Q));
}

/**
 * The series I + 2 Q + 2 Q² + … + 2 Qᵏ⁻¹ + Qᵏ of k + 1 terms, which tends to (I + Q) (I − Q)⁻¹. As in PEFT, two terms are
 * I + 2 Q and three are the four of k = 3.
 */
export function cayleySeries(Q: Tensor, terms: number): Tensor {
  const last = terms <= 2 ? terms - 1 : Math.max(3, terms - 1);
  let R = eye(Q.shape.at(-1)!, undefined, { dtype: Q.dtype }).add(Q.mul(0));
  let power = Q;
  for (let k = 1; k <= last; k++) {
    if (k > 1) power = matmul(power, Q);
    R = R.add(power.mul(k === last && k > 2 ? 1 : 2));
  }
  return R;
}

/** x [..., n b] times a block-diagonal matrix of R [n or 1, b, b]. */
export function timesBlocks(x: Tensor, R: Tensor): Tensor {
  const b = R.shape.at(-1)!;
  const blocks = permute(x.reshape([-1, x.shape.at(-1)! / b, b]), [1, 0, 2]); // [n, rows, b]
  return permute(matmul(blocks, R), [1, 0, 2]).reshape(x.shape);
}
