import { type ConfigJson, ConfigReader } from "./config.js";
import { parseRopeScaling, type RopeScaling, ropeScalingJson } from "./rope-scaling.js";

/** Shape and settings of a model of the Llama family. */
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
  /** Biases of the attention's projections: of all, of none, or of queries, keys and values only. */
  attentionBias: boolean | "qkv";
  mlpBias: boolean;
  /** RMS norms of every head's queries and keys. */
  qkNorm: boolean;
  /** Per layer, how many keys up to its own position a query sees; null: all. */
  windows: readonly (number | null)[];
  /** Standard deviation of a random start. */
  initializerRange: number;
  bosTokenIds: readonly number[];
  eosTokenIds: readonly number[];
  padTokenIds: readonly number[];
}

/** What a library fills in where a file says nothing. */
export interface LlamaDefaults {
  maxPositions: number;
  /** Default: as many as query heads. */
  kvHeads?: number;
  /** Default: hidden_size / num_attention_heads. */
  headDim?: number;
}

const MAX_WIDTH = 1 << 20;
export const MAX_POSITIONS = 2 ** 31 - 1;

/**
 * Reads a Hugging Face `config.json` of architecture LlamaForCausalLM, with the defaults of its library. Rotary scaling
 * may stand under `rope_scaling` or, in newer files, `rope_parameters`.
 *
 * @throws ConfigError naming the field.
 */
export function parseLlamaConfig(json: ConfigJson): LlamaConfig {
  const read = new ConfigReader("config.json of LlamaForCausalLM", json);
  return {
    ...readFamilyConfig(read, { maxPositions: 2048 }),
    attentionBias: read.boolean("attention_bias", false),
    mlpBias: read.boolean("mlp_bias", false),
  };
}

/** The fields that all members of the family share; those that tell them apart are off. */
export function readFamilyConfig(read: ConfigReader, defaults: LlamaDefaults): LlamaConfig {
  const hiddenSize = read.integer("hidden_size", undefined, 1, MAX_WIDTH);
  const heads = read.integer("num_attention_heads", undefined, 1, 65_536);
  const kvHeads = read.integer("num_key_value_heads", defaults.kvHeads ?? heads, 1, heads);
  if (heads % kvHeads !== 0) read.fail("num_key_value_heads", `a divisor of num_attention_heads (${heads})`);
  if (read.raw("head_dim") === undefined && defaults.headDim === undefined && hiddenSize % heads !== 0) {
    read.fail("head_dim", `given, since hidden_size ${hiddenSize} is no multiple of ${heads} heads`);
  }
  const headDim = read.integer("head_dim", defaults.headDim ?? hiddenSize / heads, 2, 65_536);
  if (headDim % 2 !== 0) read.fail("head_dim", "even");
  if (read.text("hidden_act", "silu") !== "silu") read.fail("hidden_act", '"silu"');
  const positions = read.integer("max_position_embeddings", defaults.maxPositions, 1, MAX_POSITIONS);
  const outer = "original_max_position_embeddings";
  const rope = read.nested("rope_parameters");
  const ropeScaling = parseRopeScaling(rope ?? read.nested("rope_scaling"), {
    headDim,
    maxPositions: positions,
    originalPositions:
      read.raw(outer) === undefined ? undefined : read.integer(outer, undefined, 1, MAX_POSITIONS),
  });
  const layers = read.integer("num_hidden_layers", undefined, 1, 4096);
  return {
    vocabSize: read.integer("vocab_size", undefined, 1, 2 ** 24),
    hiddenSize,
    intermediateSize: read.integer("intermediate_size", undefined, 1, 1 << 22),
    layers,
    heads,
    kvHeads,
    headDim,
    // Dynamic scaling begins where the positions of the file end.
    maxPositions: ropeScaling?.type === "dynamic" ? Math.floor(positions * ropeScaling.factor) : positions,
    rmsNormEps: read.positive("rms_norm_eps", 1e-6),
    ropeTheta:
      rope?.raw("rope_theta") === undefined
        ? read.positive("rope_theta", 10_000)
        : rope.positive("rope_theta"),
    ropeScaling,
    tieWordEmbeddings: read.boolean("tie_word_embeddings", false),
    attentionBias: false,
    mlpBias: false,
    qkNorm: false,
    windows: new Array<null>(layers).fill(null),
    initializerRange: read.positive("initializer_range", 0.02),
    bosTokenIds: read.tokenIds("bos_token_id"),
    eosTokenIds: read.tokenIds("eos_token_id"),
    padTokenIds: read.tokenIds("pad_token_id"),
  };
}

/** The `config.json` of a LlamaForCausalLM, as Hugging Face libraries read it. */
export const llamaConfigJson = (config: LlamaConfig, dtype: string): Record<string, unknown> => ({
  ...familyConfigJson(config, dtype, "LlamaForCausalLM", "llama"),
  attention_bias: config.attentionBias,
  mlp_bias: config.mlpBias,
});

/** A token id as a file has it: one, several, or none. */
export const tokenIdsJson = (ids: readonly number[]): number | readonly number[] | null =>
  ids.length > 1 ? ids : (ids[0] ?? null);

/** What every member of the family writes. */
export function familyConfigJson(
  config: LlamaConfig,
  dtype: string,
  architecture: string,
  modelType: string,
): Record<string, unknown> {
  const { ropeScaling } = config;
  return {
    architectures: [architecture],
    attention_dropout: 0,
    bos_token_id: tokenIdsJson(config.bosTokenIds),
    eos_token_id: tokenIdsJson(config.eosTokenIds),
    head_dim: config.headDim,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    intermediate_size: config.intermediateSize,
    max_position_embeddings:
      ropeScaling?.type === "dynamic" ? ropeScaling.originalPositions : config.maxPositions,
    model_type: modelType,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    pad_token_id: tokenIdsJson(config.padTokenIds),
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: ropeScalingJson(ropeScaling),
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}
