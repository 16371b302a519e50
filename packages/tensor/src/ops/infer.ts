import { type DType, isFloat } from "../dtype.js";
import { DTypeError, ShapeError } from "../errors.js";
import type { Aval } from "../op.js";
import { type Dims, sameDims, showDims } from "../shape.js";

/** Which dtypes an element-wise op works in; others are cast before it. */
export type Domain = "number" | "float" | "integer" | "logic" | "any";

const NO_DIMS: Dims = [];

/** The dtype that an op of this domain works in when it gets `dtype`. */
export function inDomain(where: string, dtype: DType, domain: Domain): DType {
  if (domain === "any") return dtype;
  if (domain === "number") return dtype === "bool" ? "i32" : dtype;
  if (domain === "float") return isFloat(dtype) ? dtype : "f32";
  if (isFloat(dtype) || (domain === "integer" && dtype === "bool")) {
    throw new DTypeError({
      where,
      expected: domain === "logic" ? "bool or integer operands" : "integer operands",
      got: dtype,
    });
  }
  return dtype;
}

/** Rule of the element-wise rows: equal dtypes, and equal dims beside 0-d scalars. */
export function inferSame(name: string, domain: Domain, out?: DType): (inputs: readonly Aval[]) => Aval {
  return (inputs) => {
    const { dtype } = inputs[0]!;
    for (const input of inputs) {
      if (input.dtype !== dtype) {
        throw new DTypeError({ where: name, expected: `operands of one dtype (${dtype})`, got: input.dtype });
      }
    }
    if (inDomain(name, dtype, domain) !== dtype) {
      throw new DTypeError({ where: name, expected: `a ${domain} dtype`, got: dtype });
    }
    return { dtype: out ?? dtype, dims: commonDims(name, inputs) };
  };
}

/** The dims of an element-wise result; 0-d operands are scalars. */
export function commonDims(name: string, inputs: readonly Aval[]): Dims {
  let dims: Dims = NO_DIMS;
  for (const input of inputs) {
    if (input.dims.length === 0) continue;
    if (dims.length > 0 && !sameDims(dims, input.dims)) {
      throw new ShapeError({
        where: name,
        expected: `operands of shape ${showDims(dims)}`,
        got: showDims(input.dims),
      });
    }
    dims = input.dims;
  }
  return dims;
}
