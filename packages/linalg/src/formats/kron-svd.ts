import { ConfigError, evaluate, gt, norm, sqrt, type Tensor, where as select } from "@lowrank/tensor";
import { scaleColumns, scaleRows } from "../diagonal.js";
import {
  type ByRank,
  type BySpectrum,
  countKeptOf,
  expectTruncation,
  leading,
  type Truncation,
} from "../low-rank/truncation.js";
import { asMatrix, columnsOf, leadOf, rowsOf } from "../matrix.js";
import { type Svd, svdFrom } from "../svd.js";

/** A matrix Σ_i b_i ⊗ c_i. */
export class KroneckerSum {
  constructor(
    /** [.., k, m₁, n₁] */
    readonly b: Tensor,
    /** [.., k, m₂, n₂] */
    readonly c: Tensor,
    /** All singular values of the rearranged matrix, [.., q]. */
    readonly s: Tensor,
  ) {}

  /** The matrix [.., m₁ m₂, n₁ n₂]. */
  reconstruct(): Tensor {
    const [k, m1, n1] = this.b.shape.slice(-3) as [number, number, number];
    const [m2, n2] = this.c.shape.slice(-2) as [number, number];
    const lead = leadOf(this.b.shape).slice(0, -1);
    const rearranged = this.b.reshape([...lead, k, m1 * n1]).T.matmul(this.c.reshape([...lead, k, m2 * n2]));
    return middleSwapped(rearranged.reshape([...lead, m1, n1, m2, n2])).reshape([...lead, m1 * m2, n1 * n2]);
  }

  /** ‖a - reconstruct()‖_F, [..] */
  error(a: Tensor): Tensor {
    return norm(a.sub(this.reconstruct()), [-2, -1]);
  }
}

/** The two middle ones of the last four axes swapped. */
function middleSwapped(x: Tensor): Tensor {
  const d = x.ndim - 4;
  return x.permute([...Array.from({ length: d }, (_, i) => i), d, d + 2, d + 1, d + 3]);
}

export interface KroneckerShape {
  /** The shape [m₁, n₁] of b; it must divide that of a, and c has the quotients. */
  shape: readonly [rows: number, columns: number];
}

/**
 * The nearest sum of k Kronecker products to a [.., m₁ m₂, n₁ n₂]:
 *
 *     a ≈ Σ_{i ≤ k} b_i ⊗ c_i,   b_i = √s_i mat(u_i) [m₁, n₁],   c_i = √s_i mat(v_i) [m₂, n₂]
 *
 * from the singular value decomposition of a rearranged, rows (i₁, j₁) and columns (i₂, j₂) of a[(i₁, i₂), (j₁, j₂)]:
 * ‖a - â‖_F² = Σ_{i > k} s_i², the least that k products reach. k is `rank`, or what `energy` or `tolerance` ask for, which
 * make it a promise of computed parts, as with `truncatedSvd`.
 *
 * Source: Van Loan and Pitsianis 1993, Approximation with Kronecker products.
 *
 * @throws ConfigError for a shape that does not divide that of a or a rule out of range; ShapeError, DTypeError; when
 * computed NumericalError for NaN or infinity
 * @category Formats
 */
export function kronSvd(a: Tensor, options: KroneckerShape & ByRank): KroneckerSum;
export function kronSvd(a: Tensor, options: KroneckerShape & BySpectrum): Promise<KroneckerSum>;
export function kronSvd(
  a: Tensor,
  options: KroneckerShape & Truncation,
): KroneckerSum | Promise<KroneckerSum>;
export function kronSvd(
  a: Tensor,
  { shape, ...rule }: KroneckerShape & Truncation,
): KroneckerSum | Promise<KroneckerSum> {
  const where = "kronSvd";
  const x = asMatrix(where, "a", a);
  const [m, n] = [rowsOf(x), columnsOf(x)];
  const divides = (part: number | undefined, whole: number) =>
    Number.isInteger(part) && part! >= 1 && whole % part! === 0;
  if (!(shape?.length === 2 && divides(shape[0], m) && divides(shape[1], n))) {
    throw new ConfigError({
      where,
      expected: `a shape [m, n] with m dividing ${m} and n dividing ${n}`,
      got: Array.isArray(shape) ? `[${shape.join(", ")}]` : String(shape),
    });
  }
  const [m1, n1] = shape;
  const [m2, n2] = [m / m1, n / n1];
  const lead = leadOf(x.shape);
  const rearranged = middleSwapped(x.reshape([...lead, m1, m2, n1, n2])).reshape([...lead, m1 * n1, m2 * n2]);
  const parts = svdFrom(where, rearranged);
  const { s } = parts;
  expectTruncation(where, rule as Truncation, s.shape[s.ndim - 1]!);
  const cut = (k: number): KroneckerSum => {
    const { u, s: kept, vt }: Svd = leading(parts, k);
    const some = gt(kept, 0);
    const root = select(some, sqrt(select(some, kept, 1)), 0); // slope 0 at 0
    const b = scaleColumns(u, root).T.reshape([...lead, k, m1, n1]);
    return new KroneckerSum(b, scaleRows(vt, root).reshape([...lead, k, m2, n2]), s);
  };
  if ("rank" in rule && rule.rank !== undefined) return cut(rule.rank as number);
  return evaluate(parts.u, s, parts.vt).then(async () => cut(await countKeptOf(s, rule as BySpectrum)));
}
