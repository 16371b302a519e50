import { ShapeError } from "../errors.js";
import type { Tensor } from "../tensor.js";
import { arange } from "./create.js";
import { add, le, where } from "./elementwise.js";
import { reshape } from "./movement.js";
import { showDims } from "../shape.js";

/** Whether column ≤ row + diagonal, [rows, columns]. */
function lower(where: string, x: Tensor, diagonal: number): Tensor {
  if (x.ndim < 2 || !Number.isInteger(diagonal)) {
    throw new ShapeError({
      where,
      expected: "matrices [.., rows, columns] and an integer diagonal",
      got: `${showDims(x.shape)} and ${diagonal}`,
    });
  }
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  return le(
    arange(0, columns, 1, { dtype: "i32" }),
    add(reshape(arange(0, rows, 1, { dtype: "i32" }), [rows, 1]), diagonal),
  );
}

/**
 * The lower triangle of matrices [.., rows, columns]: elements with column ≤ row + diagonal stay, the others become 0.
 *
 * @category Creation
 */
export const tril = (x: Tensor, diagonal = 0): Tensor => where(lower("tril", x, diagonal), x, 0);

/**
 * The upper triangle of matrices [.., rows, columns]: elements with column ≥ row + diagonal stay, the others become 0.
 *
 * @category Creation
 */
export const triu = (x: Tensor, diagonal = 0): Tensor => where(lower("triu", x, diagonal - 1), 0, x);
