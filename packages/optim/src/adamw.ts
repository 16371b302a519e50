import { ConfigError, type Parameter } from "@lowrank/tensor";
import { Optimizer, type OptimizerOptions, type UpdateInput, type UpdateOutput } from "./optimizer.js";

export interface AdamWOptions extends OptimizerOptions {
  /** Decay rates of the two moments. Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  eps?: number;
  /** Decoupled decay, times the learning rate. Default 0.01. */
  weightDecay?: number;
}

/**
 * Adam with decoupled weight decay. For update t, from 1:
 *
 *     m ← β₁ m + (1 − β₁) g
 *     v ← β₂ v + (1 − β₂) g²
 *     p ← p (1 − lr · decay) − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
 *
 * State: `exp_avg` (m) and `exp_avg_sq` (v), PyTorch's names. A decay of 0 gives Adam.
 *
 * Source: Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2, with the learning rate on the decay as in PyTorch
 * (the paper's schedule multiplier η_t is our schedule).
 */
export class AdamW extends Optimizer {
  protected override readonly stateNames = ["exp_avg", "exp_avg_sq"];
  private readonly betas: readonly [number, number];
  private readonly eps: number;

  constructor(parameters: Iterable<readonly [string, Parameter]>, options: AdamWOptions) {
    super("AdamW", parameters, { weightDecay: 0.01, ...options });
    const { betas = [0.9, 0.999], eps = 1e-8 } = options;
    if (!betas.every((b) => b >= 0 && b < 1) || !(eps >= 0)) {
      throw new ConfigError({
        where: "AdamW",
        expected: "betas from 0 to below 1 and eps of at least 0",
        got: `betas [${betas.join(", ")}], eps ${eps}`,
      });
    }
    this.betas = betas;
    this.eps = eps;
  }

  protected override update({ parameter, grad, state, lr, weightDecay, step }: UpdateInput): UpdateOutput {
    const [b1, b2] = this.betas;
    const m = state["exp_avg"]!.mul(b1).add(grad.mul(1 - b1));
    const v = state["exp_avg_sq"]!.mul(b2).add(grad.square().mul(1 - b2));
    const root = v
      .sqrt()
      .mul(1 / Math.sqrt(1 - b2 ** step))
      .add(this.eps);
    const moved = parameter.mul(1 - lr * weightDecay).sub(m.div(root).mul(lr / (1 - b1 ** step)));
    return { parameter: moved, state: { exp_avg: m, exp_avg_sq: v } };
  }
}
