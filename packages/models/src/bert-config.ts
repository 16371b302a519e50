import { readActivation } from "./activation.js";
import { type ConfigJson, ConfigReader } from "./config.js";
import { MAX_POSITIONS } from "./llama-config.js";

/** Shape and settings of a BERT model. */
export interface BertConfig {
  vocabSize: number;
  hiddenSize: number;
  /** Inner width of the feed-forward block. */
  intermediateSize: number;
  layers: number;
  heads: number;
  maxPositions: number;
  /** Parts of a text that are told apart. */
  tokenTypes: number;
  layerNormEps: number;
  activation: string;
  /** Probabilities with which numbers are dropped in training. */
  dropout: number;
  attentionDropout: number;
  classifierDropout: number;
  /** Standard deviation of a random start. */
  initializerRange: number;
  padTokenId: number;
}

/**
 * Reads a Hugging Face `config.json` of model type `bert`, with the defaults of its library.
 *
 * @throws ConfigError naming the field.
 */
export function parseBertConfig(json: ConfigJson): BertConfig {
  const read = new ConfigReader("config.json of model type bert", json);
  const hiddenSize = read.integer("hidden_size", 768, 1, 1 << 20);
  const heads = read.integer("num_attention_heads", 12, 1, 65_536);
  if (hiddenSize % heads !== 0) read.fail("hidden_size", `a multiple of num_attention_heads (${heads})`);
  if (read.text("position_embedding_type", "absolute") !== "absolute")
    read.fail("position_embedding_type", '"absolute"');
  if (read.boolean("is_decoder", false))
    read.fail("is_decoder", "false", "decoders of this type are not read");
  const dropout = read.share("hidden_dropout_prob", 0.1);
  const vocabSize = read.integer("vocab_size", 30_522, 1, 2 ** 24);
  return {
    vocabSize,
    hiddenSize,
    intermediateSize: read.integer("intermediate_size", 3072, 1, 1 << 22),
    layers: read.integer("num_hidden_layers", 12, 1, 4096),
    heads,
    maxPositions: read.integer("max_position_embeddings", 512, 1, MAX_POSITIONS),
    tokenTypes: read.integer("type_vocab_size", 2, 1, 65_536),
    layerNormEps: read.positive("layer_norm_eps", 1e-12),
    activation: readActivation(read, "hidden_act", "gelu"),
    dropout,
    attentionDropout: read.share("attention_probs_dropout_prob", 0.1),
    classifierDropout: read.share("classifier_dropout", dropout),
    initializerRange: read.positive("initializer_range", 0.02),
    padTokenId: read.integer("pad_token_id", 0, 0, vocabSize - 1),
  };
}

/** The `config.json` of a BERT model, as Hugging Face libraries read it. */
export const bertConfigJson = (
  config: BertConfig,
  dtype: string,
  architecture: string,
): Record<string, unknown> => ({
  architectures: [architecture],
  attention_probs_dropout_prob: config.attentionDropout,
  classifier_dropout: config.classifierDropout,
  hidden_act: config.activation,
  hidden_dropout_prob: config.dropout,
  hidden_size: config.hiddenSize,
  initializer_range: config.initializerRange,
  intermediate_size: config.intermediateSize,
  layer_norm_eps: config.layerNormEps,
  max_position_embeddings: config.maxPositions,
  model_type: "bert",
  num_attention_heads: config.heads,
  num_hidden_layers: config.layers,
  pad_token_id: config.padTokenId,
  position_embedding_type: "absolute",
  torch_dtype: dtype,
  type_vocab_size: config.tokenTypes,
  use_cache: true,
  vocab_size: config.vocabSize,
});
