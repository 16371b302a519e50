import type { Key } from "@lowrank/tensor";

/** What a forward pass knows beside its inputs. */
export interface ForwardContext {
  /** Source of the random numbers of this pass (dropout), or null where it draws none. */
  readonly key: Key | null;
  /** Facts that a caller hands to the layers of one pass (feature ids, routing, ...), by name. */
  readonly extras: ReadonlyMap<string, unknown>;
}

interface Scope extends ForwardContext {
  /** How many keys this pass has handed out without a name. */
  draws: number;
}

let current: Scope = { key: null, extras: /* @__PURE__ */ new Map(), draws: 0 };

/** The context of the forward pass that is being built. */
export const forwardContext = (): ForwardContext => current;

/**
 * Runs `f` with a context. Building a graph is synchronous, so the context belongs to this call and to nothing else: two
 * requests that take turns never see each other's.
 *
 * @example
 * ```ts
 * const { value, grads } = withContext({ key: key(seed).fold(step) }, () => step(batch));
 * ```
 */
export function withContext<T>(context: Partial<ForwardContext>, f: () => T): T {
  const before = current;
  current = { key: context.key ?? before.key, extras: context.extras ?? before.extras, draws: 0 };
  try {
    return f();
  } finally {
    current = before;
  }
}

/** The next unnamed key of this pass, or null if the pass has none: the n-th call of a pass always gets the same. */
export function nextKey(): Key | null {
  return current.key === null ? null : current.key.fold(current.draws++);
}
