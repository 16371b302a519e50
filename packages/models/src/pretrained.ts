import { showDifference, stateDifference } from "@lowrank/nn";
import { type Activations, type DType, DTypeError, type Tensor, tensor } from "@lowrank/tensor";
import { architectureOf } from "./architecture.js";
import { type FileContent, type FolderWriteOptions, writeFolderAtomic } from "./atomic-write.js";
import type { CausalLM } from "./causal-lm.js";
import { readConfigJson } from "./config.js";
import { FormatError } from "./format-error.js";
import { isGgufInput } from "./gguf-input.js";
import { loadGguf } from "./gguf-model.js";
import { openCheckpoint, type SafetensorsEntry } from "./safetensors.js";
import type { SafetensorsDType } from "./safetensors-dtype.js";
import { safetensorsChunks, type TensorToWrite } from "./safetensors-write.js";
import { type ByteInput, type FolderInput, openFolder } from "./source.js";
import { takeValues } from "./take-values.js";

const FLOATS: Partial<Record<SafetensorsDType, DType>> = { F64: "f64", F32: "f32", F16: "f16", BF16: "bf16" };
const NAMES: Partial<Record<DType, SafetensorsDType>> = { f64: "F64", f32: "F32", f16: "F16", bf16: "BF16" };
/** As `torch_dtype` spells it. */
const TORCH: Partial<Record<DType, string>> = {
  f64: "float64",
  f32: "float32",
  f16: "float16",
  bf16: "bfloat16",
};

/** Reads a float tensor of a file in its stored precision. */
export async function loadTensor(entry: SafetensorsEntry, where: string): Promise<Tensor> {
  const dtype = FLOATS[entry.dtype];
  if (dtype === undefined) {
    throw new DTypeError({
      where: `${where}, tensor ${entry.name}`,
      expected: `one of ${Object.keys(FLOATS).join(", ")}`,
      got: entry.dtype,
    });
  }
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

export interface PretrainedOptions {
  /**
   * Precision in which parameters are kept. "stored" keeps that of the file: half precision and the codes of GGUF are
   * widened where they are multiplied, never in a copy. Weights in codes are frozen. Default "stored".
   */
  dtype?: DType | "stored";
  /**
   * How products with codes of GGUF take their other operand, see `quantizedMatmul`: "int8" and "int16" round it for speed.
   * Default "f32", as it is.
   */
  activations?: Activations;
  /**
   * Puts each parameter onto the backend in use as soon as it is read, so that its numbers are in memory once and
   * conversions need room for one tensor. Default false: parameters stay on the host until they are first used, on the
   * backend of then.
   */
  resident?: boolean;
  signal?: AbortSignal;
}

/** Buffers that old checkpoints carry and models compute. */
const IGNORED = /(^|\.)rotary_emb\.inv_freq$/;

/**
 * Loads a model from a Hugging Face folder, `config.json` and `model.safetensors` (or its shards), or from a GGUF file: a path
 * or URL that ends in `.gguf`, a Blob, bytes or a source. The model is in evaluation mode.
 *
 * @example
 * ```ts
 * const model = await fromPretrained("path/to/model");
 * ```
 * @throws ConfigError for an unknown architecture or a field out of range, FormatError for a damaged file or one whose
 * tensors are not those of the architecture.
 */
export async function fromPretrained(
  input: FolderInput | ByteInput,
  options: PretrainedOptions = {},
): Promise<CausalLM> {
  if (isGgufInput(input)) return loadGguf(input, options);
  const { dtype = "stored", resident = false, signal } = options;
  const folder = await openFolder(input);
  const json = await readConfigJson(folder);
  const architecture = architectureOf(json, `${folder.name}/config.json`);
  const archive = await openCheckpoint(folder);
  try {
    const model = architecture.create(json, dtype === "stored" ? {} : { dtype });
    const wanted = model.state();
    const entries = new Map([...archive.tensors].filter(([name]) => !IGNORED.test(name)));
    // A tied head may be in the file again; the table of the embedding holds.
    for (const name of [`${model.outputHead}.weight`]) if (!wanted.has(name)) entries.delete(name);
    const difference = showDifference(stateDifference(wanted, entries));
    if (difference !== "") {
      throw new FormatError({
        format: "safetensors",
        where: archive.name,
        expected: `the ${wanted.size} tensors of ${architecture.name} as config.json describes it`,
        got: difference,
        hint: "check that config.json and the weights belong together",
      });
    }
    await takeValues(model, entries, (entry) => loadTensor(entry, archive.name), { dtype, resident, signal });
    return model.eval() as CausalLM;
  } finally {
    await archive.close();
  }
}

export interface SavePretrainedOptions extends FolderWriteOptions {
  /** Precision in the file. Default: that of each parameter. */
  dtype?: DType;
  /** Further files for the folder, such as those of the tokenizer. */
  files?: ReadonlyMap<string, FileContent>;
}

/** The files of a model folder, by name: `config.json`, `model.safetensors`. For browsers, and for {@link savePretrained}. */
export function pretrainedFiles(model: CausalLM, dtype?: DType): Map<string, FileContent> {
  const state = model.state();
  const main = dtype ?? [...state.values()].find((p) => p.ndim > 1)?.dtype ?? "f32";
  const config = `${JSON.stringify(model.configJson(TORCH[main] ?? "float32"), null, 2)}\n`;
  const tensors = new Map([...state].map(([name, p]) => [name, storedTensor(p, dtype)]));
  return new Map<string, FileContent>([
    ["config.json", config],
    ["model.safetensors", safetensorsChunks(tensors, { metadata: { format: "pt" } })],
  ]);
}

/**
 * Writes a model as Hugging Face libraries read it (Node): the folder appears whole or not at all. Adapters on the model
 * are not part of it; `mergeAndUnload` them first, or save them by themselves.
 */
export async function savePretrained(
  model: CausalLM,
  path: string,
  { dtype, files, ...write }: SavePretrainedOptions = {},
): Promise<void> {
  await writeFolderAtomic(path, new Map([...pretrainedFiles(model, dtype), ...(files ?? [])]), write);
}
