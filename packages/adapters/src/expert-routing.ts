import { forwardContext, withContext } from "@lowrank/nn";
import {
  ceil,
  ConfigError,
  cumsum,
  le,
  oneHot,
  ShapeError,
  softmax,
  stopGradient,
  type Tensor,
  tensor,
  topK,
} from "@lowrank/tensor";

/** What a layer with experts decided for the tokens of a pass; S counts tokens (or sequences), E experts. */
export interface RoutingReport {
  /** Path of the layer. */
  readonly path: string;
  /** The gate's softmax, [S, E]. */
  readonly probabilities: Tensor;
  /** 1 where a token chose an expert, [S, E]. */
  readonly requested: Tensor;
  /** 1 where the expert took it, [S, E]. */
  readonly accepted: Tensor;
  /** The balance term of this layer, before its factor. */
  readonly balance: Tensor;
}

/** What the caller of a pass knows about its tokens. */
export interface Routing {
  /** 1 for tokens, 0 for padding, of the shape of the batch: padding takes no place and counts nowhere. Default: all are tokens. */
  mask?: Tensor;
  /** Experts for each row of the batch, best first, in place of those that the gate would choose; the gate still weighs them. */
  experts?: readonly (readonly number[])[];
  /** Gets the decisions of each layer, as lazy tensors. */
  observe?: (report: RoutingReport) => void;
}

const EXTRA = "adapters/routing";

/**
 * Runs `f` so that adapters with experts route its tokens by what is given here.
 *
 * @example
 * ```ts
 * const loss = withRouting({ mask }, () => regularized(model, () => model.loss(ids, labels)));
 * ```
 * @category Contract
 */
export function withRouting<T>(routing: Routing, f: () => T): T {
  return withContext({ extras: new Map(forwardContext().extras).set(EXTRA, routing) }, f);
}

/** What was given to `withRouting`. */
export const routingIn = (extras: ReadonlyMap<string, unknown>): Routing =>
  (extras.get(EXTRA) as Routing | undefined) ?? {};

export interface RouteOptions {
  readonly path: string;
  /** Experts per token. */
  readonly topK: number;
  /** Factor on the places that an even spread would need, or null for places without end. */
  readonly capacity: number | null;
  /** 1 for tokens, 0 for padding, [S], or null. */
  readonly mask: Tensor | null;
  /** Experts of each token, [S, topK] i32, in place of the gate's, or null. */
  readonly chosen: Tensor | null;
}

/**
 * Sends tokens to experts by gate logits [S, E]: the `topK` with the largest probabilities, of equal ones the first. An
 * expert takes C = ⌈capacity · topK · S / E⌉ tokens, in the order of the batch, all first choices before all second ones.
 *
 * Source: Lepikhin et al. 2020, arXiv:2006.16668, section 2.2 and algorithm 1, for capacity and balance.
 */
export function routeTokens(
  logits: Tensor,
  { path, topK: k, capacity, mask, chosen }: RouteOptions,
): RoutingReport {
  const [tokens, experts] = logits.shape as [number, number];
  const probabilities = softmax(logits); // [S, E]
  const choices = chosen ?? topK(stopGradient(probabilities), k).indices; // [S, K]
  const all = oneHot(choices.T, experts, { dtype: logits.dtype }); // [K, S, E]
  const hot = mask === null ? all : all.mul(mask.reshape([tokens, 1]));
  const real = mask === null ? tokens : mask.sum(); // S without padding
  let taken = hot;
  if (capacity !== null) {
    const places =
      typeof real === "number"
        ? Math.ceil((capacity * k * real) / experts)
        : ceil(real.mul((capacity * k) / experts));
    const place = cumsum(hot.reshape([k * tokens, experts]), 0).reshape(hot.shape); // from 1
    taken = hot.mul(le(place, places).astype(hot.dtype));
  }
  const requested = hot.sum(0);
  // L = (1/E) Σ_e (c_e / S) · mean_s g_se, with counts c_e as constants
  const counts = requested.sum(0).div(real);
  const share = (mask === null ? probabilities : probabilities.mul(mask.reshape([tokens, 1])))
    .sum(0)
    .div(real);
  return { path, probabilities, requested, accepted: taken.sum(0), balance: counts.mul(share).mean() };
}

/** The mask of a pass for S tokens, or null. */
export function maskFor(path: string, { mask }: Routing, tokens: number, like: Tensor): Tensor | null {
  if (mask === undefined) return null;
  if (mask.size !== tokens) {
    throw new ShapeError({
      where: path,
      expected: `a mask for the ${tokens} tokens of the input`,
      got: `[${mask.shape.join(", ")}]`,
    });
  }
  return mask.reshape([tokens]).astype(like.dtype);
}

/** The experts that were given for each row of an input, for each of its tokens: [S, K], or null. */
export function chosenFor(
  path: string,
  { experts }: Routing,
  rows: number,
  perRow: number,
  k: number,
  count: number,
): Tensor | null {
  if (experts === undefined) return null;
  if (experts.length !== rows) {
    throw new ShapeError({
      where: path,
      expected: `an input with an axis of ${experts.length} rows first, those of withRouting`,
      got: `${rows} rows`,
    });
  }
  for (const row of experts) {
    const known = row.every((e) => Number.isInteger(e) && e >= 0 && e < count);
    if (known && row.length === k && new Set(row).size === k) continue;
    throw new ConfigError({
      where: path,
      expected: `${k} different experts from 0 to ${count - 1} for each row`,
      got: JSON.stringify(row),
    });
  }
  const values = experts.flatMap((row) => Array.from({ length: perRow }, () => row).flat());
  return tensor(Int32Array.from(values), { shape: [rows * perRow, k] });
}
