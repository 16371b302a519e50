import type { DType } from "@lowrank/tensor";
import { type FileContent, type FolderWriteOptions, writeFolderAtomic } from "./atomic-write.js";
import type { CausalLM } from "./causal-lm.js";
import { isGgufInput } from "./gguf-input.js";
import { loadGguf } from "./gguf-model.js";
import { modelFromPretrained, type PretrainedOptions } from "./model-from-pretrained.js";
import type { PretrainedModel } from "./pretrained-model.js";
import { checkpointFiles } from "./safetensors-shards.js";
import type { ByteInput, FolderInput } from "./source.js";
import { storedTensor } from "./stored-tensor.js";

/** As `torch_dtype` spells it. */
const TORCH: Partial<Record<DType, string>> = {
  f64: "float64",
  f32: "float32",
  f16: "float16",
  bf16: "bfloat16",
};

/**
 * Loads a model that continues texts from a Hugging Face folder, `config.json` and `model.safetensors` (or its shards), or
 * from a GGUF file: a path or URL that ends in `.gguf`, a Blob, bytes or a source. The model is in evaluation mode. For
 * encoders, classifiers and images see {@link modelFromPretrained}.
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
  return modelFromPretrained(input, { ...options, task: "text-generation" });
}

export interface SavePretrainedOptions extends FolderWriteOptions {
  /** Precision in the file. Default: that of each parameter. */
  dtype?: DType;
  /** Largest data of one file of weights; above it there are several and an index. Default: 5·10⁹ bytes. */
  maxShardBytes?: number;
  /** Further files for the folder, such as those of the tokenizer. */
  files?: ReadonlyMap<string, FileContent>;
}

/**
 * The files of a model folder, by name: `config.json`, `model.safetensors` or its shards. For browsers, and for
 * {@link savePretrained}.
 */
export function pretrainedFiles(
  model: PretrainedModel,
  dtype?: DType,
  maxShardBytes?: number,
): Map<string, FileContent> {
  const state = model.state();
  const main = dtype ?? [...state.values()].find((p) => p.ndim > 1)?.dtype ?? "f32";
  const config = `${JSON.stringify(model.configJson(TORCH[main] ?? "float32"), null, 2)}\n`;
  const tensors = new Map([...state].map(([name, p]) => [name, storedTensor(p, dtype)]));
  return new Map<string, FileContent>([
    ["config.json", config],
    ...checkpointFiles(tensors, { maxShardBytes, metadata: { format: "pt" } }),
  ]);
}

/**
 * Writes a model as Hugging Face libraries read it (Node): the folder appears whole or not at all. Adapters on the model
 * are not part of it; `mergeAndUnload` them first, or save them by themselves.
 */
export async function savePretrained(
  model: PretrainedModel,
  path: string,
  { dtype, maxShardBytes, files, ...write }: SavePretrainedOptions = {},
): Promise<void> {
  const own = pretrainedFiles(model, dtype, maxShardBytes);
  await writeFolderAtomic(path, new Map([...own, ...(files ?? [])]), write);
}
