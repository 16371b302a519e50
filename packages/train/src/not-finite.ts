import { ConfigError, isfinite, stack, type Tensor } from "@lowrank/tensor";

/** The names whose tensors hold a number that is not finite, in the order given. One plan. */
export async function notFinite(tensors: readonly (readonly [name: string, t: Tensor])[]): Promise<string[]> {
  if (tensors.length === 0) return [];
  const whole = stack(tensors.map(([, t]) => isfinite(t).astype("i32").min()));
  const flags = await whole.data();
  return tensors.filter((_, i) => Number(flags[i]) === 0).map(([name]) => name);
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
