/** Parts of a block: name in GGUF, path in the blocks of Llama's family. */
const LLAMA_PARTS = [
  ["attn_norm", "input_layernorm"],
  ["attn_q", "self_attn.q_proj"],
  ["attn_k", "self_attn.k_proj"],
  ["attn_v", "self_attn.v_proj"],
  ["attn_output", "self_attn.o_proj"],
  ["attn_q_norm", "self_attn.q_norm"],
  ["attn_k_norm", "self_attn.k_norm"],
  ["ffn_norm", "post_attention_layernorm"],
  ["ffn_gate", "mlp.gate_proj"],
  ["ffn_up", "mlp.up_proj"],
  ["ffn_down", "mlp.down_proj"],
] as const;

const LLAMA_ROOTS = [
  ["token_embd", "model.embed_tokens"],
  ["output_norm", "model.norm"],
  ["output", "lm_head"],
] as const;

/** The name of a tensor as Hugging Face has it, or undefined for one that is not known. */
export function parameterName(name: string): string | undefined {
  const [, block, part, ending] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const table: readonly (readonly [string, string])[] = block === undefined ? LLAMA_ROOTS : LLAMA_PARTS;
  const path = table.find(([gguf]) => gguf === part)?.[1];
  if (path === undefined) return undefined;
  return block === undefined ? `${path}.${ending}` : `model.layers.${Number(block)}.${path}.${ending}`;
}

/** The name in GGUF of a parameter, or undefined for one that has none there. */
export function ggufName(path: string): string | undefined {
  const [, block, part, ending] = /^(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(path) ?? [];
  const table: readonly (readonly [string, string])[] = block === undefined ? LLAMA_ROOTS : LLAMA_PARTS;
  const name = table.find(([, own]) => own === part)?.[0];
  if (name === undefined) return undefined;
  return block === undefined ? `${name}.${ending}` : `blk.${block}.${name}.${ending}`;
}
