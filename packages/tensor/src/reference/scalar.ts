import { type DType, isFloat, roundTo } from "../dtype.js";
import type { OpDef } from "../op.js";

/**
 * An element-wise op on one element, exactly as its dtypes demand: integers wrap and are divided towards zero, halves
 * are rounded, f32 is computed in float64 and, with `round`, rounded at the end.
 */
export function scalarFunction(
  op: OpDef,
  dtype: DType,
  sourceDtypes: readonly DType[],
  round: boolean,
): (...x: number[]) => number {
  const formula = op.scalar!;
  const source = sourceDtypes[0] ?? dtype;
  if (op.name === "cast") return castFunction(source, dtype, round);
  if (isFloat(dtype)) {
    if (dtype === "f64" || (dtype === "f32" && !round)) return formula;
    return (...x) => roundTo(dtype, formula(...x));
  }
  if (dtype === "bool") return op.name === "not" ? (x) => 1 - x! : formula;
  return integerFunction(op.name, formula, dtype);
}

function integerFunction(
  name: string,
  formula: (...x: number[]) => number,
  dtype: DType,
): (...x: number[]) => number {
  switch (name) {
    case "mul":
      return (a, b) => wrapInteger(dtype, Math.imul(a!, b!));
    case "div":
      return (a, b) => (b === 0 ? 0 : wrapInteger(dtype, Math.trunc(a! / b!)));
    case "remainder":
      return (a, b) => (b === 0 ? 0 : wrapInteger(dtype, formula(a!, b!)));
    case "shiftRight":
      return dtype === "u32" ? (a, b) => a! >>> b! : (a, b) => wrapInteger(dtype, a! >> b!);
    default:
      return (...x) => wrapInteger(dtype, formula(...x));
  }
}

function castFunction(from: DType, to: DType, round: boolean): (...x: number[]) => number {
  if (to === "bool") return (x) => (x !== 0 ? 1 : 0);
  if (to === "f64" || (to === "f32" && !round)) return (x) => x!;
  if (isFloat(from) && to === "u32") return (x) => roundTo(to, Math.max(x!, 0));
  if (isFloat(from) || isFloat(to)) return (x) => roundTo(to, x!);
  return (x) => wrapInteger(to, x!);
}

/** The integer that has the low bits of `value`. */
export function wrapInteger(dtype: DType, value: number): number {
  switch (dtype) {
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "i8":
      return (value << 24) >> 24;
    case "u8":
      return value & 255;
    default:
      return value;
  }
}
