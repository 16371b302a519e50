import type { RopeScaling } from "@lowrank/tensor";
import { type ConfigJson, ConfigReader } from "./config.js";

/** Shape and settings of a Llama model. */
export interface LlamaConfig {
  vocabSize: number;
  /** Width of the residual stream. */
  hiddenSize: number;
  /** Inner width of the feed-forward block. */
  intermediateSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Longest sequence that the model was made for. */
  maxPositions: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** Null: none. */
  ropeScaling: RopeScaling | null;
  /** The output head uses the table of the input embedding. */
  tieWordEmbeddings: boolean;
  attentionBias: boolean;
  mlpBias: boolean;
  /** Standard deviation of a random start. */
  initializerRange: number;
  bosTokenIds: readonly number[];
  eosTokenIds: readonly number[];
  padTokenIds: readonly number[];
}

const WHERE = "config.json of LlamaForCausalLM";
const MAX_WIDTH = 1 << 20;

/**
 * Reads a Hugging Face `config.json` of architecture LlamaForCausalLM, with the defaults of its library. Rotary scaling
 * may stand under `rope_scaling` or, in newer files, `rope_parameters`.
 *
 * @throws ConfigError naming the field.
 */
export function parseLlamaConfig(json: ConfigJson): LlamaConfig {
  const read = new ConfigReader(WHERE, json);
  const hiddenSize = read.integer("hidden_size", undefined, 1, MAX_WIDTH);
  const heads = read.integer("num_attention_heads", undefined, 1, 65_536);
  const kvHeads = read.integer("num_key_value_heads", heads, 1, heads);
  if (heads % kvHeads !== 0) read.fail("num_key_value_heads", `a divisor of num_attention_heads (${heads})`);
  if (read.raw("head_dim") === undefined && hiddenSize % heads !== 0) {
    read.fail("head_dim", `given, since hidden_size ${hiddenSize} is no multiple of ${heads} heads`);
  }
  const headDim = read.integer("head_dim", hiddenSize / heads, 2, 65_536);
  if (headDim % 2 !== 0) read.fail("head_dim", "even");
  if (read.text("hidden_act", "silu") !== "silu") read.fail("hidden_act", '"silu"');
  const maxPositions = read.integer("max_position_embeddings", 2048, 1, 2 ** 31 - 1);
  const rope = read.nested("rope_parameters");
  return {
    vocabSize: read.integer("vocab_size", undefined, 1, 2 ** 24),
    hiddenSize,
    intermediateSize: read.integer("intermediate_size", undefined, 1, 1 << 22),
    layers: read.integer("num_hidden_layers", undefined, 1, 4096),
    heads,
    kvHeads,
    headDim,
    maxPositions,
    rmsNormEps: read.positive("rms_norm_eps", 1e-6),
    ropeTheta:
      rope?.raw("rope_theta") === undefined
        ? read.positive("rope_theta", 10_000)
        : rope.positive("rope_theta"),
    ropeScaling: parseScaling(rope ?? read.nested("rope_scaling")),
    tieWordEmbeddings: read.boolean("tie_word_embeddings", false),
    attentionBias: read.boolean("attention_bias", false),
    mlpBias: read.boolean("mlp_bias", false),
    initializerRange: read.positive("initializer_range", 0.02),
    bosTokenIds: read.tokenIds("bos_token_id"),
    eosTokenIds: read.tokenIds("eos_token_id"),
    padTokenIds: read.tokenIds("pad_token_id"),
  };
}

function parseScaling(read: ConfigReader | undefined): RopeScaling | null {
  if (read === undefined) return null;
  const name = read.raw("rope_type") === undefined ? "type" : "rope_type";
  const type = read.text(name, "default");
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type, factor: read.positive("factor") };
    case "llama3": {
      const lowFrequencyFactor = read.positive("low_freq_factor");
      const highFrequencyFactor = read.positive("high_freq_factor");
      if (highFrequencyFactor <= lowFrequencyFactor)
        read.fail("high_freq_factor", `above low_freq_factor (${lowFrequencyFactor})`);
      return {
        type,
        factor: read.positive("factor"),
        lowFrequencyFactor,
        highFrequencyFactor,
        originalPositions: read.integer("original_max_position_embeddings", undefined, 1, 2 ** 31 - 1),
      };
    }
    default:
      return read.fail(
        name,
        '"default", "linear" or "llama3"',
        "other kinds of rotary scaling are not read yet",
      );
  }
}

/** The `config.json` of a model, as Hugging Face libraries read it. */
export function llamaConfigJson(config: LlamaConfig, dtype: string): Record<string, unknown> {
  const one = (ids: readonly number[]): number | readonly number[] | null =>
    ids.length > 1 ? ids : (ids[0] ?? null);
  return {
    architectures: ["LlamaForCausalLM"],
    attention_bias: config.attentionBias,
    attention_dropout: 0,
    bos_token_id: one(config.bosTokenIds),
    eos_token_id: one(config.eosTokenIds),
    head_dim: config.headDim,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositions,
    mlp_bias: config.mlpBias,
    model_type: "llama",
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    pad_token_id: one(config.padTokenIds),
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: scalingJson(config.ropeScaling),
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

function scalingJson(scaling: RopeScaling | null): Record<string, unknown> | null {
  if (scaling === null) return null;
  switch (scaling.type) {
    case "linear":
      return { rope_type: "linear", factor: scaling.factor };
    case "llama3":
      return {
        rope_type: "llama3",
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalPositions,
      };
  }
}
