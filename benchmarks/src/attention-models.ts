import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { Attention, type AttentionLayer, MFA, MFAKR, MLA, SwiGLU } from "@lowrank/nn";
import { key, normal } from "@lowrank/tensor";

export const WIDTH = 128;
export const LAYERS = 2;
/** Tokens are bytes of UTF-8. */
export const VOCABULARY = 256;
/** Inner width of the feed-forward block beside multi-head attention. */
const INNER = 344;

export interface Kind {
  about: string;
  make(): AttentionLayer;
}

const MFA_SIZES = { width: WIDTH, heads: 6, headDim: 48 };

/** Kinds of attention with about as many parameters each: 4 heads of 32, or what takes their place. */
export const KINDS = {
  MHA: { about: "4 heads of 32", make: () => new Attention({ width: WIDTH, heads: 4 }) },
  GQA: {
    about: "4 heads of 32, 2 of keys and values",
    make: () => new Attention({ width: WIDTH, heads: 4, kvHeads: 2 }),
  },
  MLA: {
    about: "4 heads of 32 and 16 that turn, latent 64",
    make: () => new MLA({ width: WIDTH, heads: 4, headDim: 32, latentDim: 64, ropeDim: 16 }),
  },
  MFA: { about: "6 heads of 48", make: () => new MFA(MFA_SIZES) },
  "MFA-KR": { about: "6 heads of 48", make: () => new MFAKR(MFA_SIZES) },
} satisfies Record<string, Kind>;
export type KindName = keyof typeof KINDS;

const attentionSize = (kind: KindName): number => KINDS[kind].make().countParameters().total;

/** The inner width with which a block has as many parameters as the one of MHA, to half of 3 · WIDTH. */
export const innerWidth = (kind: KindName): number =>
  Math.round(INNER + (attentionSize("MHA") - attentionSize(kind)) / (3 * WIDTH));

/** Two blocks of a Llama with another attention; matrices start as N(0, 1 / in), each by its path and the seed. */
export function attentionModel(kind: KindName, seed: number, maxPositions: number): LlamaForCausalLM {
  const layers = Array.from({ length: LAYERS }, () => KINDS[kind].make());
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: VOCABULARY,
    hidden_size: WIDTH,
    intermediate_size: INNER,
    num_hidden_layers: LAYERS,
    num_attention_heads: 1,
    head_dim: layers[0]!.ropeDim, // the frequencies are those of what turns
    max_position_embeddings: maxPositions,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 0,
  });
  const model = new LlamaForCausalLM(config);
  for (const [i, layer] of layers.entries()) {
    const block = model.model.layers[i]!;
    block.self_attn = layer;
    block.mlp = new SwiGLU(WIDTH, innerWidth(kind));
  }
  for (const [path, p] of model.parameters()) {
    if (p.ndim < 2) continue;
    p.replace(normal(p.shape, { key: key(seed).foldName(path), std: p.shape.at(-1)! ** -0.5 }));
  }
  return model;
}
