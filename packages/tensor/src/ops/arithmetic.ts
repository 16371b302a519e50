import { defineOp, type OpDef } from "../op.js";
import type { Tensor, TensorLike } from "../tensor.js";
import { inferSame } from "./infer.js";
import { eq, gt, where } from "./logic.js";
import { abs, floor, log, sqrt } from "./math.js";
import { unchanged } from "./movement.js";
import { binaryNode, fit, toFloat, unaryNode } from "./operands.js";

/** A row of two operands of one dtype. The gradients come in the result's shape and are summed for scalars. */
function binary(
  name: string,
  domain: "number" | "float",
  scalar: (a: number, b: number) => number,
  gradient: (
    dy: Tensor,
    a: Tensor,
    b: Tensor,
    y: Tensor,
    needs: readonly boolean[],
  ) => readonly (Tensor | null)[],
  check?: OpDef["check"],
): OpDef {
  return defineOp(name, {
    kind: "elementwise",
    infer: inferSame(name, domain),
    scalar,
    vjp(dy, { inputs: [a, b], outputs: [y], needs }) {
      const [da, db] = gradient(dy, a!, b!, y!, needs);
      return [da && fit(da, a!), db && fit(db, b!)];
    },
    ...(check && { check }),
  });
}

/** a + b. Integers wrap. */
export const addOp = /* @__PURE__ */ binary(
  "add",
  "number",
  (a, b) => a + b,
  (dy) => [dy, dy],
);

/** a − b. Integers wrap. */
export const subOp = /* @__PURE__ */ binary(
  "sub",
  "number",
  (a, b) => a - b,
  (dy, _a, _b, _y, needs) => [dy, needs[1] ? neg(dy) : null],
);

/** a · b. Integers wrap. */
export const mulOp = /* @__PURE__ */ binary(
  "mul",
  "number",
  (a, b) => a * b,
  (dy, a, b, _y, needs) => [needs[0] ? mul(dy, b) : null, needs[1] ? mul(dy, a) : null],
);

/** a / b; integers are divided towards zero, and by zero give 0. */
export const divOp = /* @__PURE__ */ binary(
  "div",
  "number",
  (a, b) => a / b,
  // ∂(a/b)/∂b = −y / b
  (dy, _a, b, y, needs) => [needs[0] ? div(dy, b) : null, needs[1] ? neg(mul(dy, div(y, b))) : null],
  { domain: [0.5, 3] },
);

/**
 * aᵇ. 0⁰ = 1; a negative a with a fractional b is NaN. Gradients at the edges: with respect to a it is 0 for b = 0, and
 * with respect to b it is 0 for a = 0 where the power is finite.
 */
export const powOp = /* @__PURE__ */ binary(
  "pow",
  "float",
  (a, b) => (a === 1 || b === 0 ? 1 : a ** b),
  (dy, a, b, y, needs) => [
    // b · aᵇ⁻¹, with the exponent 0 where b = 0, so that 0 · ∞ does not arise
    needs[0] ? mul(dy, mul(b, pow(a, sub(where(eq(b, 0), 1, b), 1)))) : null,
    // aᵇ · log a, with log 1 at a = 0
    needs[1] ? mul(dy, mul(y, log(where(eq(a, 0), 1, a)))) : null,
  ],
  { domain: [0.5, 2.5], rtol: 1e-5 },
);

// Equal operands share the gradient equally.
const larger = (dy: Tensor, a: Tensor, b: Tensor): Tensor =>
  where(gt(a, b), dy, where(eq(a, b), mul(dy, 0.5), 0));

/** The larger of two; NaN if either is. Where both are equal each gets half of the gradient. */
export const maximumOp = /* @__PURE__ */ binary(
  "maximum",
  "number",
  (a, b) => Math.max(a, b),
  (dy, a, b, _y, needs) => [needs[0] ? larger(dy, a, b) : null, needs[1] ? larger(dy, b, a) : null],
);

/** The smaller of two; NaN if either is. Where both are equal each gets half of the gradient. */
export const minimumOp = /* @__PURE__ */ binary(
  "minimum",
  "number",
  (a, b) => Math.min(a, b),
  (dy, a, b, _y, needs) => [needs[0] ? larger(dy, b, a) : null, needs[1] ? larger(dy, a, b) : null],
);

/** a − b · ⌊a / b⌋: the remainder with the sign of b. Integers by zero give 0. */
export const remainderOp = /* @__PURE__ */ binary(
  "remainder",
  "number",
  (a, b) => {
    const r = a % b;
    return r !== 0 && r < 0 !== b < 0 ? r + b : r;
  },
  (dy, a, b, _y, needs) => [dy, needs[1] ? neg(mul(dy, floor(div(a, b)))) : null],
  { domain: [0.5, 3], atol: 1e-6 },
);

/** The angle of the point (x, y) = (b, a), from −π to π. The gradient at the origin is 0. */
export const atan2Op = /* @__PURE__ */ binary(
  "atan2",
  "float",
  (a, b) => Math.atan2(a, b),
  (dy, a, b, _y, needs) => {
    const r2 = add(mul(a, a), mul(b, b));
    const scaled = div(dy, where(eq(r2, 0), 1, r2));
    return [needs[0] ? mul(scaled, b) : null, needs[1] ? neg(mul(scaled, a)) : null];
  },
  { domain: [0.5, 3] },
);

/** −x. */
export const negOp = /* @__PURE__ */ defineOp("neg", {
  kind: "elementwise",
  infer: /* @__PURE__ */ inferSame("neg", "number"),
  scalar: (x) => -x,
  vjp: (dy) => [neg(dy)],
});

/** a + b with broadcasting. Bools count as i32. */
export const add = (a: TensorLike, b: TensorLike): Tensor => binaryNode(addOp, a, b, "number");

/** a − b with broadcasting. */
export const sub = (a: TensorLike, b: TensorLike): Tensor => binaryNode(subOp, a, b, "number");

/** a · b, element by element, with broadcasting. */
export const mul = (a: TensorLike, b: TensorLike): Tensor => binaryNode(mulOp, a, b, "number");

/** a / b with broadcasting. Integers are divided as f32; see `truncDivide` for whole quotients. */
export const div = (a: TensorLike, b: TensorLike): Tensor => binaryNode(divOp, a, b, "float");

/** The quotient of two integer tensors, cut towards zero; 0 where b is 0. */
export const truncDivide = (a: TensorLike, b: TensorLike): Tensor => binaryNode(divOp, a, b, "integer");

/** The remainder with the sign of b (as Python's %). */
export const remainder = (a: TensorLike, b: TensorLike): Tensor => binaryNode(remainderOp, a, b, "number");

/** The larger of a and b; NaN if either is. */
export const maximum = (a: TensorLike, b: TensorLike): Tensor => binaryNode(maximumOp, a, b, "number");

/** The smaller of a and b; NaN if either is. */
export const minimum = (a: TensorLike, b: TensorLike): Tensor => binaryNode(minimumOp, a, b, "number");

/** The angle of the point (x, y), from −π to π. */
export const atan2 = (y: TensorLike, x: TensorLike): Tensor => binaryNode(atan2Op, y, x, "float");

/** −x. */
export const neg = (x: Tensor): Tensor => (x.dtype === "bool" ? sub(0, x) : unaryNode(negOp, x));

/** x². */
export const square = (x: Tensor): Tensor => mul(x, x);

/**
 * aᵇ with broadcasting; integers count as f32. The numbers 1, 2 and 3 as exponents become products, which are exact and
 * differentiable everywhere.
 */
export function pow(a: TensorLike, b: TensorLike): Tensor {
  if (typeof b === "number" && typeof a !== "number" && (b === 1 || b === 2 || b === 3)) {
    const x = toFloat(a);
    return b === 1 ? unchanged(x) : b === 2 ? mul(x, x) : mul(mul(x, x), x);
  }
  return binaryNode(powOp, a, b, "float");
}

/** x held between two bounds. The gradient is 0 outside them and one half where x meets a bound. */
export function clamp(x: Tensor, { min, max }: { min?: TensorLike; max?: TensorLike }): Tensor {
  const low = min === undefined ? unchanged(x) : maximum(x, min);
  return max === undefined ? low : minimum(low, max);
}

/** a + t · (b − a): a at t = 0, b at t = 1. */
export const lerp = (a: TensorLike, b: TensorLike, t: TensorLike): Tensor => add(a, mul(t, sub(b, a)));

/** √(a² + b²) without overflow; the gradient at the origin is 0. */
export function hypot(a: Tensor, b: Tensor): Tensor {
  const [x, y] = [toFloat(a), toFloat(b)];
  const [p, q] = [abs(x), abs(y)];
  const big = maximum(p, q);
  const safe = where(eq(big, 0), 1, big);
  const ratio = div(minimum(p, q), safe); // from 0 to 1
  return mul(big, sqrt(add(mul(ratio, ratio), 1)));
}
