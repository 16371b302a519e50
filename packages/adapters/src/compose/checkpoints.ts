import { checkState, type Module } from "@lowrank/nn";
import { abs, type DType, evaluate, type Tensor } from "@lowrank/tensor";
import type { Adapter } from "../adapter.js";
import { widened } from "../stack.js";
import { selectLayers, type TargetSelection } from "../targets.js";
import { checkMerge, type MergeOptions, mergeTensors } from "./merge-tensors.js";
import { asMatrix, type DenseUpdate } from "./updates.js";

/** Parameters of a model by path: `model.state()`, or what a file holds. */
export type Checkpoint = ReadonlyMap<string, Tensor>;

export interface CheckpointUpdates {
  /** The change of each layer's weight. */
  readonly updates: ReadonlyMap<string, DenseUpdate>;
  /** Paths of parameters that were changed too and that the updates do not hold: biases, norms, layers left out. */
  readonly rest: readonly string[];
}

/** Every kind of layer has a weight that can be taken away from another. */
export const anyLayer = {
  name: "a change of weights",
  kinds: ["linear", "embedding", "conv1d", "conv2d"],
} as unknown as Adapter;

/**
 * What a full fine-tuning has done to the weights of a model: Δ = W_tuned − W, for `truncateUpdates` to make a LoRA of. What else
 * it has changed is named in `rest`, since the LoRA will not have it.
 *
 * @param base The model before.
 * @param tuned Its parameters afterwards.
 * @param selection Which layers, by the rules of `attach`. Default: every linear layer but the output head.
 * @example
 * ```ts
 * const { updates, rest } = await checkpointUpdates(base, tuned.state());
 * const adapted = await attachUpdates(base, await truncateUpdates(updates, { energy: 0.9 }));
 * ```
 * @throws ConfigError for missing, unexpected and misshapen names, or targets that match nothing
 * @category Composition
 */
export async function checkpointUpdates(
  base: Module,
  tuned: Checkpoint,
  selection: TargetSelection = { targets: "all-linear" },
): Promise<CheckpointUpdates> {
  const where = "checkpointUpdates";
  const before = base.state();
  checkState(where, before, tuned);
  const updates = new Map<string, DenseUpdate>();
  const held = new Set<Tensor>();
  for (const { path, layer } of selectLayers(base, anyLayer, selection, { where })) {
    const after = tuned.get(`${path}.weight`);
    // A tied weight stands under the path of the layer that comes first.
    if (after === undefined) continue;
    // A layer that stores its weight turned has it as [out, in] in denseWeight().
    const delta = (layer.asStored === undefined ? wide(after) : wide(after).T).sub(wide(layer.denseWeight()));
    updates.set(path, { kind: layer.kind, delta: asMatrix(delta, layer.kind) });
    held.add(layer.weight);
  }
  const others = [...before].filter(([, p]) => !held.has(p));
  const changes = others.map(([path, p]) => abs(wide(tuned.get(path)!).sub(wide(p))).max());
  await evaluate(...changes, ...[...updates.values()].map(({ delta }) => delta));
  const rest: string[] = [];
  for (const [i, [path]] of others.entries()) if ((await changes[i]!.item()) > 0) rest.push(path);
  return { updates, rest };
}

/** A tensor in f32, or f64 if it has that. */
export const wide = (t: Tensor): Tensor => widened(t, (t.dtype === "f64" ? "f64" : "f32") satisfies DType);

/**
 * Several fine-tunings of one model made into one, parameter by parameter:
 *
 *     θ = θ₀ + rule(θ₁ − θ₀, …, θₙ − θ₀)
 *
 * With the rule "sum" and a weight of −1 what a fine-tuning has learned is taken away (negation); weights of 0.3 to 0.4 each are
 * usual for the sum of several, a density of 0.2 for TIES.
 *
 * Source: Ilharco et al. 2022, arXiv:2212.04089; the other rules as in `mergeTensors`.
 *
 * @throws ConfigError for missing, unexpected and misshapen names, or a setting out of range
 * @category Composition
 */
export async function mergeCheckpoints(
  base: Checkpoint,
  tuned: readonly Checkpoint[],
  options: MergeOptions = {},
): Promise<Map<string, Tensor>> {
  const where = "mergeCheckpoints";
  checkMerge(where, tuned.length, options);
  for (const [i, state] of tuned.entries()) checkState(`${where}, number ${i}`, base, state);
  const merged = new Map<string, Tensor>();
  for (const [path, start] of base) {
    const from = wide(start);
    const changes = tuned.map((state) => wide(state.get(path)!).sub(from));
    const rule = options.key === undefined ? options : { ...options, key: options.key.foldName(path) };
    merged.set(path, from.add(mergeTensors(changes, rule)).astype(start.dtype));
  }
  await evaluate(...merged.values());
  return merged;
}
