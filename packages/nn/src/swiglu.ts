import { type DType, type Key, silu, type Tensor } from "@lowrank/tensor";
import { Linear } from "./linear.js";
import { Module } from "./module.js";

export interface SwiGLUOptions {
  /** Default false. */
  bias?: boolean;
  key?: Key;
  dtype?: DType;
}

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
    return this.down_proj.forward(silu(this.gate_proj.forward(x)).mul(this.up_proj.forward(x)));
  }
}
