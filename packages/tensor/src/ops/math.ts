import { isFloat } from "../dtype.js";
import { defineOp, type OpDef } from "../op.js";
import { erf as erf64, erfinv as erfinv64 } from "../reference/erf.js";
import type { Tensor, TensorLike } from "../tensor.js";
import { add, div, maximum, minimum, mul, neg, sub } from "./arithmetic.js";
import { inferSame } from "./infer.js";
import { cast, eq, where } from "./logic.js";
import { toFloat, unaryNode } from "./operands.js";

/** A row of one float operand; `gradient` is dy · f′(x), from x or from y = f(x). */
function unary(
  name: string,
  scalar: (x: number) => number,
  gradient: (dy: Tensor, x: Tensor, y: Tensor) => Tensor | null,
  check?: OpDef["check"],
  domain: "float" | "number" = "float",
): OpDef {
  return defineOp(name, {
    kind: "elementwise",
    infer: inferSame(name, domain),
    scalar,
    vjp: (dy, { inputs: [x], outputs: [y] }) => [gradient(dy, x!, y!)],
    ...(check && { check }),
  });
}

const flat = (): null => null;

function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  const up = rest > 0.5 || (rest === 0.5 && low % 2 !== 0);
  const rounded = up ? low + 1 : low;
  return rounded === 0 && x < 0 ? -0 : rounded;
}

/** |x|. The gradient at 0 is 0. */
export const absOp = /* @__PURE__ */ unary("abs", Math.abs, (dy, x) => mul(dy, sign(x)), undefined, "number");
/** −1, 0 or 1. */
export const signOp = /* @__PURE__ */ unary("sign", Math.sign, flat, undefined, "number");
/** The largest integer not above x. */
export const floorOp = /* @__PURE__ */ unary("floor", Math.floor, flat);
/** The smallest integer not below x. */
export const ceilOp = /* @__PURE__ */ unary("ceil", Math.ceil, flat);
/** x without its fraction. */
export const truncOp = /* @__PURE__ */ unary("trunc", Math.trunc, flat);
/** The nearest integer, halves to the even one. */
export const roundOp = /* @__PURE__ */ unary("round", roundHalfEven, flat);

/** √x; NaN below 0. The gradient at 0 is infinite. */
export const sqrtOp = /* @__PURE__ */ unary("sqrt", Math.sqrt, (dy, _x, y) => mul(dy, div(0.5, y)), {
  domain: [0.1, 4],
});
/** 1 / √x; infinite at 0, with an infinite gradient. */
export const rsqrtOp = /* @__PURE__ */ unary(
  "rsqrt",
  (x) => 1 / Math.sqrt(x),
  (dy, _x, y) => mul(dy, mul(-0.5, mul(y, mul(y, y)))),
  { domain: [0.1, 4] },
);
/** 1 / x. */
export const reciprocalOp = /* @__PURE__ */ unary(
  "reciprocal",
  (x) => 1 / x,
  (dy, _x, y) => neg(mul(dy, mul(y, y))),
  {
    domain: [0.2, 4],
  },
);

/** eˣ. */
export const expOp = /* @__PURE__ */ unary("exp", Math.exp, (dy, _x, y) => mul(dy, y), {
  domain: [-6, 6],
  rtol: 1e-6,
});
/** eˣ − 1, exact for small x. */
export const expm1Op = /* @__PURE__ */ unary("expm1", Math.expm1, (dy, _x, y) => mul(dy, add(y, 1)), {
  domain: [-4, 4],
  rtol: 2e-6,
});
/** The natural logarithm; −∞ at 0, NaN below. */
export const logOp = /* @__PURE__ */ unary("log", Math.log, (dy, x) => div(dy, x), {
  domain: [0.1, 8],
  rtol: 1e-6,
  atol: 1e-7,
});
/** log(1 + x), exact for small x. */
export const log1pOp = /* @__PURE__ */ unary("log1p", Math.log1p, (dy, x) => div(dy, add(x, 1)), {
  domain: [-0.9, 8],
  rtol: 2e-6,
});

/** The sine of x radians. */
export const sinOp = /* @__PURE__ */ unary("sin", Math.sin, (dy, x) => mul(dy, cos(x)), {
  domain: [-8, 8],
  rtol: 1e-6,
  atol: 1e-6,
});
/** The cosine of x radians. */
export const cosOp = /* @__PURE__ */ unary("cos", Math.cos, (dy, x) => neg(mul(dy, sin(x))), {
  domain: [-8, 8],
  rtol: 1e-6,
  atol: 1e-6,
});
/** The tangent of x radians. */
export const tanOp = /* @__PURE__ */ unary("tan", Math.tan, (dy, _x, y) => mul(dy, add(mul(y, y), 1)), {
  domain: [-1.2, 1.2],
  rtol: 4e-6,
});
/** The angle from −π/2 to π/2 whose sine is x. The gradient at ±1 is infinite. */
export const asinOp = /* @__PURE__ */ unary("asin", Math.asin, (dy, x) => mul(dy, rsqrt(sub(1, mul(x, x)))), {
  domain: [-0.9, 0.9],
  rtol: 2e-6,
});
/** The angle from 0 to π whose cosine is x. The gradient at ±1 is infinite. */
export const acosOp = /* @__PURE__ */ unary(
  "acos",
  Math.acos,
  (dy, x) => neg(mul(dy, rsqrt(sub(1, mul(x, x))))),
  {
    domain: [-0.9, 0.9],
    rtol: 2e-6,
  },
);
/** The angle from −π/2 to π/2 whose tangent is x. */
export const atanOp = /* @__PURE__ */ unary("atan", Math.atan, (dy, x) => div(dy, add(mul(x, x), 1)), {
  rtol: 2e-6,
});
/** (eˣ − e⁻ˣ) / 2. */
export const sinhOp = /* @__PURE__ */ unary("sinh", Math.sinh, (dy, x) => mul(dy, cosh(x)), {
  domain: [-4, 4],
  rtol: 4e-6,
});
/** (eˣ + e⁻ˣ) / 2. */
export const coshOp = /* @__PURE__ */ unary("cosh", Math.cosh, (dy, x) => mul(dy, sinh(x)), {
  domain: [-4, 4],
  rtol: 4e-6,
});
/** The hyperbolic tangent. */
export const tanhOp = /* @__PURE__ */ unary("tanh", Math.tanh, (dy, _x, y) => mul(dy, sub(1, mul(y, y))), {
  domain: [-4, 4],
  rtol: 2e-6,
});
/** σ(x) = 1 / (1 + e⁻ˣ). */
export const sigmoidOp = /* @__PURE__ */ unary(
  "sigmoid",
  (x) => 1 / (1 + Math.exp(-x)),
  (dy, _x, y) => mul(dy, mul(y, sub(1, y))),
  { domain: [-6, 6], rtol: 2e-6 },
);
/** erf(x) = 2/√π · ∫₀ˣ e^(−t²) dt. */
export const erfOp = /* @__PURE__ */ unary(
  "erf",
  erf64,
  (dy, x) => mul(dy, mul(2 / Math.sqrt(Math.PI), exp(neg(mul(x, x))))),
  { domain: [-3, 3], rtol: 2e-6 },
);
/** The x with erf(x) = y; ±∞ at ±1, NaN outside. */
export const erfinvOp = /* @__PURE__ */ unary(
  "erfinv",
  erfinv64,
  (dy, _x, y) => mul(dy, mul(Math.sqrt(Math.PI) / 2, exp(mul(y, y)))),
  { domain: [-0.95, 0.95], rtol: 1e-5 },
);

/** |x|; the gradient at 0 is 0. */
export const abs = (x: Tensor): Tensor => (x.dtype === "bool" ? cast(x, "i32") : unaryNode(absOp, x));
/** −1, 0 or 1 by the sign of x; no gradient. */
export const sign = (x: Tensor): Tensor => (x.dtype === "bool" ? cast(x, "i32") : unaryNode(signOp, x));
/** The largest integer not above x; no gradient. */
export const floor = (x: Tensor): Tensor => (isFloat(x.dtype) ? unaryNode(floorOp, x) : x);
/** The smallest integer not below x; no gradient. */
export const ceil = (x: Tensor): Tensor => (isFloat(x.dtype) ? unaryNode(ceilOp, x) : x);
/** x without its fraction; no gradient. */
export const trunc = (x: Tensor): Tensor => (isFloat(x.dtype) ? unaryNode(truncOp, x) : x);
/** The nearest integer, halves to the even one; no gradient. */
export const round = (x: Tensor): Tensor => (isFloat(x.dtype) ? unaryNode(roundOp, x) : x);
/** eˣ. */
export const exp = (x: Tensor): Tensor => unaryNode(expOp, toFloat(x));
/** eˣ − 1, exact for small x. */
export const expm1 = (x: Tensor): Tensor => unaryNode(expm1Op, toFloat(x));
/** The natural logarithm; −∞ at 0, NaN below. */
export const log = (x: Tensor): Tensor => unaryNode(logOp, toFloat(x));
/** log(1 + x), exact for small x. */
export const log1p = (x: Tensor): Tensor => unaryNode(log1pOp, toFloat(x));
/** √x; NaN below 0. The gradient at 0 is infinite: for lengths use `norm`, which has 0 there. */
export const sqrt = (x: Tensor): Tensor => unaryNode(sqrtOp, toFloat(x));
/** 1 / √x. */
export const rsqrt = (x: Tensor): Tensor => unaryNode(rsqrtOp, toFloat(x));
/** 1 / x. */
export const reciprocal = (x: Tensor): Tensor => unaryNode(reciprocalOp, toFloat(x));
/** The sine of x radians. */
export const sin = (x: Tensor): Tensor => unaryNode(sinOp, toFloat(x));
/** The cosine of x radians. */
export const cos = (x: Tensor): Tensor => unaryNode(cosOp, toFloat(x));
/** The tangent of x radians. */
export const tan = (x: Tensor): Tensor => unaryNode(tanOp, toFloat(x));
/** The inverse of the sine, from −π/2 to π/2. */
export const asin = (x: Tensor): Tensor => unaryNode(asinOp, toFloat(x));
/** The inverse of the cosine, from 0 to π. */
export const acos = (x: Tensor): Tensor => unaryNode(acosOp, toFloat(x));
/** The inverse of the tangent, from −π/2 to π/2. */
export const atan = (x: Tensor): Tensor => unaryNode(atanOp, toFloat(x));
/** The hyperbolic sine. */
export const sinh = (x: Tensor): Tensor => unaryNode(sinhOp, toFloat(x));
/** The hyperbolic cosine. */
export const cosh = (x: Tensor): Tensor => unaryNode(coshOp, toFloat(x));
/** The hyperbolic tangent. */
export const tanh = (x: Tensor): Tensor => unaryNode(tanhOp, toFloat(x));
/** σ(x) = 1 / (1 + e⁻ˣ). */
export const sigmoid = (x: Tensor): Tensor => unaryNode(sigmoidOp, toFloat(x));
/** The error function. */
export const erf = (x: Tensor): Tensor => unaryNode(erfOp, toFloat(x));
/** The inverse of the error function; ±∞ at ±1, NaN outside. */
export const erfinv = (x: Tensor): Tensor => unaryNode(erfinvOp, toFloat(x));

/**
 * log(eᵃ + eᵇ) without overflow, with broadcasting. Two operands of −∞ give −∞, and no gradient.
 */
export function logaddexp(a: TensorLike, b: TensorLike): Tensor {
  const high = maximum(a, b);
  const gap = sub(minimum(a, b), high); // ≤ 0, and NaN for equal infinities
  return add(high, log1p(exp(where(eq(a, b), 0, gap))));
}
