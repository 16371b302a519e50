import { isConvolution, type Module, type ValueAndGrads, valueAndGrad } from "@lowrank/nn";
import { ConfigError, gradients, stopGradient, type Tensor, zeros } from "@lowrank/tensor";
import type { Attached } from "./attach.js";
import { expectNumber } from "./expect.js";
import type { AdapterStack, Entry } from "./stack.js";

export interface JacobianCorrectionOptions {
  /** Learning rate η of the step that the gradients are for. */
  lr: number;
  /** λ, the weight of the term. Default 1, as for CIFAR in the paper; 0 leaves the gradients as they are. */
  strength?: number;
}

interface Place {
  readonly entry: Entry;
  readonly stack: AdapterStack;
}

/** W of the factors alone. */
const composed = ({ adapter, config, target }: Entry, factors: object): Tensor =>
  adapter.merge(zeros(target.weightShape, { dtype: target.dtype }), factors, config, target);

/** A gradient of a layer's weight as [out, in]. */
function asRows({ entry: { target }, stack: { layer } }: Place, J: Tensor): Tensor {
  if (isConvolution(layer)) return J.reshape(target.weightShape);
  return layer.asStored === undefined ? J : J.T;
}

function expectFedPara({ adapter, places, name }: Attached): void {
  const alone = places.every(({ stack }) => stack.entries.length === 1);
  if (adapter.name === "fedPara" && alone) return;
  throw new ConfigError({
    where: "jacobianCorrected",
    expected: "a fedPara adapter that is alone on its layers",
    got: alone ? `${adapter.name} ${JSON.stringify(name)}` : "several adapters on a layer",
  });
}

/**
 * Loss and gradients of what is trainable, those of FedPara's factors with the paper's Jacobian correction. A step of factors
 * does not move their W as a step of W itself would; the correction is the gradient of what is left between the two,
 *
 *     R = λ/2 ‖W(θ') − (W(θ) − η J)‖²_F,   θ' = θ − η ∂L/∂θ,   J = ∂L/∂W
 *
 * with respect to θ', and the step is θ − η (∂L/∂θ + ∂R/∂θ'). It costs W and J for each layer, and a second pass through the
 * factors. For plain SGD with rate η, which the formula is of.
 *
 * Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, the supplementary material's additional technique; that θ' counts as
 * constant in θ, which spares the second derivatives of L, is our reading.
 *
 * @example
 * ```ts
 * const { value, grads } = jacobianCorrected(adapted, () => mse(model.forward(x), y), { lr: 0.1 });
 * await sgd.step(grads, { also: [value] });
 * ```
 * @category Additive adapters
 */
export function jacobianCorrected<M extends Module>(
  attached: Attached<M>,
  loss: () => Tensor,
  { lr, strength = 1 }: JacobianCorrectionOptions,
): ValueAndGrads {
  expectNumber("jacobianCorrected", "lr", lr, { min: 0 });
  expectNumber("jacobianCorrected", "strength", strength, { min: 0 });
  expectFedPara(attached);
  const { value, grads } = valueAndGrad(attached.model, loss)();
  if (strength === 0) return { value, grads };
  const { places } = attached;
  const jacobians = gradients(
    value,
    places.map(({ stack }) => stack.layer.weight),
  );
  const paths = new Map([...attached.parameters()].map(([path, p]) => [p as Tensor, path]));
  for (const [i, place] of places.entries()) {
    const { entry } = place;
    const names = Object.keys(entry.params).filter((name) => entry.params[name]!.trainable);
    const pathOf = (name: string): string => paths.get(entry.params[name]!)!;
    const next: Record<string, Tensor> = { ...entry.params };
    for (const name of names) {
      next[name] = stopGradient(entry.params[name]!.sub(grads.get(pathOf(name))!.mul(lr)));
    }
    const ideal = composed(entry, entry.params).sub(asRows(place, jacobians[i]!).mul(lr));
    const left = composed(entry, next).sub(stopGradient(ideal)).square().sum();
    const corrections = gradients(
      left.mul(strength / 2),
      names.map((name) => next[name]!),
    );
    for (const [k, name] of names.entries()) {
      const path = pathOf(name);
      grads.set(path, grads.get(path)!.add(corrections[k]!));
    }
  }
  return { value, grads };
}
