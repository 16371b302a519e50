import type { Module } from "@lowrank/nn";
import { ConfigError, evaluate, sqrt, type Tensor, zeros } from "@lowrank/tensor";
import type { Adapter } from "./adapter.js";
import type { Attached, AttachOptions } from "./attach.js";
import { attachUpdates } from "./compose/attach-updates.js";
import type { LoraUpdate } from "./compose/updates.js";
import { expectInteger, expectNumber } from "./expect.js";
import { IncrementalPca } from "./incremental-pca.js";
import { bySharedRows, type Calibration, layerInputs, type LayerInputsOptions } from "./layer-inputs.js";
import { lora, type LoraConfig } from "./lora.js";
import { configFor, selectLayers, targetOf } from "./targets.js";

export interface EvaConfig extends Pick<LoraConfig, "rank" | "alpha" | "dropout"> {
  /** A layer has at most rank · rho in the end. At least 1; 1 leaves the ranks as they are. Default 2. */
  rho?: number;
  /** |cosine| between a component and itself before a batch, from which it has converged. Default 0.99. */
  tau?: number;
  /** Whether component i is divided by the root of its singular value. Default false. */
  whiten?: boolean;
  /** Whether alpha follows the rank that a layer gets, so that alpha / rank stays. Default true. */
  adjustAlpha?: boolean;
}

/** How layers are chosen for EVA, and the adapter named. */
export type EvaOptions<B> = LayerInputsOptions<B> &
  Pick<AttachOptions, "name" | "dtype" | "rankPattern" | "alphaPattern">;

/** One layer of those that are adapted. */
interface Place {
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
  readonly outFeatures: number;
}

/** Layers with the same inputs, and the components of those. */
interface Group {
  readonly places: readonly Place[];
  readonly pca: IncrementalPca;
  /** Components that any of its layers may have. */
  readonly most: number;
}

/** Ranks by layer: each goes to the component that explains most of its layer's variance of those that are left. */
function redistribute(groups: readonly Group[]): Map<string, number> {
  const ranks = new Map<string, number>();
  const all: { path: string; ratio: number }[] = [];
  let budget = 0;
  // Of layers with the same inputs the first come first, so that equal components are dealt out in the model's order.
  for (const { places, pca, most } of groups) {
    for (const { path, rank } of places) {
      ranks.set(path, 0);
      budget += rank;
      for (const ratio of pca.ratios.slice(0, most)) all.push({ path, ratio });
    }
  }
  all.sort((a, b) => b.ratio - a.ratio);
  for (const { path } of all.slice(0, budget)) ranks.set(path, ranks.get(path)! + 1);
  return ranks;
}

const needed = ({ places }: Group, ranks: ReadonlyMap<string, number>): number =>
  Math.max(...places.map(({ path }) => ranks.get(path)!));

function hasConverged(group: Group, ranks: ReadonlyMap<string, number> | null, tau: number): boolean {
  const count = ranks === null ? group.most : needed(group, ranks);
  const { similarity } = group.pca;
  return similarity.length >= count && similarity.slice(0, count).every((cosine) => cosine >= tau);
}

function placesOf<B>(model: Module, config: EvaConfig, options: EvaOptions<B>): Map<string, Place> {
  const { rho = 2, tau = 0.99 } = config;
  expectNumber("eva", "rho", rho, { min: 1 });
  expectNumber("eva", "tau", tau, { min: 0, below: 1 + 1e-12 });
  const patterns = { rank: options.rankPattern ?? {}, alpha: options.alphaPattern ?? {} };
  const selected = selectLayers(model, { name: "eva" } as Adapter, options, { where: "attachEva" });
  return new Map(
    selected.map((one) => {
      const target = targetOf(one, options.dtype ?? "f32");
      const { rank, alpha = rank } = configFor(config, patterns, one.path);
      lora.check!({ rank, alpha, dropout: config.dropout }, target);
      expectInteger("eva", "rank", rank, { min: 1 });
      return [one.path, { path: one.path, rank, alpha, outFeatures: target.outFeatures }];
    }),
  );
}

/**
 * Puts a LoRA onto a model that starts from the data: A as the directions in which the inputs of a layer vary most, B at zero,
 * so that the model is as it was; and the ranks of all layers go to where those directions explain most.
 *
 *     A = Vᵣᵀ [r, in],   inputs less their mean = U S Vᵀ,   share of component i = sᵢ² / Σ s²
 *
 * Every layer has up to rank · rho components, and the best of all layers' are kept, as many as rank per layer; a layer without any
 * is not adapted. Batches are taken in, by an incremental decomposition of rank · rho components, until those that are needed
 * no longer turn, or there are no more batches; a layer that has converged rests.
 *
 * Source: Paischer et al. 2024, arXiv:2410.07170, section 3 and algorithm 1. The mean is taken off as in PEFT, whose ranks,
 * alphas and vectors these are but for signs; PEFT decomposes by random sketches. The file is that of a LoRA.
 *
 * @example
 * ```ts
 * const calibration = { batches, forward: (ids: Tensor) => model.forward(ids) };
 * const adapted = await attachEva(model, calibration, { rank: 8, rho: 2 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @throws ConfigError if no layer matches, a setting is out of range, or no batch has come.
 * @category Starts from data
 */
export async function attachEva<M extends Module, B>(
  model: M,
  calibration: Calibration<B>,
  config: EvaConfig,
  options: EvaOptions<B>,
): Promise<Attached<M>> {
  const { rho = 2, tau = 0.99, whiten = false, adjustAlpha = true, dropout } = config;
  const places = placesOf(model, config, options);
  let groups: Group[] | null = null;
  let ranks: Map<string, number> | null = null;
  for await (const inputs of layerInputs(model, calibration, options)) {
    groups ??= [...bySharedRows(inputs)].map(([rows, paths]): Group => {
      const members = paths.map((path) => places.get(path)!);
      const most = Math.min(rows.shape[1]!, Math.max(...members.map(({ rank }) => Math.round(rank * rho))));
      return { places: members, most, pca: new IncrementalPca(rows.shape[1]!, most) };
    });
    const open = groups.filter((group) => !hasConverged(group, ranks, tau));
    if (open.length === 0) break;
    const blocks = open.map(({ places: [first] }) => inputs.get(first!.path)?.astype("f32"));
    await evaluate(...blocks.filter((rows): rows is Tensor => rows !== undefined));
    for (const [i, { pca }] of open.entries()) if (blocks[i] !== undefined) await pca.push(blocks[i]!);
    ranks = redistribute(groups);
  }
  if (groups === null || ranks === null)
    throw new ConfigError({ where: "attachEva", expected: "batches that reach the layers", got: "none" });
  const updates = new Map<string, LoraUpdate>();
  for (const { places: members, pca } of groups) {
    for (const { path, rank, alpha, outFeatures } of members) {
      const own = ranks.get(path)!;
      if (own === 0) continue;
      const V = pca.components.slice([[0, own]]);
      const A = whiten ? V.div(sqrt(pca.singularValues.slice([[0, own]])).reshape([own, 1])) : V;
      const scale = adjustAlpha ? alpha / rank : alpha / own;
      updates.set(path, { kind: "linear", A, B: zeros([outFeatures, own]), scale });
    }
  }
  const { name, dtype } = options;
  return attachUpdates(model, updates, { name, dtype, dropout });
}
