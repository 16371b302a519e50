import {
  type AttentionInputs,
  Dropout,
  Embedding,
  KVCache,
  LayerNorm,
  Linear,
  Module,
  TransposedLinear,
} from "@lowrank/nn";
import { attention, checkpoint, type DType, type Key, normal, type Tensor } from "@lowrank/tensor";
import { activation } from "./activation.js";
import type { Architecture } from "./architecture.js";
import { causalInputs } from "./causal-inputs.js";
import { type CacheOptions, CausalLM, type ForwardOptions } from "./causal-lm.js";
import { type GPT2Config, gpt2ConfigJson, parseGPT2Config } from "./gpt2-config.js";

/** Causal self-attention with one projection for queries, keys and values. */
class GPT2Attention extends Module {
  c_attn: TransposedLinear;
  c_proj: TransposedLinear;
  resid_dropout: Dropout;
  readonly heads: number;
  readonly scale: number;

  constructor(
    { hiddenSize, heads, dropout, scaleScores, scaleByLayer }: GPT2Config,
    layer: number,
    dtype: DType,
  ) {
    super();
    this.c_attn = new TransposedLinear(hiddenSize, 3 * hiddenSize, { dtype });
    this.c_proj = new TransposedLinear(hiddenSize, hiddenSize, { dtype });
    this.resid_dropout = new Dropout(dropout);
    this.heads = heads;
    this.scale = (scaleScores ? (hiddenSize / heads) ** -0.5 : 1) / (scaleByLayer ? layer + 1 : 1);
  }

  forward(x: Tensor, { mask, cache, layer = 0 }: AttentionInputs): Tensor {
    const [batch, length, width] = x.shape as [number, number, number];
    const all = this.c_attn.forward(x).reshape([batch, length, 3, this.heads, width / this.heads]);
    const [q, k, v] = [0, 1, 2].map((i) => all.slice([null, null, i])) as [Tensor, Tensor, Tensor];
    const seen = { causal: true, mask, scale: this.scale };
    const o = cache === undefined ? attention(q, k, v, seen) : cache.attend(layer, q, k, v, seen);
    return this.resid_dropout.forward(this.c_proj.forward(o.reshape([batch, length, width])));
  }
}

class GPT2MLP extends Module {
  c_fc: TransposedLinear;
  c_proj: TransposedLinear;
  dropout: Dropout;
  private readonly _activation: (x: Tensor) => Tensor;

  constructor(config: GPT2Config, dtype: DType) {
    super();
    this.c_fc = new TransposedLinear(config.hiddenSize, config.intermediateSize, { dtype });
    this.c_proj = new TransposedLinear(config.intermediateSize, config.hiddenSize, { dtype });
    this.dropout = new Dropout(config.dropout);
    this._activation = activation(config.activation);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.c_proj.forward(this._activation(this.c_fc.forward(x))));
  }
}

/** One block: h = x + attention(norm(x)), y = h + mlp(norm(h)). */
export class GPT2Block extends Module {
  ln_1: LayerNorm;
  attn: GPT2Attention;
  ln_2: LayerNorm;
  mlp: GPT2MLP;

  constructor(config: GPT2Config, layer: number, dtype: DType) {
    super();
    this.ln_1 = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps, dtype });
    this.attn = new GPT2Attention(config, layer, dtype);
    this.ln_2 = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps, dtype });
    this.mlp = new GPT2MLP(config, dtype);
  }

  forward(x: Tensor, inputs: AttentionInputs): Tensor {
    const h = x.add(this.attn.forward(this.ln_1.forward(x), inputs));
    return h.add(this.mlp.forward(this.ln_2.forward(h)));
  }
}

/** Embeddings of token and position, blocks and the last norm. */
export class GPT2Model extends Module {
  wte: Embedding;
  wpe: Embedding;
  drop: Dropout;
  h: GPT2Block[];
  ln_f: LayerNorm;

  constructor(config: GPT2Config, dtype: DType) {
    super();
    this.wte = new Embedding(config.vocabSize, config.hiddenSize, { dtype });
    this.wpe = new Embedding(config.maxPositions, config.hiddenSize, { dtype });
    this.drop = new Dropout(config.embeddingDropout);
    this.h = Array.from({ length: config.layers }, (_, i) => new GPT2Block(config, i, dtype));
    this.ln_f = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps, dtype });
  }

  /** Ids [batch, T] i32 to [batch, T, hiddenSize]. */
  forward(ids: Tensor, options: ForwardOptions = {}): Tensor {
    const { positions, mask } = causalInputs(ids, options);
    let h = this.drop.forward(this.wte.forward(ids).add(this.wpe.forward(positions)));
    for (const [layer, block] of this.h.entries()) {
      const run = (x: Tensor): Tensor => block.forward(x, { mask, cache: options.cache, layer });
      h = options.checkpoint ? checkpoint(run)(h) : run(h);
      options.onLayer?.(h);
    }
    return this.ln_f.forward(h);
  }
}

export interface GPT2Options {
  /**
   * Random start, N(0, initializerRange²) for every matrix, with a deviation smaller by √(2 · layers) where a block adds to
   * the stream; without a key weights are zero, to be loaded.
   */
  key?: Key;
  /** Storage type of the parameters. Default f32. */
  dtype?: DType | undefined;
}

/**
 * GPT-2 with its output head; parameter paths are those of Hugging Face's GPT2LMHeadModel. Weights of the blocks are stored
 * as [in, out], as there. In training mode numbers are dropped after embeddings and projections, and attention
 * probabilities are not.
 *
 * Source: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3.
 */
export class GPT2LMHeadModel extends CausalLM {
  transformer: GPT2Model;
  lm_head: Linear;
  readonly outputHead = "lm_head";

  constructor(
    readonly config: GPT2Config,
    { key, dtype = "f32" }: GPT2Options = {},
  ) {
    super();
    this.transformer = new GPT2Model(config, dtype);
    this.lm_head = new Linear(config.hiddenSize, config.vocabSize, { bias: false, dtype });
    if (config.tieWordEmbeddings) this.lm_head.weight = this.transformer.wte.weight;
    if (key === undefined) return;
    for (const [path, p] of this.parameters()) {
      if (p.ndim < 2) continue;
      const std =
        config.initializerRange / (path.endsWith("c_proj.weight") ? Math.sqrt(2 * config.layers) : 1);
      p.replace(normal(p.shape, { key: key.foldName(path), std, dtype }));
    }
  }

  override hidden(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return this.transformer.forward(ids, options);
  }

  override logits(hidden: Tensor): Tensor {
    return this.lm_head.forward(hidden);
  }

  override newCache({ capacity, batch = 1, dtype = "f32" }: CacheOptions): KVCache {
    const { layers, heads, hiddenSize } = this.config;
    return new KVCache({ layers, batch, capacity, heads, headDim: hiddenSize / heads, dtype });
  }

  override configJson(dtype: string): Record<string, unknown> {
    // Whether the head is tied is read from the model: merging an adapter into one end parts them.
    const tieWordEmbeddings = this.lm_head.weight === this.transformer.wte.weight;
    return gpt2ConfigJson({ ...this.config, tieWordEmbeddings }, dtype);
  }
}

export const gpt2: Architecture<GPT2LMHeadModel> = {
  name: "GPT2LMHeadModel",
  modelType: "gpt2",
  task: "text-generation",
  base: "transformer",
  ignored: /(^|\.)h\.\d+\.attn\.(bias|masked_bias)$/, // causal masks, as buffers
  create: (json, { dtype }) => new GPT2LMHeadModel(parseGPT2Config(json), { dtype }),
};
