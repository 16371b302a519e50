import { ConfigError, type Tensor } from "@lowrank/tensor";
import { type AtomicWriteOptions, type FileContent, writeFileAtomic } from "./atomic-write.js";
import type { CausalLM } from "./causal-lm.js";
import { modelMetadata } from "./gguf-model-metadata.js";
import { ggufName } from "./gguf-names.js";
import { type GgufWritableType, quantizeGguf } from "./gguf-quantize.js";
import { tokenizerMetadata } from "./gguf-tokenizer-metadata.js";
import type { GgufValue } from "./gguf-types.js";
import { ggufChunks, type GgufTensorToWrite } from "./gguf-write.js";
import type { ByteInput, FolderInput } from "./source.js";

export interface GgufModelWriteOptions {
  /**
   * How matrices are stored. With Q4_0 the table of the embedding and the output head are Q8_0, and a matrix whose rows are no
   * multiple of 32 is F16 beside codes. Vectors are F32 always. Default: "F16".
   */
  type?: GgufWritableType;
  /** The tokenizer for the file: a folder with `tokenizer.json`, or a GGUF file. Default: none, and llama.cpp refuses the file. */
  tokenizer?: FolderInput | ByteInput;
  /** Further entries of metadata, such as `general.name`. */
  metadata?: Readonly<Record<string, GgufValue>>;
}

/** `general.file_type`. */
const FILE_TYPES: Readonly<Record<GgufWritableType, number>> = { F32: 0, F16: 1, BF16: 32, Q8_0: 7, Q4_0: 2 };

/**
 * A model as the content of a GGUF file, as llama.cpp reads it: names and the order of rows are those of its converter.
 * Adapters on the model are not part of it; `mergeAndUnload` them first. For browsers, and for {@link saveGguf}.
 *
 * @throws ConfigError for an architecture that GGUF has no name for here, FormatError for a tokenizer that it has no place for.
 */
export async function toGguf(
  model: CausalLM,
  { type = "F16", tokenizer, metadata = {} }: GgufModelWriteOptions = {},
): Promise<AsyncIterable<Uint8Array>> {
  const { architecture, entries, heads, kvHeads, divisors } = modelMetadata(model.configJson("float32"));
  entries.set("general.file_type", { type: "u32", value: FILE_TYPES[type] });
  if (type === "Q8_0" || type === "Q4_0")
    entries.set("general.quantization_version", { type: "u32", value: 2 });
  if (tokenizer !== undefined) {
    for (const [key, value] of await tokenizerMetadata(tokenizer, model.config.vocabSize))
      entries.set(key, value);
  }
  for (const [key, value] of Object.entries(metadata)) entries.set(key, value);

  const tensors = new Map<string, GgufTensorToWrite>();
  if (divisors !== null)
    tensors.set("rope_freqs.weight", { type: "F32", shape: [divisors.length], data: divisors });
  for (const [path, p] of model.state()) {
    const name = ggufName(path);
    if (name === undefined) {
      throw new ConfigError({ where: "saveGguf", expected: "parameters that GGUF has names for", got: path });
    }
    const stored = storedAs(type, name, p);
    const paired = !architecture.pairedRows
      ? 0
      : name.includes(".attn_q.")
        ? heads
        : name.includes(".attn_k.")
          ? kvHeads
          : 0;
    tensors.set(name, {
      type: stored,
      shape: p.shape,
      data: async () => quantizeGguf(stored, pairRows(await numbersOf(p), p.shape, paired)),
    });
  }
  return ggufChunks(tensors, { metadata: entries });
}

function storedAs(type: GgufWritableType, name: string, { ndim, shape }: Tensor): GgufWritableType {
  if (ndim < 2) return "F32";
  if (type !== "Q8_0" && type !== "Q4_0") return type;
  if (shape.at(-1)! % 32 !== 0) return "F16";
  return name === "token_embd.weight" || name === "output.weight" ? "Q8_0" : type;
}

async function numbersOf(p: Tensor): Promise<Float32Array> {
  const data = await p.data();
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** Of each head rows i and i + headDim / 2, which turn together, become neighbours. With 0 heads nothing changes. */
export function pairRows(values: Float32Array, shape: readonly number[], heads: number): Float32Array {
  if (heads === 0) return values;
  const rows = shape[0]!;
  const [width, half] = [values.length / rows, rows / heads / 2];
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const [head, place] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const from = head * 2 * half + (place >> 1) + (place & 1) * half;
    out.set(values.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}

/**
 * Writes a model as a GGUF file (Node); it appears whole or not at all. See {@link toGguf}.
 *
 * @example
 * ```ts
 * await saveGguf(model, "model.gguf", { type: "Q8_0", tokenizer: "path/to/model" });
 * ```
 */
export async function saveGguf(
  model: CausalLM,
  path: string,
  { layer, onPoint, signal, ...options }: GgufModelWriteOptions & AtomicWriteOptions = {},
): Promise<void> {
  const content: FileContent = await toGguf(model, options);
  await writeFileAtomic(path, content, {
    ...(layer === undefined ? {} : { layer }),
    ...(onPoint === undefined ? {} : { onPoint }),
    ...(signal === undefined ? {} : { signal }),
  });
}
