import { type Adaptable, isAdaptable, type Module, QuantizedWeight } from "@lowrank/nn";
import {
  abs,
  ConfigError,
  evaluate,
  gradients,
  isFloat,
  type Parameter,
  parameter,
  ShapeError,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { attachedTo } from "./attach.js";
import { expectInteger, expectOneOf } from "./expect.js";

export interface ContributionsOptions<B> {
  /** Weights of the same model after it was tuned in full for the task, by path; a parameter that is missing has not changed. */
  tuned: ReadonlyMap<string, Tensor>;
  /** Batches of the task, a few; absolute values are taken for each and then averaged. */
  batches: Iterable<B>;
  /** Loss of a batch, a number in the graph; sums of squares in the paper. */
  loss: (batch: B) => Tensor;
  /** Points N on the way from the model's weights to the tuned ones. Default 20. */
  points?: number;
  /**
   * Where in each of the N pieces its point lies: "end" towards the tuned weights, as in the reference code; "middle", which is
   * exact for a loss that is quadratic in the weights. Default "end".
   */
  rule?: "end" | "middle";
  /** What stands for a layer: the mean of |IG| over its weight, or the sum. Default "mean". */
  over?: "mean" | "sum";
}

/** How much one layer's weight has to do with what tuning gained. */
export interface Contribution {
  /** c, the mean or sum of |IG| over the layer's weight. */
  readonly value: number;
  /** Rows of the weight as a matrix: outputs, or filters. */
  readonly rows: number;
  /** Its columns: inputs, or the numbers of a filter. */
  readonly columns: number;
}

export interface Contributions {
  /** Linear and convolution layers by path, in the model's order. */
  readonly layers: Readonly<Record<string, Contribution>>;
  /** Σ IG with its sign over all parameters, averaged over the batches: tends to what the loss changes by as N grows. */
  readonly total: number;
}

interface Moving {
  readonly parameter: Parameter;
  /** The numbers that it has, kept apart. */
  readonly kept: Tensor;
  /** θ_b in f32 at least. */
  readonly from: Tensor;
  /** θ_t − θ_b */
  readonly way: Tensor;
}

/** Parameters that tuning has moved. */
async function moved(model: Module, tuned: ReadonlyMap<string, Tensor>): Promise<Moving[]> {
  const own = new Map(model.parameters());
  const moving = new Map<Parameter, Moving>(); // a tied weight once
  for (const [path, value] of tuned) {
    const p = own.get(path);
    if (p === undefined || !isFloat(p.dtype) || p instanceof QuantizedWeight) {
      throw new ConfigError({
        where: "contributions",
        expected: "tuned weights for float parameters of the model",
        got: `one for ${JSON.stringify(path)}, ${p === undefined ? "which the model does not have" : "which is stored in codes"}`,
      });
    }
    if (p.shape.join() !== value.shape.join()) {
      throw new ShapeError({
        where: `contributions, ${path}`,
        expected: `tuned weights of shape [${p.shape.join(", ")}]`,
        got: `[${value.shape.join(", ")}]`,
      });
    }
    const kept = tensor(await p.rawData(), { dtype: p.dtype, shape: p.shape });
    const wide = p.dtype === "f64" ? "f64" : "f32";
    const from = kept.astype(wide);
    const way = value.astype(wide).sub(from);
    await evaluate(from, way);
    moving.set(p, { parameter: p, kept, from, way });
  }
  return [...moving.values()];
}

/** Paths of parameters that are the weights of linear or convolution layers. */
function weightLayers(model: Module): Map<Parameter, { path: string; layer: Adaptable }> {
  const found = new Map<Parameter, { path: string; layer: Adaptable }>();
  for (const [path, module] of model.namedModules()) {
    if (isAdaptable(module) && module.kind !== "embedding") found.set(module.weight, { path, layer: module });
  }
  return found;
}

/**
 * How much each layer of a model contributes to what tuning in full gains on a task: integrated gradients along the straight way
 * from the model's weights θ_b to the tuned ones θ_t,
 *
 *     IG_i = (θ_t − θ_b)_i · (1/N) Σ_n ∂L(θ_b + a_n (θ_t − θ_b)) / ∂θ_i,   c = mean over a layer's weight of |IG_i|
 *
 * with a_n = 1 − n / N ("end") or (n + ½) / N ("middle"), n = 0 … N − 1. The model is run at each point: its parameters are
 * written meanwhile and given back bit for bit at the end, also if something fails. It costs N gradients of all parameters for each batch.
 *
 * Source: Park et al. 2024, arXiv:2408.01099, with the gradients of Xie et al. 2021, "Finding discriminative filters for
 * specific degradations in blind super-resolution", whose code takes the "end" rule with N = 100.
 *
 * @example
 * ```ts
 * const { layers } = await contributions(model, { tuned, batches, loss: ({ x, y }) => model.forward(x).sub(y).square().sum() });
 * const ranks = contributionRanks(layers, { budget: 0.07 });
 * attach(model, lora, { rank: 1 }, { targets: Object.keys(ranks), rankPattern: rankPattern(ranks) });
 * ```
 * @throws ConfigError if adapters are on the model, weights are in codes, or a batch is missing; ShapeError for tuned weights of another shape.
 * @category Choice of ranks
 */
export async function contributions<B>(
  model: Module,
  options: ContributionsOptions<B>,
): Promise<Contributions> {
  const { tuned, batches, loss, points = 20, rule = "end", over = "mean" } = options;
  expectInteger("contributions", "points", points, { min: 1 });
  expectOneOf("contributions", "rule", rule, ["end", "middle"]);
  expectOneOf("contributions", "over", over, ["mean", "sum"]);
  const examples = [...batches];
  if (examples.length === 0 || attachedTo(model).length > 0) {
    throw new ConfigError({
      where: "contributions",
      expected: "a model without adapters, and batches",
      got:
        examples.length === 0
          ? "no batch"
          : `adapters ${attachedTo(model)
              .map(({ name }) => name)
              .join(", ")}`,
    });
  }
  const moving = await moved(model, tuned);
  const layers = weightLayers(model);
  const sums = new Map<Parameter, number>();
  let total = 0;
  try {
    for (const batch of examples) {
      const slopes = moving.map(({ from }) =>
        parameter(zeros(from.shape, { dtype: from.dtype }), { trainable: false }),
      );
      for (let n = 0; n < points; n++) {
        const a = rule === "end" ? 1 - n / points : (n + 0.5) / points;
        await evaluate(...moving.map(({ parameter: p, from, way }) => p.assign(from.add(way.mul(a)))));
        const found = gradients(
          loss(batch),
          moving.map(({ parameter: p }) => p),
        );
        await evaluate(...slopes.map((sum, i) => sum.assign(sum.add(found[i]!))));
      }
      for (const [i, { parameter: p, way }] of moving.entries()) {
        const IG = way.mul(slopes[i]!).mul(1 / points);
        const [signed, size] = [IG.sum(), layers.has(p) ? abs(IG).sum() : zeros([])];
        await evaluate(signed, size);
        total += (await signed.item()) / examples.length;
        sums.set(p, (sums.get(p) ?? 0) + (await size.item()) / examples.length);
        slopes[i]!.dispose();
      }
    }
  } finally {
    for (const { parameter: p, kept } of moving) p.replace(kept);
  }
  const entries = [...layers].map(([weight, { path, layer }]): [string, Contribution] => {
    const sum = sums.get(weight) ?? 0;
    const [rows, columns] = layer.denseWeight().shape as [number, number];
    return [path, { value: over === "sum" ? sum : sum / (rows * columns), rows, columns }];
  });
  return { layers: Object.fromEntries(entries), total };
}
