import { concat, ConfigError, evaluate, type Tensor } from "@lowrank/tensor";
import { checkMerge, type MergeOptions, mergeTensors } from "./merge-tensors.js";
import { checkTruncation, truncateUpdates, type UpdateTruncation } from "./truncate.js";
import {
  type DenseUpdate,
  denseUpdate,
  type LoraUpdate,
  type LoraUpdates,
  type WeightUpdates,
} from "./updates.js";

export interface CombineOptions extends MergeOptions {
  /**
   * What the rule is applied to. "update": the changes Δᵢ of the weights, which is what is meant. "factors": the Aᵢ and the Bᵢ
   * by themselves, cheap, for adapters of one rank that began with the same A; it has cross terms BᵢAⱼ. Default "update".
   */
  on?: "update" | "factors";
  /** Cuts the result, layer by layer. Default: all of it for "sum", else the largest rank among the parts. */
  keep?: UpdateTruncation;
}

/** A layer of those parts that are on it. */
interface Place {
  readonly path: string;
  readonly updates: readonly (LoraUpdate | DenseUpdate)[];
  readonly weights: readonly number[];
}

const outOf = (u: LoraUpdate | DenseUpdate): number => ("delta" in u ? u.delta : u.B).shape[0]!;
const inOf = (u: LoraUpdate | DenseUpdate): number => ("delta" in u ? u.delta : u.A).shape[1]!;
const rankOf = (u: LoraUpdate | DenseUpdate): number =>
  "delta" in u ? Math.min(...(u.delta.shape as [number, number])) : u.A.shape[0]!;
const isLora = (u: LoraUpdate | DenseUpdate): u is LoraUpdate => !("delta" in u);

/** The layers of all parts. @throws ConfigError for a layer that is not the same in two of them */
function placesOf(parts: readonly WeightUpdates[], weights: readonly number[]): Place[] {
  const paths = [...new Set(parts.flatMap((part) => [...part.keys()]))];
  return paths.map((path) => {
    const on = parts.flatMap((part, i) => (part.has(path) ? [i] : []));
    const updates = on.map((i) => parts[i]!.get(path)!);
    const describe = (u: LoraUpdate | DenseUpdate): string => `${u.kind} of ${inOf(u)} in, ${outOf(u)} out`;
    const other = updates.find((u) => describe(u) !== describe(updates[0]!));
    if (other !== undefined) {
      throw new ConfigError({
        where: "combineUpdates",
        expected: `${path} to be a layer of kind ${describe(updates[0]!)} in every part`,
        got: describe(other),
        hint: "the parts belong to different models",
      });
    }
    return { path, updates, weights: on.map((i) => weights[i]!) };
  });
}

// Σ wᵢ sᵢ Bᵢ Aᵢ = [B₁ … Bₙ] [w₁ s₁ A₁; …; wₙ sₙ Aₙ]
function concatenated(updates: readonly LoraUpdate[], weights: readonly number[]): LoraUpdate {
  return {
    kind: updates[0]!.kind,
    A: concat(
      updates.map(({ A, scale }, i) => A.mul(weights[i]! * scale)),
      0,
    ),
    B: concat(
      updates.map(({ B }) => B),
      1,
    ),
    scale: 1,
  };
}

/** The rule on the As and on the Bs, each with the root of what its weight and scale make; the sign goes into A. */
function onFactors({ path, updates, weights }: Place, options: MergeOptions): LoraUpdate {
  const loras = updates.filter(isLora);
  const ranks = updates.map(rankOf);
  if (loras.length < updates.length || ranks.some((r) => r !== ranks[0])) {
    throw new ConfigError({
      where: "combineUpdates",
      expected: `two factors of one rank in every part at ${path}, for on: "factors"`,
      got: loras.length < updates.length ? "a whole matrix" : `ranks ${ranks.join(", ")}`,
      hint: 'use on: "update"',
    });
  }
  const t = loras.map(({ scale }, i) => weights[i]! * scale);
  const merged = (factors: Tensor[], own: number[]): Tensor =>
    mergeTensors(factors, { ...options, weights: own });
  return {
    kind: loras[0]!.kind,
    A: merged(
      loras.map(({ A }) => A),
      t.map((x) => Math.sign(x) * Math.sqrt(Math.abs(x))),
    ),
    B: merged(
      loras.map(({ B }) => B),
      t.map((x) => Math.sqrt(Math.abs(x))),
    ),
    scale: 1,
  };
}

/**
 * Several adapters made into one LoRA: Δ = Σ wᵢ Δᵢ, or what another rule makes of the Δᵢ = sᵢ Bᵢ Aᵢ. The scale sᵢ of each
 * counts once, and the result has scale 1. A layer gets what those parts that are on it give; ranks may differ by layer and part.
 *
 * | here                                            | in PEFT's `add_weighted_adapter` |
 * | ----------------------------------------------- | -------------------------------- |
 * | `{}`: exact, the factors side by side           | `cat`                            |
 * | `{ keep: { rank } }` or `{ keep: { energy } }`  | `svd`                            |
 * | `{ by: "ties", density }`, dare, dareTies, prune | `ties_svd`, ...                  |
 * | `{ on: "factors" }`                             | `linear`                         |
 * | `{ on: "factors", by: "ties", density }`, ...   | `ties`, ...                      |
 *
 * Parts may also be changes in whole (`weightUpdates`, `checkpointUpdates`). Then, and with a rule other than "sum", the result
 * is cut to a rank: the nearest one to what the rule gives.
 *
 * @example
 * ```ts
 * const parts = [loraUpdates(polite), loraUpdates(rude)];
 * const updates = await combineUpdates(parts, { weights: [1, -0.5], keep: { rank: 8 } });
 * const both = await attachUpdates(model, updates, { name: "polite-not-rude" });
 * ```
 * @throws ConfigError for parts of different models, different ranks with `on: "factors"`, or a setting out of range
 * @category Composition
 */
export async function combineUpdates(
  parts: readonly WeightUpdates[],
  options: CombineOptions = {},
): Promise<LoraUpdates> {
  const where = "combineUpdates";
  checkMerge(where, parts.length, options);
  const { by = "sum", on = "update", keep } = options;
  if (keep !== undefined) checkTruncation(where, keep);
  const places = placesOf(parts, options.weights ?? parts.map(() => 1));
  const whole = new Map<string, LoraUpdate | DenseUpdate>();
  for (const place of places) {
    const { path, updates, weights } = place;
    const rule: MergeOptions = { ...options, weights };
    if (options.key !== undefined) rule.key = options.key.foldName(path);
    if (on === "factors") whole.set(path, onFactors(place, rule));
    else if (by === "sum" && updates.every(isLora)) whole.set(path, concatenated(updates, weights));
    else {
      const delta = mergeTensors(updates.map(denseUpdate), rule);
      whole.set(path, { kind: updates[0]!.kind, delta });
    }
  }
  const result = new Map<string, LoraUpdate>();
  for (const { path, updates } of places) {
    const update = whole.get(path)!;
    const most = Math.min(inOf(update), outOf(update));
    const limit = on === "update" && by !== "sum" ? Math.max(...updates.map(rankOf)) : most;
    const cut = keep ?? (isLora(update) && rankOf(update) <= most ? undefined : { rank: limit });
    result.set(
      path,
      cut === undefined
        ? (update as LoraUpdate)
        : (await truncateUpdates(new Map([[path, update]]), cut)).get(path)!,
    );
  }
  await evaluate(...[...result.values()].flatMap(({ A, B }) => [A, B]));
  return result;
}
