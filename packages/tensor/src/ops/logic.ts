import { type DType, isFloat } from "../dtype.js";
import { DTypeError } from "../errors.js";
import { Node } from "../node.js";
import { defineOp, type OpDef } from "../op.js";
import { broadcastDims, internShape } from "../shape.js";
import { Tensor, type TensorLike } from "../tensor.js";
import { unchanged } from "./movement.js";
import { commonDims, inferSame } from "./infer.js";
import { binaryNode, castNode, commonDType, fit, operandNode, stretch, unaryNode } from "./operands.js";
import { scalarOp } from "./create.js";

function comparison(name: string, scalar: (a: number, b: number) => number): OpDef {
  return defineOp(name, { kind: "elementwise", infer: inferSame(name, "any", "bool"), scalar });
}

/** a = b, as bool. NaN equals nothing. */
export const eqOp = /* @__PURE__ */ comparison("eq", (a, b) => (a === b ? 1 : 0));
/** a ≠ b, as bool. */
export const neOp = /* @__PURE__ */ comparison("ne", (a, b) => (a !== b ? 1 : 0));
/** a < b, as bool. */
export const ltOp = /* @__PURE__ */ comparison("lt", (a, b) => (a < b ? 1 : 0));
/** a ≤ b, as bool. */
export const leOp = /* @__PURE__ */ comparison("le", (a, b) => (a <= b ? 1 : 0));
/** a > b, as bool. */
export const gtOp = /* @__PURE__ */ comparison("gt", (a, b) => (a > b ? 1 : 0));
/** a ≥ b, as bool. */
export const geOp = /* @__PURE__ */ comparison("ge", (a, b) => (a >= b ? 1 : 0));

function bits(name: string, domain: "logic" | "integer", scalar: (a: number, b: number) => number): OpDef {
  return defineOp(name, { kind: "elementwise", infer: inferSame(name, domain), scalar });
}

/** Logical and of bools, bitwise and of integers. */
export const andOp = /* @__PURE__ */ bits("and", "logic", (a, b) => a & b);
/** Logical or of bools, bitwise or of integers. */
export const orOp = /* @__PURE__ */ bits("or", "logic", (a, b) => a | b);
/** Exclusive or of bools, or of the bits of integers. */
export const xorOp = /* @__PURE__ */ bits("xor", "logic", (a, b) => a ^ b);
/** Logical not of a bool, all bits turned over of an integer (−1 − x). */
export const notOp = /* @__PURE__ */ defineOp("not", {
  kind: "elementwise",
  infer: /* @__PURE__ */ inferSame("not", "logic"),
  scalar: (x) => -1 - x,
});
/** a · 2ᵇ in the bits of the dtype; b counts modulo 32. */
export const shiftLeftOp = /* @__PURE__ */ bits("shiftLeft", "integer", (a, b) => a << b);
/** The bits of a moved b places (modulo 32) to the right; the sign of i32 is kept. */
export const shiftRightOp = /* @__PURE__ */ bits("shiftRight", "integer", (a, b) =>
  a < 0 ? a >> b : a >>> b,
);

/** a where the condition holds, else b. The branch not taken gets a zero gradient, also where it is NaN. */
export const whereOp = /* @__PURE__ */ defineOp("where", {
  kind: "elementwise",
  infer([c, a, b]) {
    if (c!.dtype !== "bool") {
      throw new DTypeError({
        where: "where",
        expected: "a bool condition",
        got: c!.dtype,
        hint: "compare it with 0",
      });
    }
    if (a!.dtype !== b!.dtype) {
      throw new DTypeError({
        where: "where",
        expected: `branches of one dtype (${a!.dtype})`,
        got: b!.dtype,
      });
    }
    return { dtype: a!.dtype, dims: commonDims("where", [c!, a!, b!]) };
  },
  scalar: (c, a, b) => (c ? a! : b!),
  vjp: (dy, { inputs: [c, a, b], needs }) => [
    null,
    needs[1] ? fit(where(c!, dy, 0), a!) : null,
    needs[2] ? fit(where(c!, 0, dy), b!) : null,
  ],
});

/**
 * The value in another dtype. Floats are rounded to nearest even; a float becomes an integer by truncation, held within
 * the integer's range, NaN as 0; an integer keeps its low bits in a narrower one; anything but 0 is true as bool.
 */
export const castOp = /* @__PURE__ */ defineOp<{ readonly dtype: DType }>("cast", {
  kind: "elementwise",
  infer: ([x], { dtype }) => ({ dtype, dims: x!.dims }),
  scalar: (x) => x!,
  vjp: (dy, { inputs: [x], arg }) => [isFloat(x!.dtype) && isFloat(arg.dtype) ? cast(dy, x!.dtype) : null],
});

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

// Rotation distances of Threefry-2x32: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2.
const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];
const PARITY = 0x1bd11bda; // of the key schedule, Skein 1.3

/**
 * Word 0 of Threefry-2x32 with 20 rounds: random bits that depend on the key (k0, k1) and the counter (c0, c1) only.
 *
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.
 */
export const threefryOp = /* @__PURE__ */ defineOp("threefry", {
  kind: "elementwise",
  infer(inputs) {
    for (const { dtype } of inputs) {
      if (dtype !== "u32") throw new DTypeError({ where: "threefry", expected: "u32 operands", got: dtype });
    }
    return { dtype: "u32", dims: commonDims("threefry", inputs) };
  },
  scalar(k0, k1, c0, c1) {
    const keys = [k0! | 0, k1! | 0, k0! ^ k1! ^ PARITY];
    let x = (c0! + keys[0]!) | 0;
    let y = (c1! + keys[1]!) | 0;
    for (let round = 0; round < 20; round++) {
      x = (x + y) | 0;
      y = rotate(y, ROTATIONS[round % 8]!) ^ x;
      if (round % 4 === 3) {
        const s = (round + 1) / 4;
        x = (x + keys[s % 3]!) | 0;
        y = (y + keys[(s + 1) % 3]! + s) | 0;
      }
    }
    return x >>> 0;
  },
});

/** a = b, as bool, with broadcasting. NaN equals nothing. */
export const eq = (a: TensorLike, b: TensorLike): Tensor => binaryNode(eqOp, a, b, "any", "bool");
/** a ≠ b, as bool, with broadcasting. */
export const ne = (a: TensorLike, b: TensorLike): Tensor => binaryNode(neOp, a, b, "any", "bool");
/** a < b, as bool, with broadcasting. */
export const lt = (a: TensorLike, b: TensorLike): Tensor => binaryNode(ltOp, a, b, "any", "bool");
/** a ≤ b, as bool, with broadcasting. */
export const le = (a: TensorLike, b: TensorLike): Tensor => binaryNode(leOp, a, b, "any", "bool");
/** a > b, as bool, with broadcasting. */
export const gt = (a: TensorLike, b: TensorLike): Tensor => binaryNode(gtOp, a, b, "any", "bool");
/** a ≥ b, as bool, with broadcasting. */
export const ge = (a: TensorLike, b: TensorLike): Tensor => binaryNode(geOp, a, b, "any", "bool");

/** Logical and of bools, bitwise and of integers, with broadcasting. */
export const and = (a: TensorLike, b: TensorLike): Tensor => binaryNode(andOp, a, b, "logic");
/** Logical or of bools, bitwise or of integers, with broadcasting. */
export const or = (a: TensorLike, b: TensorLike): Tensor => binaryNode(orOp, a, b, "logic");
/** Exclusive or, with broadcasting. */
export const xor = (a: TensorLike, b: TensorLike): Tensor => binaryNode(xorOp, a, b, "logic");
/** Logical not of a bool, all bits turned over of an integer. */
export function not(x: Tensor): Tensor {
  if (isFloat(x.dtype))
    throw new DTypeError({ where: "not", expected: "a bool or integer tensor", got: x.dtype });
  return unaryNode(notOp, x);
}
/** Integers with their bits moved to the left (count modulo 32). */
export const shiftLeft = (a: TensorLike, b: TensorLike): Tensor => binaryNode(shiftLeftOp, a, b, "integer");
/** Integers with their bits moved to the right (count modulo 32); the sign of i32 is kept. */
export const shiftRight = (a: TensorLike, b: TensorLike): Tensor => binaryNode(shiftRightOp, a, b, "integer");

/**
 * a where `condition` holds, else b, with broadcasting. A condition that is no bool counts as "not 0". The gradient goes
 * to the branch that was taken; the other gets zeros even where its value is NaN or infinite.
 */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  const dtype = commonDType(a, b);
  const nodes = [castNode(condition.node, "bool"), operandNode(a, dtype), operandNode(b, dtype)];
  let dims: readonly number[] | null = null;
  for (const node of nodes) {
    if (node.op === scalarOp) continue;
    dims = dims === null ? node.shape.dims : broadcastDims("where", dims, node.shape.dims);
  }
  const shape = internShape(dims ?? []);
  const sources = nodes.map((node) => (node.op === scalarOp ? node : stretch(node, shape)));
  return new Tensor(new Node(whereOp, dtype, shape, null, sources));
}

/** The value in another dtype: see the row for how floats become integers and integers narrower ones. */
export const cast = (x: Tensor, dtype: DType): Tensor =>
  x.dtype === dtype ? unchanged(x) : new Tensor(castNode(x.node, dtype));

/** Word 0 of Threefry-2x32-20 of u32 tensors of one shape, or 0-d scalars beside it. */
export function threefry(k0: Tensor, k1: Tensor, c0: TensorLike, c1: TensorLike): Tensor {
  const nodes = [k0, k1, c0, c1].map((x) => operandNode(x, "u32"));
  const wide = nodes.find((node) => node.shape.dims.length > 0)?.shape ?? internShape([]);
  const sources = nodes.map((node) => (node.op === scalarOp ? node : stretch(node, wide)));
  return new Tensor(new Node(threefryOp, "u32", wide, null, sources));
}

/** True where x is NaN. */
export const isnan = (x: Tensor): Tensor => ne(x, x);

/** True where x is neither NaN nor infinite. */
export const isfinite = (x: Tensor): Tensor =>
  isFloat(x.dtype) ? and(lt(x, Number.POSITIVE_INFINITY), gt(x, Number.NEGATIVE_INFINITY)) : eq(x, x);
