import type { LayerKind } from "@lowrank/nn";
import { ConfigError, ShapeError, type Tensor } from "@lowrank/tensor";
import type { LowRankUpdate } from "../adapter.js";
import type { Attached } from "../attach.js";
import { type Entry, widened } from "../stack.js";

/** Δ = scale · B A of one layer, [out, in] whatever the layer's kind: A is [rank, in], B [out, rank]. */
export interface LoraUpdate extends LowRankUpdate {
  readonly kind: LayerKind;
}

/** The change of one layer's weight as a whole matrix, [out, in] whatever the layer's kind. */
export interface DenseUpdate {
  readonly kind: LayerKind;
  readonly delta: Tensor;
}

/** What an adapter adds to the weights of a model, by the paths of their layers. */
export type LoraUpdates = ReadonlyMap<string, LoraUpdate>;
export type WeightUpdates = ReadonlyMap<string, LoraUpdate | DenseUpdate>;

/** A change of a weight as [out, in]: that of an embedding [in, out] turned, that of a kernel [out, in, ...] flat. */
export const asMatrix = (delta: Tensor, kind: LayerKind): Tensor =>
  kind === "embedding" ? delta.T : delta.reshape([delta.shape[0]!, -1]);

/** Two factors as matrices: a convolution keeps them as kernels. */
function flat({ target }: Entry, { A, B, scale }: LowRankUpdate): LoraUpdate {
  const [rank, out] = [A.shape[0]!, B.shape[0]!];
  if (rank * out !== B.size) {
    throw new ShapeError({
      where: `updates of ${target.path}`,
      expected: `B [out, rank] with the rank of A, ${rank}`,
      got: `[${B.shape.join(", ")}]; a convolution in groups has no such update`,
    });
  }
  return { kind: target.kind, A: A.reshape([rank, -1]), B: B.reshape([out, rank]), scale };
}

/**
 * What an adapter adds to the weights, as two thin factors for each layer: for a LoRA its own A, B and scale, for PiSSA and
 * OLoRA twice the rank, relative to the base as it was. Values are those of now.
 *
 * @throws ConfigError for a method whose change of a weight depends on that weight, such as DoRA; `weightUpdates` and
 * `truncateUpdates` bring that near to a LoRA.
 * @category Composition
 */
export function loraUpdates(attached: Attached): LoraUpdates {
  const { adapter, places } = attached;
  if (adapter.factors === undefined) {
    throw new ConfigError({
      where: `loraUpdates of ${JSON.stringify(attached.name)}`,
      expected: "an adapter that adds two thin factors to the weight, whatever that is",
      got: adapter.name,
      hint: "take weightUpdates() of it, the change of each frozen weight, and cut that to a rank with truncateUpdates()",
    });
  }
  return new Map(
    places.map(({ entry }) => [
      entry.target.path,
      flat(entry, adapter.factors!(entry.params, entry.config, entry.target)),
    ]),
  );
}

/**
 * What an adapter of any method does to the frozen weights when it is alone on them, merge(W) − W. A method whose change
 * depends on the weight (DoRA, HRA, OFT) does something else on top of another adapter, so that a sum of these is not the
 * stack of the adapters.
 *
 * @throws ConfigError for an adapter that also changes a bias, which no change of a weight holds.
 * @category Composition
 */
export function weightUpdates(attached: Attached): WeightUpdates {
  return new Map(
    attached.places.map(({ stack: { layer }, entry }) => {
      const { adapter, target, params, config } = entry;
      if (adapter.mergeBias !== undefined && layer.bias !== null) {
        throw new ConfigError({
          where: `weightUpdates of ${JSON.stringify(attached.name)}`,
          expected: "an adapter that changes weights only",
          got: `${adapter.name}, which changes the bias of ${target.path} too`,
        });
      }
      const W = widened(layer.denseWeight(), target.dtype);
      const delta = asMatrix(adapter.merge(W, params, config, target).sub(W), target.kind);
      return [target.path, { kind: target.kind, delta }];
    }),
  );
}

/** Δ = scale · B A. */
export const denseUpdate = (update: LoraUpdate | DenseUpdate): Tensor =>
  "delta" in update ? update.delta : update.B.matmul(update.A).mul(update.scale);
