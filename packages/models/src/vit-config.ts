import { readActivation } from "./activation.js";
import { type ConfigJson, ConfigReader } from "./config.js";

/** Shape and settings of a vision transformer. */
export interface ViTConfig {
  hiddenSize: number;
  /** Inner width of the feed-forward block. */
  intermediateSize: number;
  layers: number;
  heads: number;
  channels: number;
  imageSize: readonly [height: number, width: number];
  patchSize: readonly [height: number, width: number];
  layerNormEps: number;
  activation: string;
  /** Biases of queries, keys and values. */
  qkvBias: boolean;
  /** Width and activation of the layer over the state of the whole image. */
  poolerSize: number;
  poolerActivation: string;
  /** Probabilities with which numbers are dropped in training. */
  dropout: number;
  attentionDropout: number;
  /** Standard deviation of a random start. */
  initializerRange: number;
}

/**
 * Reads a Hugging Face `config.json` of model type `vit`, with the defaults of its library.
 *
 * @throws ConfigError naming the field.
 */
export function parseViTConfig(json: ConfigJson): ViTConfig {
  const read = new ConfigReader("config.json of model type vit", json);
  const hiddenSize = read.integer("hidden_size", 768, 1, 1 << 20);
  const heads = read.integer("num_attention_heads", 12, 1, 65_536);
  if (hiddenSize % heads !== 0) read.fail("hidden_size", `a multiple of num_attention_heads (${heads})`);
  const imageSize = readSize(read, "image_size", 224);
  const patchSize = readSize(read, "patch_size", 16);
  if (imageSize.some((size, i) => size < patchSize[i]!)) read.fail("patch_size", "at most image_size");
  return {
    hiddenSize,
    intermediateSize: read.integer("intermediate_size", 3072, 1, 1 << 22),
    layers: read.integer("num_hidden_layers", 12, 1, 4096),
    heads,
    channels: read.integer("num_channels", 3, 1, 65_536),
    imageSize,
    patchSize,
    layerNormEps: read.positive("layer_norm_eps", 1e-12),
    activation: readActivation(read, "hidden_act", "gelu"),
    qkvBias: read.boolean("qkv_bias", true),
    poolerSize: read.integer("pooler_output_size", hiddenSize, 1, 1 << 20),
    poolerActivation: readActivation(read, "pooler_act", "tanh"),
    dropout: read.share("hidden_dropout_prob", 0),
    attentionDropout: read.share("attention_probs_dropout_prob", 0),
    initializerRange: read.positive("initializer_range", 0.02),
  };
}

/** One number for a square, or height and width. */
function readSize(read: ConfigReader, name: string, fallback: number): [number, number] {
  const value = read.raw(name);
  if (!Array.isArray(value)) {
    const side = read.integer(name, fallback, 1, 65_536);
    return [side, side];
  }
  const fits = value.length === 2 && value.every((n) => Number.isInteger(n) && n >= 1 && n <= 65_536);
  return fits ? (value as [number, number]) : read.fail(name, "an integer, or two: height and width");
}

const sizeJson = ([height, width]: readonly [number, number]): number | number[] =>
  height === width ? height : [height, width];

/** The `config.json` of a vision transformer, as Hugging Face libraries read it. */
export const vitConfigJson = (
  config: ViTConfig,
  dtype: string,
  architecture: string,
): Record<string, unknown> => ({
  architectures: [architecture],
  attention_probs_dropout_prob: config.attentionDropout,
  hidden_act: config.activation,
  hidden_dropout_prob: config.dropout,
  hidden_size: config.hiddenSize,
  image_size: sizeJson(config.imageSize),
  initializer_range: config.initializerRange,
  intermediate_size: config.intermediateSize,
  layer_norm_eps: config.layerNormEps,
  model_type: "vit",
  num_attention_heads: config.heads,
  num_channels: config.channels,
  num_hidden_layers: config.layers,
  patch_size: sizeJson(config.patchSize),
  pooler_act: config.poolerActivation,
  pooler_output_size: config.poolerSize,
  qkv_bias: config.qkvBias,
  torch_dtype: dtype,
});
