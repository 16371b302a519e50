import { ConfigError, type Parameter } from "@lowrank/tensor";
import { Optimizer, type OptimizerOptions, type UpdateInput, type UpdateOutput } from "./optimizer.js";

export interface SGDOptions extends OptimizerOptions {
  /** Default 0. */
  momentum?: number;
  /** Looks ahead along the momentum. Default false. */
  nesterov?: boolean;
  /** Added to the gradient as decay · p. Default 0. */
  weightDecay?: number;
}

/**
 * Gradient descent with momentum µ:
 *
 *     g ← g + decay · p,   b ← µ b + g,   p ← p − lr · b      (Nesterov: p − lr · (g + µ b))
 *
 * State: `momentum_buffer` (b), none without momentum. Source: Sutskever et al. 2013, "On the importance of
 * initialization and momentum in deep learning", in the form of PyTorch, which has the learning rate outside of b.
 */
export class SGD extends Optimizer {
  protected override readonly stateNames: readonly string[];
  private readonly momentum: number;
  private readonly nesterov: boolean;

  constructor(parameters: Iterable<readonly [string, Parameter]>, options: SGDOptions) {
    super("SGD", parameters, options);
    const { momentum = 0, nesterov = false } = options;
    if (!(momentum >= 0 && momentum < 1) || (nesterov && momentum === 0)) {
      throw new ConfigError({
        where: "SGD",
        expected: "a momentum from 0 to below 1, above 0 with nesterov",
        got: `momentum ${momentum}, nesterov ${nesterov}`,
      });
    }
    this.momentum = momentum;
    this.nesterov = nesterov;
    this.stateNames = momentum > 0 ? ["momentum_buffer"] : [];
  }

  protected override update({ parameter, grad, state, lr, weightDecay }: UpdateInput): UpdateOutput {
    // The group may decay where the optimizer does not, so the term is there only if it is not zero.
    const g = weightDecay === 0 ? grad : grad.add(parameter.mul(weightDecay));
    if (this.momentum === 0) return { parameter: parameter.sub(g.mul(lr)), state: {} };
    const b = state["momentum_buffer"]!.mul(this.momentum).add(g);
    const direction = this.nesterov ? g.add(b.mul(this.momentum)) : b;
    return { parameter: parameter.sub(direction.mul(lr)), state: { momentum_buffer: b } };
  }
}
