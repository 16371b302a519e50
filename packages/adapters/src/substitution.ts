import { forwardContext, withContext } from "@lowrank/nn";
import type { Parameter, Tensor } from "@lowrank/tensor";

/** Under this name in the context of a forward pass. */
const EXTRA = "adapters/substitution";

/** Runs `f` so that adapters which read `substituted` have these values in place of their parameters'. Nothing is written. */
export function withSubstitution<T>(values: ReadonlyMap<Parameter, Tensor>, f: () => T): T {
  return withContext({ extras: new Map(forwardContext().extras).set(EXTRA, values) }, f);
}

/** Parameters as the pass has them. */
export function substituted<P extends object>(params: P, extras: ReadonlyMap<string, unknown>): P {
  const values = extras.get(EXTRA) as ReadonlyMap<unknown, Tensor> | undefined;
  if (values === undefined) return params;
  return Object.fromEntries(Object.entries(params).map(([field, p]) => [field, values.get(p) ?? p])) as P;
}
