import type { Adaptable, Module, Overlay } from "@lowrank/nn";
import {
  concat,
  ConfigError,
  evaluate,
  matmul,
  type Parameter,
  parameter,
  take,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import type { Adapter } from "./adapter.js";
import { type SelectedLayer, selectLayers, type TargetSelection } from "./targets.js";

export interface LayerInputsOptions<B> extends TargetSelection {
  /** Which positions of a batch count, by their number over all axes but the last: those of no padding. Default: all. */
  tokens?: (batch: B) => readonly number[];
}

/** Batches for a model, and how it takes one: `forward` builds the pass, of which only what the layers need is computed. */
export interface Calibration<B> {
  batches: Iterable<B> | AsyncIterable<B>;
  forward: (batch: B) => unknown;
}

/** A layer with whatever is on it, whose inputs are kept. */
class Probe implements Overlay {
  readonly seen: Tensor[] = [];
  constructor(private readonly below: Overlay | null) {}

  forward(input: Tensor, layer: Adaptable): Tensor {
    this.seen.push(input);
    return this.below === null ? layer.withWeight(input, layer.weight) : this.below.forward(input, layer);
  }

  *parameters(): Generator<[string, Parameter]> {
    if (this.below !== null) yield* this.below.parameters();
  }
}

/** What the layers are given in the pass that `forward` builds, by path: one tensor for each call. */
function probed(
  model: Module,
  layers: readonly SelectedLayer[],
  forward: () => unknown,
): Map<string, Tensor[]> {
  const modes = [...model.namedModules()].map(([, module]) => [module, module.training] as const);
  const probes = layers.map(({ layer }) => [layer, layer._overlay, new Probe(layer._overlay)] as const);
  try {
    model.eval();
    for (const [layer, , probe] of probes) layer._overlay = probe;
    if (forward() instanceof Promise) {
      throw new ConfigError({
        where: "layerInputs",
        expected: "forward to build a pass",
        got: "a promise",
        hint: "wait for what the batch needs in the batches",
      });
    }
  } finally {
    for (const [layer, overlay] of probes) layer._overlay = overlay;
    for (const [module, training] of modes) module.training = training;
  }
  return new Map(layers.map(({ path }, i) => [path, probes[i]![2].seen]));
}

/**
 * What linear layers of a model are given, batch by batch: rows [tokens, in] by the path of the layer, lazy, so that only what is
 * made of them is computed, and nothing is kept from one batch to the next. Layers that are given the same tensor (queries,
 * keys and values) have the same rows, as one tensor. The model is in evaluation mode meanwhile and computes with the
 * adapters that are on it; layers that a batch does not reach are left out.
 *
 * @example
 * ```ts
 * for await (const inputs of layerInputs(model, { batches, forward: (ids) => model.forward(ids) }, { targets: "all-linear" }))
 *   for (const [path, rows] of inputs) console.log(path, await rows.square().mean().item());
 * ```
 * @throws ConfigError if no layer matches.
 * @category Starts from data
 */
export async function* layerInputs<B>(
  model: Module,
  { batches, forward }: Calibration<B>,
  { tokens, ...selection }: LayerInputsOptions<B>,
): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  const layers = selectLayers(model, { name: "layerInputs" } as Adapter, selection, { where: "layerInputs" });
  for await (const batch of batches) {
    const seen = probed(model, layers, () => forward(batch));
    const chosen = tokens && Int32Array.from(tokens(batch));
    const ids = chosen && tensor(chosen, { dtype: "i32", shape: [chosen.length] });
    const flat = new Map<Tensor, Tensor>();
    const rowsOf = (x: Tensor): Tensor => {
      if (!flat.has(x)) {
        const all = x.reshape([-1, x.shape.at(-1)!]);
        flat.set(x, ids === undefined ? all : take(all, ids, 0));
      }
      return flat.get(x)!;
    };
    const reached = [...seen].filter(([, inputs]) => inputs.length > 0);
    yield new Map(
      reached.map(([path, inputs]) => [
        path,
        inputs.length === 1 ? rowsOf(inputs[0]!) : concat(inputs.map(rowsOf), 0),
      ]),
    );
  }
}

/** Paths of the layers that share rows, by those. */
export function bySharedRows(inputs: ReadonlyMap<string, Tensor>): Map<Tensor, string[]> {
  const sharing = new Map<Tensor, string[]>();
  for (const [path, rows] of inputs) sharing.set(rows, [...(sharing.get(rows) ?? []), path]);
  return sharing;
}

/** The mean of x xᵀ over what a layer was given. */
export interface SecondMoment {
  /** [in, in] */
  moment: Tensor;
  /** How many inputs x it is of. */
  tokens: number;
}

/**
 * The second moments Σ x xᵀ / n of what linear layers are given, over all batches: one matrix [in, in] for layers that share
 * their inputs, added to batch by batch.
 *
 * @throws ConfigError if no layer matches, or no batch has come.
 * @category Starts from data
 */
export async function secondMoments<B>(
  model: Module,
  calibration: Calibration<B>,
  options: LayerInputsOptions<B>,
): Promise<Map<string, SecondMoment>> {
  const sums = new Map<string, { paths: string[]; sum: Parameter; tokens: number }>();
  for await (const inputs of layerInputs(model, calibration, options)) {
    const updates = [...bySharedRows(inputs)].map(([rows, paths]) => {
      const width = rows.shape[1]!;
      const key = paths.join(" ");
      const one = sums.get(key) ?? { paths, sum: parameter(zeros([width, width])), tokens: 0 };
      sums.set(key, { ...one, tokens: one.tokens + rows.shape[0]! });
      const x = rows.astype("f32");
      return one.sum.assign(one.sum.add(matmul(x.T, x)));
    });
    await evaluate(...updates);
  }
  if (sums.size === 0)
    throw new ConfigError({ where: "secondMoments", expected: "batches for the model", got: "none" });
  const whole = new Map<string, { sum: Tensor; tokens: number }>();
  for (const { paths, sum, tokens } of sums.values()) {
    for (const path of paths) {
      const before = whole.get(path);
      whole.set(
        path,
        before ? { sum: before.sum.add(sum), tokens: before.tokens + tokens } : { sum, tokens },
      );
    }
  }
  const shared = new Map<Tensor, Tensor>();
  return new Map(
    [...whole].map(([path, { sum, tokens }]) => {
      if (!shared.has(sum)) shared.set(sum, sum.div(Math.max(tokens, 1)));
      return [path, { moment: shared.get(sum)!, tokens }];
    }),
  );
}
