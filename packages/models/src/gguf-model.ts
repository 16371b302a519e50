import { isAdaptable, type Module, QuantizedWeight, showDifference, stateDifference } from "@lowrank/nn";
import { type Activations, type DType, type Tensor, tensor, zeros } from "@lowrank/tensor";
import { architectureOf } from "./architecture.js";
import type { CausalLM } from "./causal-lm.js";
import { FormatError, quoteName } from "./format-error.js";
import { type GgufEntry, type GgufFile, openGguf } from "./gguf.js";
import { BLOCK_TYPES, isBlockType } from "./gguf-blocks.js";
import { ggufCodes } from "./gguf-codes.js";
import { ggufArchitecture, ggufConfigJson } from "./gguf-config.js";
import { dequantizeGguf } from "./gguf-dequantize.js";
import { parameterName } from "./gguf-names.js";
import { typedArray } from "./safetensors-dtype.js";
import type { ByteInput } from "./source.js";
import { takeValues } from "./take-values.js";

export interface GgufModelOptions {
  dtype?: DType | "stored";
  activations?: Activations;
  resident?: boolean;
  outline?: boolean;
  signal?: AbortSignal;
}

/** Loads the model of a GGUF file; see `fromPretrained`. */
export async function loadGguf(input: ByteInput, options: GgufModelOptions = {}): Promise<CausalLM> {
  const { dtype = "stored", activations = "f32", resident = false, outline = false, signal } = options;
  const file = await openGguf(input);
  try {
    const json = await ggufConfigJson(file);
    const architecture = architectureOf(json, file.name, "text-generation");
    const model = architecture.create(json, dtype === "stored" ? {} : { dtype });
    const wanted = model.state();
    const entries = namedEntries(file);
    const difference = showDifference(stateDifference(wanted, entries));
    if (difference !== "") {
      throw new FormatError({
        format: "gguf",
        where: file.name,
        expected: `the ${wanted.size} tensors of ${architecture.name} as the metadata describe it`,
        got: difference,
      });
    }
    const coded = dtype === "stored" ? codedPaths(model) : new Set<string>();
    const heads = headsOf(file, json);
    const read = async (entry: Part, path: string): Promise<Tensor> => {
      const inCodes = coded.has(path) && !entry.transposed;
      if (outline) return outlineOf(entry, inCodes, activations);
      const bytes = joinHalves(entry, await entry.bytes(), heads(path));
      return inCodes ? codedTensor(entry, bytes, activations) : plainTensor(entry, bytes);
    };
    await takeValues(model, entries, read, { dtype, resident, signal });
    return model.eval() as CausalLM;
  } finally {
    await file.close();
  }
}

/** A tensor of the file with the shape that the model gives it. */
interface Part extends GgufEntry {
  /** Whether it is the other way round in the file. */
  readonly transposed: boolean;
}

/** The file's tensors under the names of the model's parameters; names that are not known stay as they are. */
function namedEntries(file: GgufFile): Map<string, Part> {
  const { own } = ggufArchitecture(file);
  const entries = new Map<string, Part>();
  for (const [name, entry] of file.tensors) {
    if (name === "rope_freqs.weight") continue; // part of the configuration
    const path = (own?.parameterName ?? parameterName)(name) ?? name;
    if (entries.has(path)) {
      const got = `two, the second ${quoteName(name)}`;
      throw new FormatError({ format: "gguf", where: file.name, expected: `one tensor for ${path}`, got });
    }
    const transposed = own?.transposed.test(path) ?? false;
    entries.set(path, { ...entry, shape: transposed ? [...entry.shape].reverse() : entry.shape, transposed });
  }
  return entries;
}

/** Paths of the parameters that can be kept in codes. */
function codedPaths(model: Module): Set<string> {
  const paths = new Set<string>();
  for (const [path, module] of model.namedModules()) {
    if (isAdaptable(module) && (module.kind === "linear" || module.kind === "embedding"))
      paths.add(`${path}.weight`);
  }
  return paths;
}

/** For a parameter whose rows are stored in pairs, the number of its heads; else 0. */
function headsOf(file: GgufFile, json: Readonly<Record<string, unknown>>): (path: string) => number {
  if (!ggufArchitecture(file).pairedRows) return () => 0;
  return (path) => {
    if (/\.q_proj\.(weight|bias)$/.test(path)) return json["num_attention_heads"] as number;
    return /\.k_proj\.(weight|bias)$/.test(path) ? (json["num_key_value_heads"] as number) : 0;
  };
}

/**
 * Puts rows in the order of Hugging Face: of each head row 2i + j becomes row i + j · headDim / 2. Rows are moved as bytes,
 * so codes stay what they are.
 */
export function joinHalves(
  { shape }: { shape: readonly number[] },
  bytes: Uint8Array,
  heads: number,
): Uint8Array {
  if (heads === 0) return bytes;
  const rows = shape[0]!;
  const [rowBytes, half] = [bytes.length / rows, rows / heads / 2];
  const out = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    const [head, place] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const to = head * 2 * half + (place >> 1) + (place & 1) * half;
    out.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return out;
}

function codedTensor(entry: Part, bytes: Uint8Array, activations: Activations): Tensor {
  if (!isBlockType(entry.type)) return plainTensor(entry, bytes);
  const { bits, groupSize, codes, scales, mins } = ggufCodes(entry.type, bytes);
  const [out, columns] = entry.shape as [number, number];
  const groups = [out, columns / groupSize];
  return new QuantizedWeight({
    codes: tensor(codes, { dtype: bits === 8 ? "i8" : "u8", shape: [out, (columns * bits) / 8] }),
    scales: tensor(scales, { dtype: scales instanceof Uint16Array ? "f16" : "f32", shape: groups }),
    mins: mins === null ? null : tensor(mins, { shape: groups }),
    bits,
    groupSize,
    activations,
  });
}

/** In the precision of the file; codes and doubles become f32. */
function plainTensor({ type, shape, name, transposed }: Part, bytes: Uint8Array): Tensor {
  const turn = <T extends Uint16Array | Float32Array>(values: T): T =>
    transposed ? transpose(values, shape) : values;
  if (type === "F16" || type === "BF16") {
    const halves = turn(typedArray(type, bytes) as Uint16Array);
    return tensor(halves, { dtype: type === "F16" ? "f16" : "bf16", shape });
  }
  return tensor(turn(dequantizeGguf(type, bytes, name)), { shape });
}

/** Numbers in the order of [rows, columns], of those in the order of [columns, rows]. */
function transpose<T extends Uint16Array | Float32Array>(values: T, [rows, columns]: readonly number[]): T {
  const out = values.slice() as T;
  for (let row = 0; row < rows!; row++) {
    for (let column = 0; column < columns!; column++)
      out[row * columns! + column] = values[column * rows! + row]!;
  }
  return out;
}

/** Zeros in place of a tensor, in the precision or the codes that it would be kept in. */
function outlineOf({ type, shape }: GgufEntry, coded: boolean, activations: Activations): Tensor {
  if (!coded || !isBlockType(type)) {
    return zeros(shape, { dtype: type === "F16" ? "f16" : type === "BF16" ? "bf16" : "f32" });
  }
  const { group: groupSize, bits, hasMins, halfScale } = BLOCK_TYPES[type];
  const [out, columns] = shape as [number, number];
  const groups = [out, columns / groupSize];
  return new QuantizedWeight({
    codes: zeros([out, (columns * bits) / 8], { dtype: bits === 8 ? "i8" : "u8" }),
    scales: zeros(groups, { dtype: halfScale ? "f16" : "f32" }),
    mins: hasMins ? zeros(groups) : null,
    bits,
    groupSize,
    activations,
  });
}
