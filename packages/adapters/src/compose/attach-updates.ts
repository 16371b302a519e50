import type { Module } from "@lowrank/nn";
import { ConfigError, type DType, evaluate } from "@lowrank/tensor";
import { attach, type Attached } from "../attach.js";
import { lora } from "../lora.js";
import { selectLayers } from "../targets.js";
import type { LoraUpdates } from "./updates.js";

export interface AttachUpdatesOptions {
  /** Name of the adapter in the model. Default "default". */
  name?: string;
  /** Precision of its parameters. Default f32. */
  dtype?: DType;
  /** Dropout of the LoRA. Default 0. */
  dropout?: number;
}

const escaped = (path: string): string => path.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * Puts updates onto a model as a LoRA: with ranks and alphas by layer, so that it is saved, trained and merged as any other.
 * It does not take the place of the adapters that it was made of; `activate` chooses.
 *
 * @throws ConfigError for a path that the model does not have, with the nearest names, or a taken name; ShapeError for a layer
 * of another size
 * @category Composition
 */
export async function attachUpdates<M extends Module>(
  model: M,
  updates: LoraUpdates,
  { name = "default", dtype = "f32", dropout = 0 }: AttachUpdatesOptions = {},
): Promise<Attached<M>> {
  const where = "attachUpdates";
  if (updates.size === 0)
    throw new ConfigError({ where, expected: "updates of at least one layer", got: "none" });
  const paths = [...updates.keys()];
  const erased = lora as unknown as Parameters<typeof selectLayers>[1];
  // A name also stands for longer paths that end with it; then only an expression says which layers are meant.
  const clear = selectLayers(model, erased, { targets: paths }, { where }).length === paths.length;
  const by = <T>(value: (rank: number, scale: number) => T): Record<string, T> =>
    Object.fromEntries(
      [...updates].map(([path, { A, scale }]) => [`^${escaped(path)}`, value(A.shape[0]!, scale)]),
    );
  const rank = Math.max(...[...updates.values()].map(({ A }) => A.shape[0]!));
  const attached = attach(
    model,
    lora,
    { rank, alpha: rank, dropout },
    {
      name,
      dtype,
      targets: clear ? paths : paths.map(escaped).join("|"),
      rankPattern: by((r) => r),
      alphaPattern: by((r, scale) => r * scale),
    },
  );
  try {
    await evaluate(
      ...attached.places.flatMap(({ entry: { params, target } }) => {
        const { A, B } = updates.get(target.path)!;
        return [
          params["A"]!.assign(A.reshape(params["A"]!.shape)),
          params["B"]!.assign(B.reshape(params["B"]!.shape)),
        ];
      }),
    );
  } catch (error) {
    attached.detach();
    throw error;
  }
  return attached;
}
