import { type Drawn, type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/**
 * Loss and gradients of every weight of a Llama: RMS norm, rotary positions, causal attention, SwiGLU, a head of its
 * own, mean cross-entropy of the next token. The loss of each step is read.
 */
export interface DecoderSpec {
  kind: "decoder";
  layers: number;
  width: number;
  heads: number;
  inner: number;
  vocabulary: number;
  batch: number;
  length: number;
  eps: number;
  theta: number;
  /** Weights by their names in a Llama checkpoint, each [out, in]. */
  weights: Record<string, Filled>;
  ids: Drawn;
}

const [layers, width, heads, inner, vocabulary, batch, length] = [2, 256, 4, 768, 4096, 8, 128] as const;

function shapes(): [name: string, shape: number[]][] {
  const out: [string, number[]][] = [["model.embed_tokens.weight", [vocabulary, width]]];
  for (let l = 0; l < layers; l++) {
    const at = `model.layers.${l}`;
    out.push([`${at}.input_layernorm.weight`, [width]]);
    for (const p of ["q", "k", "v", "o"]) out.push([`${at}.self_attn.${p}_proj.weight`, [width, width]]);
    out.push([`${at}.post_attention_layernorm.weight`, [width]]);
    out.push([`${at}.mlp.gate_proj.weight`, [inner, width]], [`${at}.mlp.up_proj.weight`, [inner, width]]);
    out.push([`${at}.mlp.down_proj.weight`, [width, inner]]);
  }
  out.push(["model.norm.weight", [width]], ["lm_head.weight", [vocabulary, width]]);
  return out;
}

const weights = Object.fromEntries(
  shapes().map(([name, shape], i): [string, Filled] => [
    name,
    shape.length === 1 ? filled(shape, 20 + i, 0.5, 1) : filled(shape, 20 + i, 0.12),
  ]),
);

const spec: DecoderSpec = {
  kind: "decoder",
  layers,
  width,
  heads,
  inner,
  vocabulary,
  batch,
  length,
  eps: 1e-5,
  theta: 10000,
  weights,
  ids: { shape: [batch, length], seed: 11, below: vocabulary },
};

/** `decoder-first` is the first step of a process: what is traced, planned and compiled once is in it. */
export const decoderRows: Row[] = [
  { name: "decoder", tolerance: 1e-3, spec },
  { name: "decoder-first", tolerance: 1e-3, spec, fresh: true, oneThread: true },
];
