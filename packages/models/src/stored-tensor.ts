import { type DType, DTypeError, type Tensor, tensor, zeros } from "@lowrank/tensor";
import type { SafetensorsEntry } from "./safetensors.js";
import type { SafetensorsDType } from "./safetensors-dtype.js";
import type { TensorToWrite } from "./safetensors-write.js";

const FLOATS: Partial<Record<SafetensorsDType, DType>> = { F64: "f64", F32: "f32", F16: "f16", BF16: "bf16" };
const NAMES: Partial<Record<DType, SafetensorsDType>> = { f64: "F64", f32: "F32", f16: "F16", bf16: "BF16" };

/** Reads a float tensor of a file in its stored precision; as an outline, zeros in its place. */
export async function loadTensor(entry: SafetensorsEntry, where: string, outline = false): Promise<Tensor> {
  const dtype = FLOATS[entry.dtype];
  if (dtype === undefined) {
    throw new DTypeError({
      where: `${where}, tensor ${entry.name}`,
      expected: `one of ${Object.keys(FLOATS).join(", ")}`,
      got: entry.dtype,
    });
  }
  if (outline) return zeros(entry.shape, { dtype });
  const data = (await entry.array()) as Float64Array | Float32Array | Uint16Array;
  return tensor(data, { dtype, shape: entry.shape });
}

/** A float tensor for a file, fetched when its turn comes. */
export function storedTensor(t: Tensor, dtype: DType = t.dtype): TensorToWrite {
  const name = NAMES[dtype];
  if (name === undefined) {
    throw new DTypeError({ where: "save", expected: `one of ${Object.keys(NAMES).join(", ")}`, got: dtype });
  }
  const read = async (): Promise<ArrayBufferView> => {
    if (dtype === t.dtype) return t.rawData();
    const cast = t.astype(dtype);
    const data = await cast.rawData();
    cast.dispose();
    return data;
  };
  return { dtype: name, shape: t.shape, data: read };
}
