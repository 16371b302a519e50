import {
  type AtomicWriteOptions,
  type GgufTensorToWrite,
  type GgufValue,
  ggufChunks,
  type GgufWritableType,
  quantizeGguf,
  writeFileAtomic,
} from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import type { Attached } from "./attach.js";
import { type GgufBase, ggufBase, ggufLayerName, pairRows, transposed } from "./gguf-lora-names.js";
import { type LoraConfig, loraScale } from "./lora.js";
import type { Entry } from "./stack.js";

const TYPES = { f32: "F32", f16: "F16", bf16: "BF16" } as const satisfies Record<string, GgufWritableType>;

/** `general.file_type` of llama.cpp: how most tensors are stored. */
const FILE_TYPES = { f32: 0, f16: 1, bf16: 32 } as const;

export interface GgufLoraOptions {
  /** Precision in the file. Default f32. */
  dtype?: keyof typeof TYPES;
  /** `general.name`. Default: none. */
  title?: string;
}

/**
 * The pieces of a GGUF file with a LoRA adapter, as llama.cpp reads it: `general.type` "adapter", `adapter.type` "lora", and for
 * each layer `NAME.weight.lora_a` [rank, in] and `NAME.weight.lora_b` [out, rank]. llama.cpp scales the update of every layer by
 * alpha / rank with one alpha; where a layer has another scale s, B is stored times s · rank / alpha. Rows of B for queries and
 * keys of Llama are in the order that their weights have in GGUF. A of an embedding is stored transposed.
 *
 * Format: https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py
 *
 * @throws ConfigError, before anything is written, for another method than LoRA, a model that llama.cpp has no names for, or a
 * layer where it would do something else.
 */
export function ggufLoraChunks(
  attached: Attached,
  { dtype = "f32", title }: GgufLoraOptions = {},
): AsyncIterable<Uint8Array> {
  const where = "saveGgufLora";
  if (!Object.hasOwn(TYPES, dtype)) {
    throw new ConfigError({ where, expected: `dtype ${Object.keys(TYPES).join(", ")}`, got: String(dtype) });
  }
  if (attached.adapter.name !== "lora") {
    throw new ConfigError({
      where,
      expected: "a LoRA adapter, the method that llama.cpp has",
      got: attached.adapter.name,
      hint: "merge the adapter into the model instead",
    });
  }
  if (attached.full.copies.length > 0) {
    throw new ConfigError({
      where,
      expected: "an adapter without modulesToSave, which llama.cpp has no place for",
      got: attached.full.copies[0]!.path,
      hint: "merge the adapter into the model instead",
    });
  }
  const base = ggufBase(attached.model, where);
  const { alpha, rank } = attached.config as LoraConfig;
  const common = alpha ?? rank;
  if (common === 0) throw new ConfigError({ where, expected: "an alpha other than 0", got: "0" });
  const tensors = new Map<string, GgufTensorToWrite>();
  for (const { entry } of attached.places) {
    const name = ggufLayerName(where, entry.target, base);
    const parts = tensorsOf(entry, base, common, dtype);
    tensors.set(`${name}.lora_a`, parts.a);
    tensors.set(`${name}.lora_b`, parts.b);
  }
  const metadata: Record<string, GgufValue> = {
    "general.architecture": { type: "string", value: base.architecture },
    "general.type": { type: "string", value: "adapter" },
    ...(title === undefined ? {} : { "general.name": { type: "string", value: title } }),
    "general.file_type": { type: "u32", value: FILE_TYPES[dtype] },
    "adapter.type": { type: "string", value: "lora" },
    "adapter.lora.alpha": { type: "f32", value: common },
  };
  return ggufChunks(tensors, { metadata });
}

/** A and B of one layer, read and laid out when their turn comes. */
function tensorsOf(
  { target, params, config }: Entry,
  base: GgufBase,
  alpha: number,
  dtype: keyof typeof TYPES,
): { a: GgufTensorToWrite; b: GgufTensorToWrite } {
  const { rank } = config as LoraConfig;
  const { inFeatures, outFeatures, kind, path } = target;
  const type = TYPES[dtype];
  const numbers = async (field: "A" | "B"): Promise<Float32Array> =>
    Float32Array.from(await params[field]!.data());
  // s · rank / alpha: 1 but for rsLoRA and layers with an alpha of their own
  const factor = (loraScale(config as LoraConfig) * rank) / alpha;
  const heads = base.headsOf(path);
  const embedding = kind === "embedding";
  return {
    a: {
      type,
      shape: embedding ? [inFeatures, rank] : [rank, inFeatures],
      data: async () => {
        const a = await numbers("A");
        return quantizeGguf(type, embedding ? transposed(a, rank) : a);
      },
    },
    b: {
      type,
      shape: [outFeatures, rank],
      data: async () => {
        const b = await numbers("B");
        const scaled = factor === 1 ? b : b.map((x) => x * factor);
        return quantizeGguf(type, heads > 0 ? pairRows(scaled, outFeatures, heads) : scaled);
      },
    },
  };
}

/**
 * Writes a LoRA adapter as llama.cpp loads it beside a model in GGUF (Node); the file appears whole or not at all.
 * See {@link ggufLoraChunks} for what is in it.
 *
 * @example
 * ```ts
 * await saveGgufLora(adapted, "out/adapter.gguf"); // llama-cli -m model.gguf --lora out/adapter.gguf
 * ```
 */
export async function saveGgufLora(
  attached: Attached,
  path: string,
  { dtype, title, ...write }: GgufLoraOptions & AtomicWriteOptions = {},
): Promise<void> {
  const options: GgufLoraOptions = { ...(dtype && { dtype }), ...(title !== undefined && { title }) };
  await writeFileAtomic(path, ggufLoraChunks(attached, options), write);
}
