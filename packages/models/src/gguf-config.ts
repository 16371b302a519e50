import { ConfigError } from "@lowrank/tensor";
import type { ConfigJson } from "./config.js";
import { quoteName } from "./format-error.js";
import type { GgufFile } from "./gguf.js";
import { gpt2Gguf } from "./gguf-gpt2.js";
import { GgufMetadata } from "./gguf-metadata.js";

/** An architecture of GGUF and what it is in Hugging Face's names. */
export interface GgufArchitecture {
  /** `general.architecture`. */
  readonly name: string;
  /** Under `architectures` of a `config.json`. */
  readonly className: string;
  readonly modelType: string;
  /**
   * Whether rows of queries and keys are stored so that the two numbers which turn together are neighbours; Hugging Face has
   * them half a head apart.
   */
  readonly pairedRows: boolean;
  /** What is not as in Llama's family. Files of such an architecture are read, and none are written. */
  readonly own?: {
    /** The name of a tensor as Hugging Face has it, or undefined for one that is not known. */
    parameterName(name: string): string | undefined;
    /** The `config.json` that the metadata stand for, without what all have. */
    configJson(read: GgufMetadata, file: GgufFile): ConfigJson;
    /** Paths of matrices that the model has the other way round. */
    readonly transposed: RegExp;
  };
}

export const GGUF_ARCHITECTURES: readonly GgufArchitecture[] = [
  { name: "llama", className: "LlamaForCausalLM", modelType: "llama", pairedRows: true },
  { name: "qwen2", className: "Qwen2ForCausalLM", modelType: "qwen2", pairedRows: false },
  { name: "qwen3", className: "Qwen3ForCausalLM", modelType: "qwen3", pairedRows: false },
  gpt2Gguf,
];

/** The architecture that a file names. */
export function ggufArchitecture({
  name: where,
  metadata,
}: Pick<GgufFile, "name" | "metadata">): GgufArchitecture {
  const name = new GgufMetadata(where, metadata).text("general.architecture");
  const found = GGUF_ARCHITECTURES.find((a) => a.name === name);
  if (found !== undefined) return found;
  throw new ConfigError({
    where,
    expected: `general.architecture to be one of ${GGUF_ARCHITECTURES.map((a) => a.name).join(", ")}`,
    got: quoteName(name),
    hint: "use the model's folder with config.json and safetensors, if its architecture is read from there",
  });
}

/**
 * The `config.json` that a file's metadata stand for.
 *
 * @throws ConfigError for an architecture that is not known, FormatError naming the key that is missing or out of range.
 */
export async function ggufConfigJson(file: GgufFile): Promise<ConfigJson> {
  const { name: arch, className, modelType, own } = ggufArchitecture(file);
  const read = new GgufMetadata(file.name, file.metadata);
  const common = {
    architectures: [className],
    model_type: modelType,
    bos_token_id: read.tokenIds("bos")[0] ?? null,
    eos_token_id: read.tokenIds("eos", "eot", "eom"),
    pad_token_id: read.tokenIds("padding")[0] ?? null,
  };
  if (own !== undefined) return { ...common, ...own.configJson(read, file) };
  const key = (name: string): string => `${arch}.${name}`;
  const width = read.integer(key("embedding_length"));
  const heads = read.integer(key("attention.head_count"));
  const headDim = read.integer(key("attention.key_length"), width / Math.max(1, heads));
  for (const name of ["attention.value_length", "rope.dimension_count"]) {
    if (read.integer(key(name), headDim) !== headDim) read.fail(key(name), `${headDim}, the width of a head`);
  }
  if (read.integer(key("expert_count"), 0) > 0)
    read.fail(key("expert_count"), "0 or absent, mixtures are not read");
  const table = file.tensors.get("token_embd.weight");
  return {
    ...common,
    vocab_size: table?.shape[0] ?? read.integer(key("vocab_size")),
    hidden_size: width,
    intermediate_size: read.integer(key("feed_forward_length")),
    num_hidden_layers: read.integer(key("block_count")),
    num_attention_heads: heads,
    num_key_value_heads: read.integer(key("attention.head_count_kv"), heads),
    head_dim: headDim,
    max_position_embeddings: read.integer(key("context_length")),
    rms_norm_eps: read.decimal(key("attention.layer_norm_rms_epsilon")),
    rope_theta: read.decimal(key("rope.freq_base"), 10_000),
    rope_scaling: await ropeScaling(file, read, arch, headDim),
    tie_word_embeddings: !file.tensors.has("output.weight"),
    attention_bias: file.tensors.has("blk.0.attn_q.bias"),
    mlp_bias: file.tensors.has("blk.0.ffn_gate.bias"),
  };
}

async function ropeScaling(
  file: GgufFile,
  read: GgufMetadata,
  arch: string,
  headDim: number,
): Promise<Record<string, unknown> | null> {
  const key = (name: string): string => `${arch}.rope.scaling.${name}`;
  const factors = await file.tensors.get("rope_freqs.weight")?.array();
  if (factors !== undefined)
    return llama3Scaling(file, factors, read.number(`${arch}.rope.freq_base`, 10_000), headDim);
  const type = read.text(key("type"), "none");
  if (type === "none") return null;
  const factor = read.decimal(key("factor"), 1);
  if (type === "linear") return { rope_type: "linear", factor };
  if (type === "yarn") {
    return {
      rope_type: "yarn",
      factor,
      original_max_position_embeddings: read.integer(key("original_context_length")),
    };
  }
  return read.fail(key("type"), '"none", "linear" or "yarn"');
}

/**
 * Llama 3's scaling from the divisors of the frequencies that a file has in its place: with a wave of length λ,
 *
 *     divisor = 1 / ((1 − s) / factor + s),   s = (original / λ − low) / (high − low) within 0 to 1.
 *
 * Numbers low, high and original that are all twice as large give the same s, so low is taken as 1 and the others follow from
 * two waves between. Where there is one, high is 4, and where there is none, original is 8192, as in the published models.
 */
function llama3Scaling(
  file: GgufFile,
  divisors: Float32Array,
  theta: number,
  headDim: number,
): Record<string, unknown> {
  const factor = Math.max(...divisors);
  const waves = Array.from(divisors, (_, i) => 2 * Math.PI * theta ** ((2 * i) / headDim));
  const shares = Array.from(divisors, (divisor) => (1 / divisor - 1 / factor) / (1 - 1 / factor));
  const between = shares.flatMap((share, i) => (share > 1e-3 && share < 1 - 1e-3 ? [i] : []));
  const [first, last] = [between[0], between.at(-1)];
  let [high, original] = [4, 8192];
  if (first !== undefined && last !== undefined && first !== last) {
    const slope = (shares[first]! - shares[last]!) / (1 / waves[first]! - 1 / waves[last]!);
    const start = slope / waves[first]! - shares[first]!; // 1 / (high − 1)
    high = Number((1 + 1 / start).toPrecision(3));
    original = Math.round(slope * (high - 1));
  } else if (first !== undefined) original = Math.round(waves[first]! * (1 + shares[first]! * (high - 1)));
  const fits =
    divisors.length === headDim / 2 &&
    shares.every((share, i) => {
      const want = Math.min(1, Math.max(0, (original / waves[i]! - 1) / (high - 1)));
      return Math.abs(share - want) < 1e-3;
    });
  if (!fits || !(factor > 1)) {
    throw new ConfigError({
      where: file.name,
      expected: "rope_freqs.weight to be that of Llama 3's scaling",
      got: `${divisors.length} other divisors up to ${factor}`,
    });
  }
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: 1,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}
