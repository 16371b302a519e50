import { expectFloat } from "../dtype.js";
import { Node } from "../node.js";
import { defineOp, type OpDef } from "../op.js";
import { Tensor } from "../tensor.js";
import { add, maximum, minimum, mul, neg, sub } from "./arithmetic.js";
import { ge, gt, where } from "./logic.js";
import { abs, erf, exp, log1p, sigmoid, tanh } from "./math.js";
import { castTo, widen } from "./expect.js";
import { toFloat } from "./operands.js";

const SQRT_HALF = Math.SQRT1_2;
const INV_SQRT_2PI = 1 / Math.sqrt(2 * Math.PI);
const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);

/** A function of one number in terms of simpler ones; its gradient is computed again from the input. */
function activation(
  name: string,
  meaning: (x: Tensor) => Tensor,
  slope: (x: Tensor) => Tensor,
  check: OpDef["check"] = { domain: [-5, 5], rtol: 4e-6, atol: 1e-6 },
): OpDef<null> {
  return defineOp(name, {
    kind: "composite",
    infer([x]) {
      expectFloat(name, "x", x!.dtype);
      return x!;
    },
    // Halves are computed in f32 and rounded once: tanh(x) + 1 in f16 would lose all digits.
    meaning: ([x]) => castTo(meaning(widen(x!)), x!.dtype),
    vjp: (dy, { inputs: [x] }) => [castTo(mul(widen(dy), slope(widen(x!))), x!.dtype)],
    ...(check && { check }),
  });
}

/** max(x, 0). The gradient at 0 is 0. */
export const reluOp = /* @__PURE__ */ defineOp("relu", {
  kind: "composite",
  infer([x]) {
    expectFloat("relu", "x", x!.dtype);
    return x!;
  },
  meaning: ([x]) => maximum(x!, 0),
  // The result decides as well as the input does, and is saved anyway.
  vjp: (dy, { outputs: [y] }) => [where(gt(y!, 0), dy, 0)],
  check: { domain: [-5, 5] },
});

// Φ(x), the cumulative normal distribution.
const normalCdf = (x: Tensor): Tensor => mul(add(erf(mul(x, SQRT_HALF)), 1), 0.5);

/** x · Φ(x) with the error function: Hendrycks and Gimpel 2016, arXiv:1606.08415. */
export const geluOp = /* @__PURE__ */ activation(
  "gelu",
  (x) => mul(x, normalCdf(x)),
  // Φ(x) + x · φ(x)
  (x) => add(normalCdf(x), mul(mul(x, INV_SQRT_2PI), exp(mul(mul(x, x), -0.5)))),
);

const cubic = (x: Tensor): Tensor => mul(mul(x, SQRT_2_OVER_PI), add(mul(mul(x, x), 0.044715), 1));

/** x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2: the approximation of gelu in arXiv:1606.08415, section 2. */
export const geluTanhOp = /* @__PURE__ */ activation(
  "geluTanh",
  (x) => mul(mul(x, 0.5), add(tanh(cubic(x)), 1)),
  (x) => {
    const t = tanh(cubic(x));
    const inner = mul(add(mul(mul(x, x), 3 * 0.044715), 1), SQRT_2_OVER_PI); // d cubic / dx
    return add(mul(add(t, 1), 0.5), mul(mul(mul(x, 0.5), sub(1, mul(t, t))), inner));
  },
);

/** x · σ(x), also called swish: arXiv:1606.08415, arXiv:1710.05941. */
export const siluOp = /* @__PURE__ */ activation(
  "silu",
  (x) => mul(x, sigmoid(x)),
  // σ(x) · (1 + x · (1 − σ(x)))
  (x) => {
    const s = sigmoid(x);
    return mul(s, add(mul(x, sub(1, s)), 1));
  },
);

/** log(1 + eˣ), without overflow. */
export const softplusOp = /* @__PURE__ */ activation(
  "softplus",
  (x) => add(maximum(x, 0), log1p(exp(neg(abs(x))))),
  (x) => sigmoid(x),
);

const node = (op: OpDef<null>, x: Tensor): Tensor => {
  const float = toFloat(x);
  return new Tensor(new Node(op, float.dtype, float.node.shape, null, [float.node]));
};

/**
 * max(x, 0). The gradient at 0 is 0.
 *
 * @category Activations
 */
export const relu = (x: Tensor): Tensor => node(reluOp, x);

/**
 * x · Φ(x), Φ the cumulative normal distribution (arXiv:1606.08415).
 *
 * @category Activations
 */
export const gelu = (x: Tensor): Tensor => node(geluOp, x);

/**
 * The tanh approximation of gelu, `gelu_new` in Hugging Face's configurations (arXiv:1606.08415, section 2).
 *
 * @category Activations
 */
export const geluTanh = (x: Tensor): Tensor => node(geluTanhOp, x);

/**
 * x · σ(x), also called swish.
 *
 * @category Activations
 */
export const silu = (x: Tensor): Tensor => node(siluOp, x);

/**
 * log(1 + eˣ), a smooth relu.
 *
 * @category Activations
 */
export const softplus = (x: Tensor): Tensor => node(softplusOp, x);

/**
 * x where x ≥ 0, else slope · x.
 *
 * @category Activations
 */
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => where(ge(x, 0), x, mul(x, slope));

/**
 * x where x > 0, else α · (eˣ − 1) (arXiv:1511.07289).
 *
 * @category Activations
 */
export const elu = (x: Tensor, alpha = 1): Tensor => {
  const positive = gt(x, 0);
  // exp only sees numbers ≤ 0, so that the branch not taken cannot overflow.
  return where(positive, x, mul(sub(exp(minimum(x, 0)), 1), alpha));
};
