import { ConfigError, gradients, type Tensor } from "@lowrank/tensor";
import type { Module } from "./module.js";

export interface ValueAndGrads {
  /** The loss. */
  value: Tensor;
  /** Gradients of the trainable parameters, by path. */
  grads: Map<string, Tensor>;
}

/**
 * Differentiates a loss with respect to what is trainable in `model` at the time of the call. Nothing is computed yet:
 * give the results to an optimizer's `step` or to `evaluate`.
 *
 * @example
 * ```ts
 * const step = valueAndGrad(model, (x: Tensor, y: Tensor) => mse(model.forward(x), y));
 * const { value, grads } = step(x, y);
 * await optimizer.step(grads, { also: [value] });
 * ```
 * @throws ConfigError if nothing is trainable or the loss is no single number.
 */
export function valueAndGrad<A extends unknown[]>(
  model: Module,
  loss: (...args: A) => Tensor,
): (...args: A) => ValueAndGrads {
  return (...args) => {
    const wanted = [...model.trainableParameters()];
    if (wanted.length === 0) {
      throw new ConfigError({
        where: "valueAndGrad",
        expected: "a model with trainable parameters",
        got: "none",
        hint: "attach an adapter, or unfreeze parameters",
      });
    }
    const value = loss(...args);
    if (value.size !== 1) {
      throw new ConfigError({
        where: "valueAndGrad",
        expected: "a loss of one number",
        got: `[${value.shape.join(", ")}]`,
        hint: "reduce it with .mean() or .sum()",
      });
    }
    const found = gradients(
      value,
      wanted.map(([, p]) => p),
    );
    return { value, grads: new Map(wanted.map(([path], i) => [path, found[i]!])) };
  };
}
