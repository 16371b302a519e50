import { expandDims, ge, max, min, type Tensor, where } from "@lowrank/tensor";
import { rowsOf } from "../matrix.js";
import type { Svd } from "../svd.js";

/** 1 or -1 for each column, so that its element of largest magnitude becomes positive: [.., k] of [.., m, k]. */
export const signsOf = (u: Tensor): Tensor => where(ge(max(u, -2).add(min(u, -2)), 0), 1, -1).astype(u.dtype);

/** The parts with the signs that `svd` gives. */
export function withSigns({ u, s, vt }: Svd): Svd {
  if (rowsOf(u) === 0 || rowsOf(vt) === 0) return { u, s, vt };
  const signs = signsOf(u);
  return { u: u.mul(expandDims(signs, -2)), s, vt: vt.mul(expandDims(signs, -1)) };
}
