import { QuantizedWeight } from "@lowrank/nn";
import { type DType, evaluate, type Tensor } from "@lowrank/tensor";
import type { PretrainedModel } from "./pretrained-model.js";

interface TakeOptions {
  dtype: DType | "stored";
  /** Each parameter goes to the backend as soon as it is read. */
  resident: boolean;
  signal?: AbortSignal | undefined;
}

/** Gives a model its parameters, read one after the other. */
export async function takeValues<E>(
  model: PretrainedModel,
  entries: ReadonlyMap<string, E>,
  read: (entry: E, path: string) => Promise<Tensor>,
  { dtype, resident, signal }: TakeOptions,
): Promise<void> {
  const how = dtype === "stored" ? "value" : "own";
  const values = new Map<string, Tensor>();
  for (const [path, entry] of entries) {
    signal?.throwIfAborted();
    const value = await read(entry, path);
    if (resident) await takeNow(model, path, value, how);
    else values.set(path, value);
  }
  if (!resident) model.loadState(values, { dtype: how });
}

/** Gives one parameter its value on the backend; what was read for it on the host is let go of. */
async function takeNow(
  model: PretrainedModel,
  path: string,
  value: Tensor,
  dtype: "own" | "value",
): Promise<void> {
  model.loadState(new Map([[path, value]]), { strict: false, dtype });
  const parameter = model.state().get(path)!;
  await evaluate(...(parameter instanceof QuantizedWeight ? parameter.parts : [parameter]));
}
