import { forwardContext, type Module, withContext } from "@lowrank/nn";
import type { Tensor } from "@lowrank/tensor";
import { attachedTo } from "./attach.js";

/** Under this name in the context of a forward pass: where layers put terms for the loss. */
const EXTRA = "adapters/terms";

/** Puts a term into the loss of the pass under way, if someone collects them. */
export function addTerm(extras: ReadonlyMap<string, unknown>, term: Tensor): void {
  (extras.get(EXTRA) as Tensor[] | undefined)?.push(term);
}

/**
 * A loss with every term that the adapters on a model ask for: those of their parameters (`penalty`), and those that layers
 * add in the pass that `loss` builds (SiRA's balance).
 *
 * @example
 * ```ts
 * const step = valueAndGrad(model, () => regularized(model, () => mse(model.forward(x), y)));
 * ```
 * @param share Factor of the terms, for a step that sums the losses of several passes. Default 1.
 * @category Contract
 */
export function regularized(
  model: Module,
  loss: () => Tensor,
  { share = 1 }: { share?: number } = {},
): Tensor {
  const terms: Tensor[] = [];
  const extras = new Map(forwardContext().extras).set(EXTRA, terms);
  const value = withContext({ extras }, loss);
  for (const attached of attachedTo(model)) {
    const penalty = attached.penalty();
    if (penalty !== null) terms.push(penalty);
  }
  return terms.reduce((sum, term) => sum.add(share === 1 ? term : term.mul(share)), value);
}
