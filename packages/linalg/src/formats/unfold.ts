import { type Dims, expandDims, moveaxis, norm, ShapeError, type Tensor } from "@lowrank/tensor";
import { NumericalError } from "../errors.js";
import { asReal, showDims } from "../matrix.js";

/** A tensor of f32 or f64 with at least `least` axes. */
export function asTensor(where: string, x: Tensor, least: number): Tensor {
  if (x.ndim < least) {
    throw new ShapeError({
      where,
      expected: `x with at least ${least} axes`,
      got: `shape ${showDims(x.shape)}`,
    });
  }
  return asReal(where, "x", x);
}

/** @throws NumericalError at the first element, row-major, that is NaN or infinite */
export async function expectFiniteTensor(where: string, x: Tensor): Promise<void> {
  const data = await x.data();
  const at = data.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  let rest = at;
  const index = x.shape.toReversed().map((n) => {
    const place = rest % n;
    rest = (rest - place) / n;
    return place;
  });
  throw new NumericalError({
    where,
    expected: "finite numbers",
    got: `${data[at]} at ${showDims(index.reverse())}`,
    reason: "notFinite",
    batch: [],
    index,
    value: data[at]!,
  });
}

function expectMode(where: string, mode: number, order: number): void {
  if (!(Number.isInteger(mode) && mode >= 0 && mode < order)) {
    throw new ShapeError({ where, expected: `a mode from 0 to ${order - 1}`, got: String(mode) });
  }
}

/**
 * The unfolding of x along a mode: axis `mode` first, the others after it in their order, as a matrix
 * [n_mode, product of the others]. (Kolda and Bader 2009 count the others the other way round.)
 *
 * @throws ShapeError for a mode that x has not
 * @category Formats
 */
export function unfold(x: Tensor, mode: number): Tensor {
  expectMode("unfold", mode, x.ndim);
  const n = x.shape[mode]!;
  return moveaxis(x, mode, 0).reshape([n, n === 0 ? 0 : x.size / n]);
}

/**
 * The tensor of shape `dims` whose unfolding along `mode` is `matrix`.
 *
 * @throws ShapeError where sizes do not fit
 * @category Formats
 */
export function fold(matrix: Tensor, mode: number, dims: Dims): Tensor {
  expectMode("fold", mode, dims.length);
  const rest = dims.filter((_, d) => d !== mode);
  return moveaxis(matrix.reshape([dims[mode]!, ...rest]), 0, mode);
}

/**
 * The product of x with a matrix [r, n_mode] along a mode: its unfolding is matrix · unfold(x, mode).
 *
 * @throws ShapeError where sizes do not fit
 * @category Formats
 */
export function modeProduct(x: Tensor, matrix: Tensor, mode: number): Tensor {
  expectMode("modeProduct", mode, x.ndim);
  if (matrix.ndim !== 2 || matrix.shape[1] !== x.shape[mode]) {
    throw new ShapeError({
      where: "modeProduct",
      expected: `a matrix [r, ${x.shape[mode]}] for mode ${mode} of x of shape ${showDims(x.shape)}`,
      got: showDims(matrix.shape),
    });
  }
  const dims = x.shape.map((n, d) => (d === mode ? matrix.shape[0]! : n));
  return fold(matrix.matmul(unfold(x, mode)), mode, dims);
}

/**
 * The Khatri-Rao product of matrices [n_i, r], [Π n_i, r]: column j is the Kronecker product of their columns j, the row
 * of the last matrix running fastest, as in `unfold`.
 *
 * @throws ShapeError unless all have the same number of columns
 * @category Formats
 */
export function khatriRao(matrices: readonly Tensor[]): Tensor {
  const r = matrices[0]?.shape[1];
  if (r === undefined || matrices.some((a) => a.ndim !== 2 || a.shape[1] !== r)) {
    throw new ShapeError({
      where: "khatriRao",
      expected: "matrices [n_i, r] of one r",
      got: matrices.map((a) => showDims(a.shape)).join(", ") || "none",
    });
  }
  return matrices.reduce((a, b) =>
    expandDims(a, 1)
      .mul(expandDims(b, 0))
      .reshape([a.shape[0]! * b.shape[0]!, r]),
  );
}

/** ‖x - y‖_F */
export const distance = (x: Tensor, y: Tensor): Tensor => norm(x.sub(y));
