import { readActivation } from "./activation.js";
import { type ConfigJson, ConfigReader } from "./config.js";
import { MAX_POSITIONS, tokenIdsJson } from "./llama-config.js";

/** Shape and settings of a GPT-2 model. */
export interface GPT2Config {
  vocabSize: number;
  hiddenSize: number;
  /** Inner width of the feed-forward block. */
  intermediateSize: number;
  layers: number;
  heads: number;
  maxPositions: number;
  layerNormEps: number;
  activation: string;
  /** Probabilities with which numbers are dropped in training: after projections, embeddings, and of attention. */
  dropout: number;
  embeddingDropout: number;
  attentionDropout: number;
  /** Scores are divided by the root of the head's width. */
  scaleScores: boolean;
  /** Scores are divided by the number of the layer, from 1, too. */
  scaleByLayer: boolean;
  tieWordEmbeddings: boolean;
  /** Standard deviation of a random start. */
  initializerRange: number;
  bosTokenIds: readonly number[];
  eosTokenIds: readonly number[];
  padTokenIds: readonly number[];
}

/**
 * Reads a Hugging Face `config.json` of model type `gpt2`, with the defaults of its library.
 *
 * @throws ConfigError naming the field.
 */
export function parseGPT2Config(json: ConfigJson): GPT2Config {
  const read = new ConfigReader("config.json of GPT2LMHeadModel", json);
  const hiddenSize = read.integer("n_embd", 768, 1, 1 << 20);
  const heads = read.integer("n_head", 12, 1, 65_536);
  if (hiddenSize % heads !== 0) read.fail("n_embd", `a multiple of n_head (${heads})`);
  if (read.boolean("add_cross_attention", false)) read.fail("add_cross_attention", "false");
  return {
    vocabSize: read.integer("vocab_size", 50_257, 1, 2 ** 24),
    hiddenSize,
    intermediateSize: read.integer("n_inner", 4 * hiddenSize, 1, 1 << 22),
    layers: read.integer("n_layer", 12, 1, 4096),
    heads,
    maxPositions: read.integer("n_positions", 1024, 1, MAX_POSITIONS),
    layerNormEps: read.positive("layer_norm_epsilon", 1e-5),
    activation: readActivation(read, "activation_function", "gelu_new"),
    dropout: read.share("resid_pdrop", 0.1),
    embeddingDropout: read.share("embd_pdrop", 0.1),
    attentionDropout: read.share("attn_pdrop", 0.1),
    scaleScores: read.boolean("scale_attn_weights", true),
    scaleByLayer: read.boolean("scale_attn_by_inverse_layer_idx", false),
    tieWordEmbeddings: read.boolean("tie_word_embeddings", true),
    initializerRange: read.positive("initializer_range", 0.02),
    bosTokenIds: read.tokenIds("bos_token_id"),
    eosTokenIds: read.tokenIds("eos_token_id"),
    padTokenIds: read.tokenIds("pad_token_id"),
  };
}

/** The `config.json` of a GPT-2 model, as Hugging Face libraries read it. */
export const gpt2ConfigJson = (config: GPT2Config, dtype: string): Record<string, unknown> => ({
  activation_function: config.activation,
  architectures: ["GPT2LMHeadModel"],
  attn_pdrop: config.attentionDropout,
  bos_token_id: tokenIdsJson(config.bosTokenIds),
  embd_pdrop: config.embeddingDropout,
  eos_token_id: tokenIdsJson(config.eosTokenIds),
  initializer_range: config.initializerRange,
  layer_norm_epsilon: config.layerNormEps,
  model_type: "gpt2",
  n_embd: config.hiddenSize,
  n_head: config.heads,
  n_inner: config.intermediateSize,
  n_layer: config.layers,
  n_positions: config.maxPositions,
  pad_token_id: tokenIdsJson(config.padTokenIds),
  resid_pdrop: config.dropout,
  scale_attn_by_inverse_layer_idx: config.scaleByLayer,
  scale_attn_weights: config.scaleScores,
  tie_word_embeddings: config.tieWordEmbeddings,
  torch_dtype: dtype,
  use_cache: true,
  vocab_size: config.vocabSize,
});
