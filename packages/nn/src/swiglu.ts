import { customVjp, type DType, type Key, sigmoid, silu, type Tensor } from "@lowrank/tensor";
import { Linear } from "./linear.js";
import { Module } from "./module.js";

export interface SwiGLUOptions {
  /** Default false. */
  bias?: boolean;
  key?: Key;
  dtype?: DType;
}

/** Halves are computed in f32 and rounded once. */
const widened = (x: Tensor): Tensor => x.astype(x.dtype === "f64" ? "f64" : "f32");

/** silu(g) ∘ u. Gradients read g and u alone, and meet dy last, so that both are one loop behind the product that makes it. */
const gated = /* @__PURE__ */ customVjp(
  (g, u) => silu(g!).mul(u!),
  ({ inputs: [g, u], dys: [dy] }) => {
    const [gate, up, d] = [widened(g!), widened(u!), widened(dy!)];
    const s = sigmoid(gate);
    // d silu(g)/dg = σ(g) (1 + g (1 − σ(g)))
    const slope = s.mul(gate.mul(s.neg().add(1)).add(1));
    return [d.mul(up.mul(slope)), d.mul(gate.mul(s))];
  },
);

/**
 * Gated feed-forward block: y = W_down (silu(W_gate x) ∘ W_up x), with the field names of Llama checkpoints.
 *
 * Source: Shazeer 2020, arXiv:2002.05202, eq. (6).
 */
export class SwiGLU extends Module {
  gate_proj: Linear;
  up_proj: Linear;
  down_proj: Linear;

  constructor(width: number, inner: number, { bias = false, key, dtype }: SwiGLUOptions = {}) {
    super();
    const keys = key?.split(3) ?? [];
    this.gate_proj = new Linear(width, inner, { bias, dtype, key: keys[0] });
    this.up_proj = new Linear(width, inner, { bias, dtype, key: keys[1] });
    this.down_proj = new Linear(inner, width, { bias, dtype, key: keys[2] });
  }

  forward(x: Tensor): Tensor {
    return this.down_proj.forward(gated(this.gate_proj.forward(x), this.up_proj.forward(x))[0]!);
  }
}
