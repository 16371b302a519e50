import { customVjp, type Tensor } from "@lowrank/tensor";
import { diagonalMatrix, scaleColumns, scaleRows } from "../diagonal.js";
import { qrFrom } from "../qr.js";
import { inverseSquareGaps, inverseValues } from "../spectral-gaps.js";
import { type Svd, svdFrom } from "../svd.js";
import type { Factors } from "./factored.js";
import { withSigns } from "./signs.js";

/**
 * The singular value decomposition of left · right: left = Q R and rightᵀ = P T, then that of the small R Tᵀ.
 *
 * The gradient is that of `svd` of the product, which is never formed: with the broadened F and S⁻¹ of `svd` it is
 * Abar = (U inner + (I - U Uᵀ) Ubar S⁻¹) Vᵀ + U S⁻¹ Vbarᵀ (I - V Vᵀ), multiplied by the factors from the right. So factors
 * may have dependent columns, through which no gradient of `qr` goes.
 */
export function svdOfProduct(where: string, { left, right }: Factors): Svd {
  const [u, s, vt] = customVjp(
    (l, r) => {
      const { q: Q, r: R } = qrFrom(where, l!);
      const { q: P, r: T } = qrFrom(where, r!.T);
      const small = svdFrom(where, R.matmul(T.T));
      const parts = withSigns({ u: Q.matmul(small.u), s: small.s, vt: small.vt.matmul(P.T) });
      return [parts.u, parts.s, parts.vt];
    },
    ({ inputs: [l, r], outputs: [U, values, Vt], dys: [dU, ds, dVt] }) =>
      gradient(l!, r!, U!, values!, Vt!.T, dU ?? null, ds ?? null, dVt?.T ?? null),
  )(left, right);
  return { u: u!, s: s!, vt: vt! };
}

function gradient(
  left: Tensor,
  right: Tensor,
  U: Tensor,
  s: Tensor,
  V: Tensor,
  dU: Tensor | null,
  ds: Tensor | null,
  dV: Tensor | null,
): [Tensor, Tensor] {
  const inner = ds ? [diagonalMatrix(ds)] : [];
  const [F, inverse] = [inverseSquareGaps(s), inverseValues(s)];
  const alongU = dU && U.T.matmul(dU);
  const alongV = dV && V.T.matmul(dV);
  if (alongU) inner.push(scaleColumns(symmetricSum(F.mul(alongU)), s));
  if (alongV) inner.push(scaleRows(symmetricSum(F.mul(alongV)), s));
  // Abar = P Vᵀ + U Qᵀ
  let P = U.matmul(inner.reduce((a, b) => a.add(b)));
  if (alongU) P = P.add(scaleColumns(dU.sub(U.matmul(alongU)), inverse));
  const Q = alongV && scaleColumns(dV.sub(V.matmul(alongV)), inverse);
  const [toLeft, toRight] = [P.matmul(right.matmul(V).T), left.T.matmul(P).matmul(V.T)];
  if (!Q) return [toLeft, toRight];
  return [toLeft.add(U.matmul(right.matmul(Q).T)), toRight.add(left.T.matmul(U).matmul(Q.T))];
}

const symmetricSum = (x: Tensor): Tensor => x.add(x.T);
