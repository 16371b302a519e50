import {
  abs,
  ConfigError,
  eye,
  gt,
  max,
  scalar,
  stopGradient,
  sum,
  type Tensor,
  where as select,
} from "@lowrank/tensor";
import { asSquare, leadOf, rowsOf } from "./matrix.js";
import { solveFrom } from "./solve.js";

// Coefficients of the numerator of the diagonal Padé approximant of degree 13; the denominator is p(-x). Higham 2005,
// The scaling and squaring method for the matrix exponential revisited, section 2.
const PADE = [
  64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
  670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
];
/** Largest 1-norm at which the approximant is right to float64: table 2.3 there. */
const THETA = 5.371920351148152;

export interface ExpmOptions {
  /**
   * How many halvings of a may be needed: matrices up to a 1-norm of 5.37 · 2^most are taken, the others give NaN. The
   * squarings that undo them are computed for every matrix, needed or not. Default 16, norms up to 352,000.
   */
  mostSquarings?: number;
}

/**
 * The exponential of square matrices [.., n, n]:
 *
 *     exp(a) = r(a / 2ˢ)^(2ˢ)
 *
 * with the Padé approximant r of degree 13 and s such that the 1-norm of a / 2ˢ is at most 5.37, chosen for each matrix of
 * the batch. The gradient is that of this computation. For symmetric a `expmSymmetric` is cheaper where n is small.
 *
 * Source: Higham 2005, SIAM J. Matrix Anal. Appl. 26(4), algorithm 2.3.
 *
 * @throws ShapeError, DTypeError, ConfigError; when computed NumericalError for NaN or infinity
 * @category Matrix functions
 */
export function expm(a: Tensor, { mostSquarings = 16 }: ExpmOptions = {}): Tensor {
  if (!Number.isInteger(mostSquarings) || mostSquarings < 0 || mostSquarings > 60) {
    throw new ConfigError({
      where: "expm",
      expected: "mostSquarings to be an integer from 0 to 60",
      got: String(mostSquarings),
    });
  }
  const x = asSquare("expm", "a", a);
  const n = rowsOf(x);
  if (x.size === 0) return x;
  const columnSums = sum(abs(stopGradient(x)), -2);
  const norm = max(columnSums, -1).reshape([...leadOf(x.shape), 1, 1]);
  // halved[i]: whether the matrix needs more than i halvings.
  const halved = Array.from({ length: mostSquarings }, (_, i) => gt(norm, THETA * 2 ** i));
  const scale = halved.reduce<Tensor | null>((s, more) => {
    const half = select(more, scalar(0.5, { dtype: x.dtype }), 1);
    return s ? s.mul(half) : half;
  }, null);
  let y = pade(scale ? x.mul(scale) : x, n);
  for (const more of halved) y = select(more, y.matmul(y), y);
  return select(gt(norm, THETA * 2 ** mostSquarings), Number.NaN, y);
}

/** r(a) = (v - u)⁻¹ (v + u), u the odd and v the even part of the numerator. */
function pade(a: Tensor, n: number): Tensor {
  const one = eye(n, n, { dtype: a.dtype });
  const a2 = a.matmul(a);
  const a4 = a2.matmul(a2);
  const a6 = a4.matmul(a2);
  // Divided by the largest coefficient, so that f32 does not overflow.
  const b = PADE.map((c) => c / PADE[0]!);
  const part = (first: number): Tensor => {
    const high = a6
      .mul(b[12 + first]!)
      .add(a4.mul(b[10 + first]!))
      .add(a2.mul(b[8 + first]!));
    const low = a6
      .mul(b[6 + first]!)
      .add(a4.mul(b[4 + first]!))
      .add(a2.mul(b[2 + first]!));
    return a6.matmul(high).add(low).add(one.mul(b[first]!));
  };
  const u = a.matmul(part(1));
  const v = part(0);
  return solveFrom("expm", v.sub(u), v.add(u));
}
