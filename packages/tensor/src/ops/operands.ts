import { type DType, isFloat, promote, roundTo } from "../dtype.js";
import { Node } from "../node.js";
import type { OpDef } from "../op.js";
import { broadcastDims, type Dims, internShape } from "../shape.js";
import { Tensor, type TensorLike } from "../tensor.js";
import { scalarOp } from "./create.js";
import { type Domain, inDomain } from "./infer.js";
import { castOp } from "./logic.js";
import { broadcastOp } from "./movement.js";
import { sumTo } from "./reduce.js";

const NO_DIMS: Dims = [];

/** A 0-d leaf that holds a JavaScript number. Its value is filled in at each run and is in no plan's key. */
export const scalarLeaf = (value: number, dtype: DType): Tensor => new Tensor(scalarNode(value, dtype));

const scalarNode = (value: number, dtype: DType): Node =>
  new Node(scalarOp, dtype, internShape(NO_DIMS), value, []);

/** A float tensor: integers and bools are cast to f32. */
export const toFloat = (x: Tensor): Tensor => (isFloat(x.dtype) ? x : new Tensor(castNode(x.node, "f32")));

export const castNode = (node: Node, dtype: DType): Node =>
  node.dtype === dtype ? node : new Node(castOp, dtype, node.shape, CASTS[dtype], [node]);

const CASTS: Record<DType, { readonly dtype: DType }> = {
  f32: { dtype: "f32" },
  f16: { dtype: "f16" },
  bf16: { dtype: "bf16" },
  f64: { dtype: "f64" },
  i32: { dtype: "i32" },
  u32: { dtype: "u32" },
  i8: { dtype: "i8" },
  u8: { dtype: "u8" },
  bool: { dtype: "bool" },
};

/** Builds a node of one operand. */
export const unaryNode = (op: OpDef, x: Tensor): Tensor =>
  new Tensor(new Node(op, x.dtype, x.node.shape, null, [x.node]));

/** Builds a node of two operands: promotes, broadcasts, turns numbers into scalar leaves. */
export function binaryNode(op: OpDef, a: TensorLike, b: TensorLike, domain: Domain, out?: DType): Tensor {
  const dtype = inDomain(op.name, commonDType(a, b), domain);
  let x = operandNode(a, dtype);
  let y = operandNode(b, dtype);
  let shape = x.shape;
  if (x.shape !== y.shape) {
    if (x.op === scalarOp) shape = y.shape;
    else if (y.op !== scalarOp) {
      shape = internShape(broadcastDims(op.name, x.shape.dims, y.shape.dims));
      x = stretch(x, shape);
      y = stretch(y, shape);
    }
  }
  return new Tensor(new Node(op, out ?? dtype, shape, null, [x, y]));
}

export const stretch = (node: Node, shape: Node["shape"]): Node =>
  node.shape === shape ? node : new Node(broadcastOp, node.dtype, shape, { dims: shape.dims }, [node]);

/** The node of an operand in `dtype`. */
export const operandNode = (x: TensorLike, dtype: DType): Node =>
  typeof x === "number" ? scalarNode(x, dtype) : castNode(x.node, dtype);

/** The dtype that two operands meet in. A number takes the tensor's dtype if that can hold it. */
export function commonDType(a: TensorLike, b: TensorLike): DType {
  if (typeof a === "number") return typeof b === "number" ? "f32" : withNumber(b.dtype, a);
  return typeof b === "number" ? withNumber(a.dtype, b) : promote(a.dtype, b.dtype);
}

function withNumber(dtype: DType, value: number): DType {
  if (isFloat(dtype)) return dtype;
  if (!Number.isInteger(value)) return "f32";
  if (roundTo(dtype, value) === value) return dtype;
  return value === (value | 0) ? "i32" : "f32";
}

/** A gradient in the shape of its operand: summed where a 0-d scalar was stretched. */
export const fit = (gradient: Tensor, like: Tensor): Tensor =>
  gradient.node.shape === like.node.shape ? gradient : sumTo(gradient, like.shape);
