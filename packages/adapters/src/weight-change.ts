import type { Module } from "@lowrank/nn";
import { abs, ConfigError, evaluate, maximum, sqrt, type Tensor } from "@lowrank/tensor";
import { anyLayer, type Checkpoint, wide } from "./compose/checkpoints.js";
import { asMatrix } from "./compose/updates.js";
import { weightOn } from "./stack.js";
import { selectLayers, type TargetSelection } from "./targets.js";

/** How far a weight has moved, on average over its neurons. */
export interface WeightChange {
  /** ΔM, the mean change of a neuron's length. */
  readonly magnitude: number;
  /** ΔD, the mean of 1 − cos of the angle that a neuron has turned by; from 0 to 2. */
  readonly direction: number;
}

export interface LayerChange extends WeightChange {
  readonly path: string;
}

const SMALLEST = 1e-30; // of a neuron that is zero: it has no direction, and keeps the difference finite

/**
 * ΔM and ΔD of one weight [out, in], both scalars:
 *
 *     ΔM = 1/k Σₙ |‖Wₙ‖ − ‖W⁰ₙ‖|,   ΔD = 1/k Σₙ (1 − cos(Wₙ, W⁰ₙ)),   n over the k rows
 *
 * The cosine's distance from 1 is ½ ‖Wₙ/‖Wₙ‖ − W⁰ₙ/‖W⁰ₙ‖‖², which keeps its digits for small turns.
 */
function changeOf(W: Tensor, W0: Tensor): { magnitude: Tensor; direction: Tensor } {
  const length = (V: Tensor): Tensor => sqrt(maximum(V.square().sum(-1, { keepDims: true }), SMALLEST)); // [out, 1]
  const [m, m0] = [length(W), length(W0)];
  return {
    magnitude: abs(m.sub(m0)).mean(),
    direction: W.div(m).sub(W0.div(m0)).square().sum(-1).mean().mul(0.5),
  };
}

/**
 * How far training has moved the weights of a model, layer by layer, in length and in direction: the analysis with which DoRA
 * tells full fine-tuning from LoRA. One call is one checkpoint; collect the points over several and give them to
 * {@link changeTrend}.
 *
 *     ΔM = 1/k Σₙ |‖Wₙ‖ − ‖W⁰ₙ‖|,   ΔD = 1/k Σₙ (1 − cos(Wₙ, W⁰ₙ))
 *
 * n runs over the k neurons of a layer (rows of [out, in], the paper's columns; for an embedding its dimensions). W is the weight
 * with all enabled adapters in it, W⁰ the frozen one, or that of `since` where the model's own weights were trained.
 *
 * Source: Liu et al. 2024, arXiv:2402.09353, eq. (3) and (4).
 *
 * @example
 * ```ts
 * const points = await weightChanges(model, { targets: ["q_proj", "v_proj"] });
 * // [{ path: "layers.0.self_attn.q_proj", magnitude: 0.012, direction: 0.0031 }, ...]
 * ```
 * @throws ConfigError if no layer matches, or `since` has no weight for one
 * @category Analysis
 */
export async function weightChanges(
  model: Module,
  selection: TargetSelection = { targets: "all-linear" },
  since?: Checkpoint,
): Promise<LayerChange[]> {
  const where = "weightChanges";
  const found = selectLayers(model, anyLayer, selection, { where }).map(({ path, layer }) => {
    const then = since === undefined ? layer.denseWeight() : since.get(`${path}.weight`);
    if (then === undefined) {
      throw new ConfigError({
        where,
        expected: `since to have ${path}.weight`,
        got: "none",
        hint: "give a copy of model.state()",
      });
    }
    // What a checkpoint has of a layer that stores its weight turned is turned back.
    const start = since !== undefined && layer.asStored !== undefined ? wide(then).T : wide(then);
    const now = wide(weightOn(layer, layer.weight.dtype === "f64" ? "f64" : "f32"));
    return { path, ...changeOf(asMatrix(now, layer.kind), asMatrix(start, layer.kind)) };
  });
  await evaluate(...found.flatMap(({ magnitude, direction }) => [magnitude, direction]));
  return Promise.all(
    found.map(async ({ path, magnitude, direction }) => ({
      path,
      magnitude: await magnitude.item(),
      direction: await direction.item(),
    })),
  );
}

export interface ChangeTrend {
  /** Pearson's correlation of ΔM with ΔD, from −1 to 1; NaN where one of them does not vary. */
  readonly correlation: number;
  /** Slope of the least-squares line of ΔM over ΔD. */
  readonly slope: number;
}

/**
 * How lengths and directions move together over layers and checkpoints: LoRA changes both in proportion, full fine-tuning and DoRA can
 * change one without the other.
 *
 * Source: Liu et al. 2024, arXiv:2402.09353, section 3.2 and figure 2.
 *
 * @throws ConfigError for less than two points
 * @category Analysis
 */
export function changeTrend(points: readonly WeightChange[]): ChangeTrend {
  if (points.length < 2) {
    throw new ConfigError({
      where: "changeTrend",
      expected: "at least two points",
      got: String(points.length),
    });
  }
  const mean = (f: (p: WeightChange) => number): number =>
    points.reduce((sum, p) => sum + f(p), 0) / points.length;
  const [M, D] = [mean((p) => p.magnitude), mean((p) => p.direction)];
  const both = mean((p) => (p.magnitude - M) * (p.direction - D));
  const [varM, varD] = [mean((p) => (p.magnitude - M) ** 2), mean((p) => (p.direction - D) ** 2)];
  return { correlation: both / Math.sqrt(varM * varD), slope: both / varD };
}
