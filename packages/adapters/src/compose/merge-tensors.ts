import {
  abs,
  bernoulli,
  ConfigError,
  eq,
  ge,
  type Key,
  key as makeKey,
  maximum,
  ShapeError,
  sign,
  type Tensor,
  topK,
  where as choose,
  zeros,
} from "@lowrank/tensor";
import { expectNumber, expectOneOf } from "../expect.js";

/** How several changes become one. */
export type MergeRule = "sum" | "prune" | "dare" | "ties" | "dareTies";

export interface MergeOptions {
  /** Factor of each tensor, negative to take it away. Default 1 each. */
  weights?: readonly number[];
  /**
   * - "sum": Σ wᵢ tᵢ, task arithmetic.
   * - "prune": of each tᵢ only the largest entries, then the sum.
   * - "dare": of each tᵢ random entries, divided by the density so that their mean stays, then the sum.
   * - "ties": the largest entries, a sign elected for each place, and the weighted mean of those that have it.
   * - "dareTies": random entries, then elected as with "ties".
   *
   * Default "sum".
   */
  by?: MergeRule;
  /** Share of the entries that is kept, above 0 up to 1. Default 1 for "sum", needed by the others. */
  density?: number;
  /** Whether the sign of a place is that of the sum of the entries there or that of the most of them. Default "sum". */
  elect?: "sum" | "count";
  /** For "dare" and "dareTies". Default `key(0)`. */
  key?: Key;
}

const RULES: readonly MergeRule[] = ["sum", "prune", "dare", "ties", "dareTies"];

/** @throws ConfigError for an unknown rule, a density that is missing or out of range, or another number of weights */
export function checkMerge(where: string, count: number, options: MergeOptions): void {
  const { weights, by = "sum", density, elect = "sum" } = options;
  expectOneOf(where, "by", by, RULES);
  expectOneOf(where, "elect", elect, ["sum", "count"]);
  if (count === 0) throw new ConfigError({ where, expected: "at least one to merge", got: "none" });
  if (weights !== undefined && weights.length !== count) {
    throw new ConfigError({ where, expected: `${count} weights`, got: String(weights.length) });
  }
  for (const w of weights ?? []) expectNumber(where, "each weight", w);
  if (by === "sum" ? density !== undefined : !(typeof density === "number" && density > 0 && density <= 1)) {
    throw new ConfigError({
      where,
      expected: by === "sum" ? 'no density beside "sum"' : `density above 0, up to 1, for "${by}"`,
      got: String(density),
    });
  }
}

/** The ⌊density · size⌋ entries of largest magnitude (and what is equal to the last of them), zeros elsewhere. */
function largest(t: Tensor, density: number): Tensor {
  const kept = Math.floor(density * t.size);
  if (kept === t.size) return t;
  if (kept === 0) return zeros(t.shape, { dtype: t.dtype });
  const magnitude = abs(t);
  const least = topK(magnitude.reshape([-1]), kept).values.slice([[kept - 1, kept]]);
  return choose(ge(magnitude, least), t, 0);
}

/** Each entry with probability `density`, divided by it. */
const drawn = (t: Tensor, density: number, key: Key): Tensor =>
  density === 1 ? t : choose(bernoulli(t.shape, density, { key }), t.div(density), 0);

const sum = (ts: readonly Tensor[]): Tensor => ts.reduce((a, b) => a.add(b));

/** Σ wᵢ tᵢ [sign tᵢ = γ] / max(1, number of them), with γ the elected sign of each place; a sum of 0 elects +. */
function disjointMean(ts: readonly Tensor[], weights: readonly number[], elect: "sum" | "count"): Tensor {
  const votes = elect === "sum" ? sum(ts) : sum(ts.map((t) => sign(t)));
  const elected = choose(ge(votes, 0), 1, -1);
  const agrees = ts.map((t) => eq(sign(t), elected));
  const total = sum(ts.map((t, i) => choose(agrees[i]!, t.mul(weights[i]!), 0)));
  return total.div(maximum(sum(agrees.map((a) => a.astype(total.dtype))), 1));
}

/**
 * Several tensors of one shape made into one: changes of weights, or the factors of them.
 *
 * Source: task arithmetic, Ilharco et al. 2022, arXiv:2212.04089; TIES, Yadav et al. 2023, arXiv:2306.01708, algorithm 1,
 * with weights as in PEFT (they do not vote); DARE, Yu et al. 2023, arXiv:2311.03099, eq. (2) and (3).
 *
 * @throws ConfigError for a setting out of range; ShapeError unless the shapes are equal
 * @category Composition
 */
export function mergeTensors(tensors: readonly Tensor[], options: MergeOptions = {}): Tensor {
  checkMerge("mergeTensors", tensors.length, options);
  const { by = "sum", density = 1, elect = "sum", key = makeKey(0) } = options;
  const weights = options.weights ?? tensors.map(() => 1);
  for (const t of tensors) {
    if (t.shape.join() === tensors[0]!.shape.join()) continue;
    throw new ShapeError({
      where: "mergeTensors",
      expected: `tensors of shape [${tensors[0]!.shape.join(", ")}], as the first`,
      got: `[${t.shape.join(", ")}]`,
    });
  }
  const kept = tensors.map((t, i) =>
    by === "prune" || by === "ties" ? largest(t, density) : drawn(t, density, key.fold(i)),
  );
  if (by === "ties" || by === "dareTies") return disjointMean(kept, weights, elect);
  return sum(kept.map((t, i) => t.mul(weights[i]!)));
}
