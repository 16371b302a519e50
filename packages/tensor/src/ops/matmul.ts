import { isFloat, promote } from "../dtype.js";
import { DTypeError, ShapeError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { broadcastDims, showDims, sizeOf } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { cast } from "./logic.js";
import { broadcastTo, reshape, transpose } from "./movement.js";
import { toFloat } from "./operands.js";

/**
 * C[..., m, n] = Σₖ A[..., m, k] · B[..., k, n] with equal leading axes. Half floats are summed in f32; a half operand
 * beside an f32 one gives f32.
 */
export const matmulOp: OpDef<null> = /* @__PURE__ */ defineOp("matmul", {
  kind: "kernel",
  infer([a, b]) {
    const p = a!.dims;
    const q = b!.dims;
    const rank = p.length;
    let aligned = rank >= 2 && rank === q.length;
    for (let d = 0; aligned && d < rank - 2; d++) aligned = p[d] === q[d];
    if (!aligned) {
      throw new ShapeError({
        where: "matmul",
        expected: "operands of at least two axes with equal leading ones",
        got: `${showDims(p)} and ${showDims(q)}`,
      });
    }
    if (p[rank - 1] !== q[rank - 2]) throw innerMismatch(p, q);
    const dtype = promote(a!.dtype, b!.dtype);
    if (!isFloat(a!.dtype) || !isFloat(b!.dtype) || (dtype === "f64" && a!.dtype !== b!.dtype)) {
      throw new DTypeError({
        where: "matmul",
        expected: "float operands, f64 only with f64",
        got: `${a!.dtype} and ${b!.dtype}`,
      });
    }
    const dims = p.slice();
    dims[rank - 1] = q[rank - 1]!;
    return { dtype, dims };
  },
  // dA = dC Bᵀ, dB = Aᵀ dC
  vjp: (dy, { inputs: [a, b], needs }) => [
    needs[0] ? cast(apply(matmulOp, [dy, transpose(b!)], null), a!.dtype) : null,
    needs[1] ? cast(apply(matmulOp, [transpose(a!), dy], null), b!.dtype) : null,
  ],
  check: { domain: [-2, 2] },
});

const innerMismatch = (a: readonly number[], b: readonly number[]): ShapeError =>
  new ShapeError({
    where: "matmul",
    expected: `b of shape [${b.length === 1 ? a.at(-1) : `..., ${a.at(-1)}, n`}] to follow a of shape ${showDims(a)}`,
    got: showDims(b),
  });

/**
 * The matrix product over the last two axes; leading axes broadcast. As in NumPy a 1-D operand counts as a row (left) or
 * a column (right) and its axis is dropped from the result. Integers count as f32.
 *
 * @throws ShapeError when the inner sizes differ or the leading axes do not broadcast
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  if (a.ndim === 0 || b.ndim === 0) {
    throw new ShapeError({
      where: "matmul",
      expected: "operands with at least one axis",
      got: `${showDims(a.shape)} and ${showDims(b.shape)}`,
      hint: "multiply by a scalar with mul",
    });
  }
  let x = toFloat(a);
  let y = toFloat(b);
  if (x.dtype !== y.dtype && (x.dtype === "f64" || y.dtype === "f64")) {
    x = cast(x, "f64");
    y = cast(y, "f64");
  }
  if (a.ndim === 1) x = reshape(x, [1, a.size]);
  if (b.ndim === 1) y = reshape(y, [b.size, 1]);
  if (x.shape[x.ndim - 1] !== y.shape[y.ndim - 2]) throw innerMismatch(a.shape, b.shape);
  const product = batched(x, y);
  if (a.ndim > 1 && b.ndim > 1) return product;
  const dims = product.shape.slice();
  if (b.ndim === 1) dims.pop();
  if (a.ndim === 1) dims.splice(b.ndim === 1 ? -1 : -2, 1);
  return reshape(product, dims);
}

function batched(a: Tensor, b: Tensor): Tensor {
  if (a.ndim === 2 && b.ndim === 2) return apply(matmulOp, [a, b], null);
  const [rows, inner] = a.shape.slice(-2) as [number, number];
  const columns = b.shape[b.ndim - 1]!;
  if (b.ndim === 2) {
    // One matrix for the whole batch: its rows are the rows of one tall product.
    const lead = a.shape.slice(0, -1);
    return reshape(apply(matmulOp, [reshape(a, [sizeOf(lead), inner]), b], null), [...lead, columns]);
  }
  const batch = broadcastDims("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  const wideA = broadcastTo(a, [...batch, rows, inner]);
  return apply(matmulOp, [wideA, broadcastTo(b, [...batch, inner, columns])], null);
}
