import {
  ConfigError,
  evaluate,
  gt,
  ShapeError,
  slice,
  sqrt,
  sum,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { scaleColumns } from "../diagonal.js";
import { eighFrom } from "../eigh.js";
import { asMatrix, columnsOf, inCommonDtype, showDims } from "../matrix.js";
import { qrFrom } from "../qr.js";
import { svdFrom } from "../svd.js";
import type { Factors } from "./factored.js";
import {
  type ByRank,
  type BySpectrum,
  countKeptOf,
  expectTruncation,
  leading,
  type Truncation,
} from "./truncation.js";

/** What is known of the inputs: exactly one of the two. */
export interface InputStatistics {
  /** Σ x xᵀ over the inputs x, or any multiple of it: symmetric positive semidefinite [.., in, in], also singular. */
  gram?: Tensor;
  /** The inputs themselves, [.., tokens, in]. */
  activations?: Tensor;
}

export interface WhitenedSvd extends Factors {
  /** All singular values of w H^(1/2), [.., q]. */
  s: Tensor;
  /** ‖(w - left right) Xᵀ‖_F = √Σ_{j > k} s_j², the error of the outputs, [..]. */
  error: Tensor;
}

/**
 * The approximation left · right of rank k of a weight w [.., out, in] whose outputs on given inputs X [.., tokens, in] are
 * the nearest:
 *
 *     min ‖(w - left right) Xᵀ‖_F,   left = U_k [.., out, k],  right = U_kᵀ w [.., k, in]
 *
 * with the left singular vectors U of w Rᵀ for any R with Rᵀ R = Xᵀ X = H: R of the QR decomposition of the activations,
 * or diag(√λ) Vᵀ of the eigen-decomposition of the Gram matrix H. Nothing is inverted, so that H may be singular. Where
 * it is not, this equals the decomposition of w L with Cholesky's factor L of H, undone by L⁻¹. k is `rank`, or what
 * `energy` or `tolerance` ask for of the values s; these make it a promise of computed parts, as with `truncatedSvd`.
 *
 * A diagonal Gram matrix diag(d²) weighs the inputs one by one, as ASVD does with powers of their mean magnitude.
 *
 * Source: the minimum is that of SVD-LLM, Wang et al. 2024, arXiv:2403.07378, section 3.1; there by Cholesky. Diagonal:
 * Yuan et al. 2023, arXiv:2312.05821.
 *
 * @throws ConfigError for a rule out of range, or not exactly one of gram and activations; ShapeError, DTypeError; when
 * computed NumericalError for a Gram matrix that is not symmetric positive semidefinite, NaN or infinity
 * @category Low rank
 */
export function whitenedSvd(w: Tensor, options: InputStatistics & ByRank): WhitenedSvd;
export function whitenedSvd(w: Tensor, options: InputStatistics & BySpectrum): Promise<WhitenedSvd>;
export function whitenedSvd(
  w: Tensor,
  options: InputStatistics & Truncation,
): WhitenedSvd | Promise<WhitenedSvd>;
export function whitenedSvd(
  w: Tensor,
  { gram, activations, ...rule }: InputStatistics & Truncation,
): WhitenedSvd | Promise<WhitenedSvd> {
  const where = "whitenedSvd";
  const [name, given] = gram ? ["gram", gram] : ["activations", activations];
  if (!given || (gram && activations)) {
    throw new ConfigError({
      where,
      expected: "one of gram and activations",
      got: given ? "both" : "none",
    });
  }
  const [W, X] = inCommonDtype(asMatrix(where, "w", w), asMatrix(where, name, given));
  if (columnsOf(X) !== columnsOf(W)) {
    throw new ShapeError({
      where,
      expected: `${name} of shape [.., ${gram ? columnsOf(W) : "tokens"}, ${columnsOf(W)}] to follow w of shape ${showDims(w.shape)}`,
      got: showDims(given.shape),
    });
  }
  const root = gram ? rootOfGram(where, X) : qrFrom(where, X).r.T;
  const parts = svdFrom(where, W.matmul(root));
  const { s } = parts;
  const q = s.shape[s.ndim - 1]!;
  expectTruncation(where, rule as Truncation, q);
  const cut = (k: number): WhitenedSvd => {
    const left = leading(parts, k).u;
    const rest = slice(s, [...s.shape.slice(0, -1).map(() => null), [k, q]]);
    return { left, right: left.T.matmul(W), s, error: rootOf(sum(rest.mul(rest), -1)) };
  };
  if ("rank" in rule && rule.rank !== undefined) return cut(rule.rank as number);
  return evaluate(parts.u, s).then(async () => {
    const result = cut(await countKeptOf(s, rule as BySpectrum));
    await evaluate(result.left, result.right, result.error);
    return result;
  });
}

/** √x with slope 0 at 0, and 0 for what rounding made negative. */
function rootOf(x: Tensor): Tensor {
  const some = gt(x, 0);
  return select(some, sqrt(select(some, x, 1)), 0);
}

/** B with B Bᵀ = H: V diag(√λ). */
function rootOfGram(where: string, H: Tensor): Tensor {
  const { values, vectors } = eighFrom(where, H, {}, "nonnegative");
  return scaleColumns(vectors, rootOf(values));
}
