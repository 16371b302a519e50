import { forwardContext, type Module, withContext } from "@lowrank/nn";
import { ConfigError, evaluate, isFloat, isfinite, stack, Tensor } from "@lowrank/tensor";

/** The names whose tensors hold a number that is not finite, in the order given. One plan. */
export async function notFinite(tensors: readonly (readonly [name: string, t: Tensor])[]): Promise<string[]> {
  if (tensors.length === 0) return [];
  const whole = stack(tensors.map(([, t]) => isfinite(t).all().astype("i32")));
  const flags = await whole.data();
  return tensors.filter((_, i) => Number(flags[i]) === 0).map(([name]) => name);
}

/**
 * Runs a forward pass and tells the first module, in the order in which they end, whose result is not finite. For the
 * moment after something went wrong: it keeps every result of the pass.
 */
export async function firstModuleNotFinite(model: Module, forward: () => Tensor): Promise<string | undefined> {
  const results: [string, Tensor][] = [];
  const undo: (() => void)[] = [];
  for (const [path, module] of model.namedModules()) {
    const own = module as unknown as { forward?: (...args: unknown[]) => unknown };
    const { forward: plain } = own;
    if (typeof plain !== "function" || Object.hasOwn(own, "forward")) continue;
    own.forward = function (this: unknown, ...args: unknown[]) {
      const result = plain.apply(module, args);
      if (result instanceof Tensor && isFloat(result.dtype)) results.push([path, result]);
      return result;
    };
    undo.push(() => delete own.forward);
  }
  try {
    // The same random numbers as the pass that failed.
    const loss = withContext({ key: forwardContext().key }, forward);
    await evaluate(loss, ...results.map(([, t]) => t));
    return (await notFinite(results))[0];
  } finally {
    for (const restore of undo) restore();
  }
}

/** The error for a step that ended in numbers that are not finite. */
export function notFiniteError(step: number, loss: number, culprit: string | undefined): ConfigError {
  return new ConfigError({
    where: `train, step ${step}`,
    expected: "a finite loss and finite gradients",
    got: `loss ${loss}${culprit === undefined ? "" : `; the first that is not finite is ${culprit}`}`,
    hint: "lower the learning rate, or look for broken data in this batch; nothing of this step was saved",
  });
}
