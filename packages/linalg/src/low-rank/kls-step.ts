import { concat, ConfigError, type Tensor } from "@lowrank/tensor";
import { diagonalMatrix, scaleColumns } from "../diagonal.js";
import { asMatrix } from "../matrix.js";
import { qrFrom } from "../qr.js";
import { type Svd, svdFrom } from "../svd.js";
import type { Factors } from "./factored.js";
import { withSigns } from "./signs.js";
import { type ByRank, type BySpectrum, expectTruncation, truncate, type Truncation } from "./truncation.js";

/** The right-hand side F(Y, t) of Y' = F(Y, t) at Y = left · right, as a matrix [.., m, n] or factors of one. */
export type MatrixField = (y: Factors, time: number) => Tensor | Factors;

export interface KlsOptions {
  /** h: the step goes from `time` to time + h. Not 0. */
  stepSize: number;
  /** Default 0. */
  time?: number;
  /** How the three small equations are solved over the step: one step of Euler's or of Runge and Kutta's. Default "rk4". */
  method?: "euler" | "rk4";
}

/**
 * One step of a matrix differential equation Y' = F(Y, t) that stays at rank r, Y = U S Vᵀ (the basis update and Galerkin,
 * or "unconventional" integrator):
 *
 *     K-step   K' = F(K V₀ᵀ, t) V₀,      K(0) = U₀ S₀,    U₁ = qr(K(h))
 *     L-step   L' = F(U₀ Lᵀ, t)ᵀ U₀,     L(0) = V₀ S₀ᵀ,   V₁ = qr(L(h))
 *     S-step   S' = U₁ᵀ F(U₁ S V₁ᵀ, t) V₁,  S(0) = U₁ᵀ U₀ S₀ V₀ᵀ V₁
 *
 * Nothing is divided by singular values, so that small ones do no harm, and a solution of rank r of Y' = F(t) is
 * reproduced. With `rank`, `energy` or `tolerance` both bases are first augmented by the old ones, to at most 2r columns,
 * and the result is cut by that rule: the rank then follows the solution. Energy and tolerance make it a promise.
 *
 * Source: Ceruti and Lubich 2022, arXiv:2010.02022; augmented: Ceruti, Kusch and Lubich 2022,
 * arXiv:2104.05247.
 *
 * @throws ConfigError for options out of range; ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Low rank
 */
export function klsStep(y: Svd, field: MatrixField, options: KlsOptions & Partial<ByRank>): Svd;
export function klsStep(y: Svd, field: MatrixField, options: KlsOptions & BySpectrum): Promise<Svd>;
export function klsStep(
  { u, s, vt }: Svd,
  field: MatrixField,
  { stepSize, time = 0, method = "rk4", ...rule }: KlsOptions & Partial<ByRank> & BySpectrum,
): Svd | Promise<Svd> {
  const where = "klsStep";
  if (!Number.isFinite(stepSize) || stepSize === 0 || !Number.isFinite(time)) {
    throw new ConfigError({
      where,
      expected: "finite stepSize and time, stepSize not 0",
      got: `${stepSize} and ${time}`,
    });
  }
  if (method !== "euler" && method !== "rk4") {
    throw new ConfigError({ where, expected: 'method "euler" or "rk4"', got: String(method) });
  }
  const [U0, V0t] = [asMatrix(where, "u", u), asMatrix(where, "vt", vt)];
  const V0 = V0t.T;
  const over = (start: Tensor, slope: (x: Tensor, t: number) => Tensor): Tensor =>
    (method === "euler" ? eulerStep : rungeKuttaStep)(start, slope, time, stepSize);
  const K = over(scaleColumns(U0, s), (x, t) => times(field({ left: x, right: V0t }, t), V0));
  const L = over(scaleColumns(V0, s), (x, t) => transposedTimes(field({ left: U0, right: x.T }, t), U0));
  const augmented = Object.values(rule).some((value) => value !== undefined);
  const basis = (x: Tensor, old: Tensor) => qrFrom(where, augmented ? concat([x, old], -1) : x).q;
  const [U, V] = [basis(K, U0), basis(L, V0)];
  const start = U.T.matmul(U0).matmul(diagonalMatrix(s)).matmul(V0t.matmul(V));
  const S = over(start, (x, t) => U.T.matmul(times(field({ left: U.matmul(x), right: V.T }, t), V)));
  const small = svdFrom(where, S);
  const parts = withSigns({ u: U.matmul(small.u), s: small.s, vt: small.vt.matmul(V.T) });
  if (!augmented) return parts;
  expectTruncation(where, rule as Truncation, parts.s.shape[parts.s.ndim - 1]!);
  return truncate(parts, rule as Truncation);
}

const isFactors = (f: Tensor | Factors): f is Factors => "left" in f;

/** F x */
const times = (f: Tensor | Factors, x: Tensor): Tensor =>
  isFactors(f) ? f.left.matmul(f.right.matmul(x)) : f.matmul(x);

/** Fᵀ x */
const transposedTimes = (f: Tensor | Factors, x: Tensor): Tensor =>
  isFactors(f) ? f.right.T.matmul(f.left.T.matmul(x)) : f.T.matmul(x);

type Slope = (x: Tensor, t: number) => Tensor;

const eulerStep = (x: Tensor, slope: Slope, t: number, h: number): Tensor => x.add(slope(x, t).mul(h));

/** The classical method of order 4. */
function rungeKuttaStep(x: Tensor, slope: Slope, t: number, h: number): Tensor {
  const k1 = slope(x, t);
  const k2 = slope(x.add(k1.mul(h / 2)), t + h / 2);
  const k3 = slope(x.add(k2.mul(h / 2)), t + h / 2);
  const k4 = slope(x.add(k3.mul(h)), t + h);
  return x.add(
    k1
      .add(k2.mul(2))
      .add(k3.mul(2))
      .add(k4)
      .mul(h / 6),
  );
}
