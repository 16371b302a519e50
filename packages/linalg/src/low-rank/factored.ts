import { concat, ShapeError, type Tensor } from "@lowrank/tensor";
import { scaleColumns } from "../diagonal.js";
import { asMatrix, columnsOf, inCommonDtype, leadOf, rowsOf, showDims } from "../matrix.js";
import type { Svd } from "../svd.js";
import { svdOfProduct } from "./svd-of-product.js";
import { type ByRank, type BySpectrum, expectTruncation, truncate, type Truncation } from "./truncation.js";

/** A matrix left · right of rank at most k that is never formed. */
export interface Factors {
  /** [.., m, k] */
  left: Tensor;
  /** [.., k, n] */
  right: Tensor;
}

/** @throws ShapeError unless the factors fit and have equal leading axes */
export function asFactors(where: string, { left, right }: Factors): Factors {
  const [l, r] = inCommonDtype(asMatrix(where, "left", left), asMatrix(where, "right", right));
  if (columnsOf(l) !== rowsOf(r) || showDims(leadOf(l.shape)) !== showDims(leadOf(r.shape))) {
    throw new ShapeError({
      where,
      expected: "left [.., m, k] and right [.., k, n] with equal leading axes",
      got: `${showDims(left.shape)} and ${showDims(right.shape)}`,
    });
  }
  return { left: l, right: r };
}

/**
 * The singular value decomposition of a product left · right, [.., m, k] times [.., k, n], without forming it: two QR
 * decompositions and a decomposition of size k. Cut to a rank it is the nearest one of that rank, as with `truncatedSvd`;
 * energy and tolerance make it a promise. Without a rule it has all min(m, k, n) values. Gradients are those of `svd` of
 * the product.
 *
 * @throws ConfigError for a rule out of range; ShapeError, DTypeError; when computed NumericalError for NaN or infinity
 * @category Low rank
 */
export function recompress(factors: Factors, rule?: ByRank): Svd;
export function recompress(factors: Factors, rule: BySpectrum): Promise<Svd>;
export function recompress(factors: Factors, rule?: Truncation): Svd | Promise<Svd>;
export function recompress(factors: Factors, rule?: Truncation): Svd | Promise<Svd> {
  const where = "recompress";
  const parts = svdOfProduct(where, asFactors(where, factors));
  return cut(where, parts, rule);
}

/** The parts, cut if there is a rule. */
function cut(where: string, parts: Svd, rule: Truncation | undefined): Svd | Promise<Svd> {
  if (!rule) return parts;
  expectTruncation(where, rule, parts.s.shape[parts.s.ndim - 1]!);
  return truncate(parts, rule);
}

/**
 * The sum of two matrices of low rank, given and returned by their parts, without forming it: [u₁ diag(s₁), u₂ diag(s₂)]
 * times [vt₁; vt₂], recompressed. Without a rule all min(m, k₁ + k₂, n) values are kept and the sum is exact.
 *
 * @throws as `recompress`
 * @category Low rank
 */
export function lowRankAdd(x: Svd, y: Svd, rule?: ByRank): Svd;
export function lowRankAdd(x: Svd, y: Svd, rule: BySpectrum): Promise<Svd>;
export function lowRankAdd(x: Svd, y: Svd, rule?: Truncation): Svd | Promise<Svd>;
export function lowRankAdd(x: Svd, y: Svd, rule?: Truncation): Svd | Promise<Svd> {
  const where = "lowRankAdd";
  const [m, n] = [rowsOf(x.u), columnsOf(x.vt)];
  if (rowsOf(y.u) !== m || columnsOf(y.vt) !== n) {
    throw new ShapeError({
      where,
      expected: `y of a matrix [${m}, ${n}], as x`,
      got: `[${rowsOf(y.u)}, ${columnsOf(y.vt)}]`,
    });
  }
  const factors = {
    left: concat([scaleColumns(x.u, x.s), scaleColumns(y.u, y.s)], -1),
    right: concat([x.vt, y.vt], -2),
  };
  return cut(where, svdOfProduct(where, asFactors(where, factors)), rule);
}
