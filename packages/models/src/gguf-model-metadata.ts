import { ConfigError } from "@lowrank/tensor";
import { type ConfigJson, ConfigReader } from "./config.js";
import { GGUF_ARCHITECTURES, type GgufArchitecture } from "./gguf-config.js";
import type { GgufValue } from "./gguf-types.js";

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });
const text = (value: string): GgufValue => ({ type: "string", value });

export interface ModelMetadata {
  readonly architecture: GgufArchitecture;
  readonly entries: Map<string, GgufValue>;
  readonly heads: number;
  readonly kvHeads: number;
  /** Divisors of the rotary frequencies, which GGUF keeps as a tensor: Llama 3's scaling. */
  readonly divisors: Float32Array | null;
}

/**
 * The metadata of GGUF that describe a model, from its `config.json`.
 *
 * @throws ConfigError for an architecture or a setting that GGUF, or llama.cpp, has no place for.
 */
export function modelMetadata(json: ConfigJson): ModelMetadata {
  const where = "saveGguf";
  const read = new ConfigReader(where, json);
  const className = String((json["architectures"] as unknown[] | undefined)?.[0]);
  // Mistral is llama there, if each query may see all keys.
  const asLlama = className === "MistralForCausalLM" && read.raw("sliding_window") === undefined;
  const written = GGUF_ARCHITECTURES.filter(({ own }) => own === undefined);
  const architecture = written.find((a) => a.className === (asLlama ? "LlamaForCausalLM" : className));
  if (architecture === undefined) {
    throw new ConfigError({
      where,
      expected: `one of ${written.map((a) => a.className).join(", ")}`,
      got: className,
    });
  }
  if (read.boolean("use_sliding_window", false))
    read.fail("use_sliding_window", "false, GGUF has no place for it here");
  const integer = (name: string, fallback?: number): number => read.integer(name, fallback, 0, 2 ** 31 - 1);
  const heads = integer("num_attention_heads");
  const kvHeads = integer("num_key_value_heads", heads);
  const headDim = integer("head_dim", integer("hidden_size") / heads);
  const key = (name: string): string => `${architecture.name}.${name}`;
  const entries = new Map<string, GgufValue>([
    ["general.architecture", text(architecture.name)],
    ["general.type", text("model")],
    [key("block_count"), u32(integer("num_hidden_layers"))],
    [key("context_length"), u32(integer("max_position_embeddings"))],
    [key("embedding_length"), u32(integer("hidden_size"))],
    [key("feed_forward_length"), u32(integer("intermediate_size"))],
    [key("attention.head_count"), u32(heads)],
    [key("attention.head_count_kv"), u32(kvHeads)],
    [key("attention.key_length"), u32(headDim)],
    [key("attention.value_length"), u32(headDim)],
    [key("attention.layer_norm_rms_epsilon"), f32(read.positive("rms_norm_eps"))],
    [key("rope.dimension_count"), u32(headDim)],
    [key("rope.freq_base"), f32(read.positive("rope_theta"))],
    [key("vocab_size"), u32(integer("vocab_size"))],
  ]);
  const scaling = read.nested("rope_scaling");
  const type = scaling?.text("rope_type", "default") ?? "default";
  let divisors: Float32Array | null = null;
  if (scaling !== undefined && type === "llama3") {
    divisors = llama3Divisors(scaling, headDim, read.positive("rope_theta"));
  } else if (scaling !== undefined && (type === "linear" || type === "yarn")) {
    entries.set(key("rope.scaling.type"), text(type));
    entries.set(key("rope.scaling.factor"), f32(scaling.positive("factor")));
    const original = "original_max_position_embeddings";
    if (type === "yarn") {
      entries.set(
        key("rope.scaling.original_context_length"),
        u32(scaling.integer(original, undefined, 1, 2 ** 31 - 1)),
      );
    }
  } else if (type !== "default") scaling?.fail("rope_type", '"default", "linear", "yarn" or "llama3"');
  return { architecture, entries, heads, kvHeads, divisors };
}

/** By how much Llama 3's scaling divides the frequency of each pair: 1 for short waves, the factor for long ones, a blend between. */
function llama3Divisors(read: ConfigReader, headDim: number, theta: number): Float32Array {
  const factor = read.positive("factor");
  const [low, high] = [read.positive("low_freq_factor"), read.positive("high_freq_factor")];
  const original = read.positive("original_max_position_embeddings");
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    const share = Math.min(1, Math.max(0, (original / wavelength - low) / (high - low)));
    return 1 / ((1 - share) / factor + share);
  });
}
