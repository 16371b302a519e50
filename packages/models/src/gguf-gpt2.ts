import type { ConfigJson } from "./config.js";
import type { GgufFile } from "./gguf.js";
import type { GgufArchitecture } from "./gguf-config.js";
import type { GgufMetadata } from "./gguf-metadata.js";

/** Parts of a block: name in GGUF, path in the blocks of GPT-2. */
const PARTS: Readonly<Record<string, string>> = {
  attn_norm: "ln_1",
  attn_qkv: "attn.c_attn",
  attn_output: "attn.c_proj",
  ffn_norm: "ln_2",
  ffn_up: "mlp.c_fc",
  ffn_down: "mlp.c_proj",
};

const ROOTS: Readonly<Record<string, string>> = {
  token_embd: "transformer.wte",
  position_embd: "transformer.wpe",
  output_norm: "transformer.ln_f",
  output: "lm_head",
};

function parameterName(name: string): string | undefined {
  const [, block, part, ending] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  if (part === undefined) return undefined;
  const paths = block === undefined ? ROOTS : PARTS;
  if (!Object.hasOwn(paths, part)) return undefined;
  const path = paths[part]!;
  return block === undefined ? `${path}.${ending}` : `transformer.h.${Number(block)}.${path}.${ending}`;
}

/** The `config.json` that the metadata stand for. GGUF does not name the activation: GELU by its tanh form, as llama.cpp has it. */
function configJson(read: GgufMetadata, file: GgufFile): ConfigJson {
  const key = (name: string): string => `gpt2.${name}`;
  const width = read.integer(key("embedding_length"));
  return {
    vocab_size: file.tensors.get("token_embd.weight")?.shape[0] ?? read.integer(key("vocab_size")),
    n_embd: width,
    n_inner: read.integer(key("feed_forward_length"), 4 * width),
    n_layer: read.integer(key("block_count")),
    n_head: read.integer(key("attention.head_count")),
    n_positions: read.integer(key("context_length")),
    layer_norm_epsilon: read.decimal(key("attention.layer_norm_epsilon")),
    activation_function: "gelu_new",
    tie_word_embeddings: !file.tensors.has("output.weight"),
  };
}

/**
 * GPT-2 as llama.cpp's converter writes it: its matrices are [out, in] in the file, and [in, out] in the model.
 *
 * Format: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py
 */
export const gpt2Gguf: GgufArchitecture = {
  name: "gpt2",
  className: "GPT2LMHeadModel",
  modelType: "gpt2",
  pairedRows: false,
  own: { parameterName, configJson, transposed: /\.(c_attn|c_proj|c_fc)\.weight$/ },
};
