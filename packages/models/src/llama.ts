import {
  Attention,
  type AttentionInputs,
  type AttentionLayer,
  Embedding,
  KVCache,
  Linear,
  Module,
  RMSNorm,
  SwiGLU,
} from "@lowrank/nn";
import { checkpoint, type DType, type Key, normal, type Tensor } from "@lowrank/tensor";
import type { Architecture } from "./architecture.js";
import { causalInputs, windowMask } from "./causal-inputs.js";
import { type CacheOptions, CausalLM, type ForwardOptions } from "./causal-lm.js";
import { type LlamaConfig, llamaConfigJson, parseLlamaConfig } from "./llama-config.js";
import { dependsOnLength, rotaryFactor, rotaryFrequencies } from "./rope-scaling.js";

/** One block: h = x + attention(norm(x)), y = h + mlp(norm(h)). */
export class LlamaLayer extends Module {
  input_layernorm: RMSNorm;
  self_attn: AttentionLayer;
  post_attention_layernorm: RMSNorm;
  mlp: SwiGLU;

  constructor(config: LlamaConfig, dtype: DType) {
    super();
    const { hiddenSize: width, heads, kvHeads, headDim, rmsNormEps: eps } = config;
    this.input_layernorm = new RMSNorm(width, { eps, dtype });
    this.self_attn = new Attention({
      width,
      heads,
      kvHeads,
      headDim,
      bias: config.attentionBias !== false,
      outputBias: config.attentionBias === true,
      qkNorm: config.qkNorm ? eps : null,
      // Cosine and sine take their factor in queries and keys, so scores take it twice.
      scale: rotaryFactor(config.ropeScaling) ** 2 / Math.sqrt(headDim),
      dtype,
    });
    this.post_attention_layernorm = new RMSNorm(width, { eps, dtype });
    this.mlp = new SwiGLU(width, config.intermediateSize, { bias: config.mlpBias, dtype });
  }

  forward(x: Tensor, inputs: AttentionInputs): Tensor {
    const h = x.add(this.self_attn.forward(this.input_layernorm.forward(x), inputs));
    return h.add(this.mlp.forward(this.post_attention_layernorm.forward(h)));
  }
}

/** Embedding, blocks and the last norm. */
export class LlamaModel extends Module {
  embed_tokens: Embedding;
  layers: LlamaLayer[];
  norm: RMSNorm;
  /** Rotary frequencies [headDim / 2] and the length of text that they were made for; not a parameter. */
  private _rotary: { length: number; frequencies: Tensor } | null = null;

  constructor(
    readonly config: LlamaConfig,
    dtype: DType,
  ) {
    super();
    this.embed_tokens = new Embedding(config.vocabSize, config.hiddenSize, { dtype });
    this.layers = Array.from({ length: config.layers }, () => new LlamaLayer(config, dtype));
    this.norm = new RMSNorm(config.hiddenSize, { eps: config.rmsNormEps, dtype });
  }

  /**
   * Frequencies for a text of `length`. Where a cache is used that is its capacity, so that all keys in it turn alike; what
   * lay in it before it grew keeps its turn.
   */
  private frequencies(length: number): Tensor {
    const { headDim, ropeTheta, ropeScaling } = this.config;
    const made = this._rotary;
    if (made !== null && (made.length === length || !dependsOnLength(ropeScaling))) return made.frequencies;
    const frequencies = rotaryFrequencies(headDim, ropeTheta, ropeScaling, length);
    this._rotary = { length, frequencies };
    return frequencies;
  }

  /** Ids [batch, T] i32 to [batch, T, hiddenSize]. */
  forward(ids: Tensor, options: ForwardOptions = {}): Tensor {
    const { cache } = options;
    const { length, positions, mask } = causalInputs(ids, options);
    const inputs: AttentionInputs = {
      positions,
      inverseFrequencies: this.frequencies(cache?.capacity ?? length),
      cache,
    };
    const masks = new Map<number | null, Tensor | undefined>([[null, mask]]);
    for (const window of this.config.windows) {
      if (!masks.has(window)) masks.set(window, windowMask(window!, length, cache, mask));
    }
    let h = this.embed_tokens.forward(ids);
    for (const [layer, block] of this.layers.entries()) {
      const run = (x: Tensor): Tensor =>
        block.forward(x, { ...inputs, mask: masks.get(this.config.windows[layer]!), layer });
      h = options.checkpoint ? checkpoint(run)(h) : run(h);
      options.onLayer?.(h);
    }
    return this.norm.forward(h);
  }
}

export interface LlamaOptions {
  /** Random start, N(0, initializerRange²) for every matrix; without a key weights are zero, to be loaded. */
  key?: Key;
  /** Storage type of the parameters. Default f32. */
  dtype?: DType | undefined;
}

/**
 * A Llama model with its output head; parameter paths are those of Hugging Face's LlamaForCausalLM.
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971, section 2.2; grouped queries as in arXiv:2307.09288.
 */
export class LlamaForCausalLM extends CausalLM {
  model: LlamaModel;
  lm_head: Linear;
  readonly outputHead = "lm_head";

  constructor(
    readonly config: LlamaConfig,
    { key, dtype = "f32" }: LlamaOptions = {},
  ) {
    super();
    this.model = new LlamaModel(config, dtype);
    this.lm_head = new Linear(config.hiddenSize, config.vocabSize, { bias: false, dtype });
    if (config.tieWordEmbeddings) this.lm_head.weight = this.model.embed_tokens.weight;
    if (key === undefined) return;
    for (const [path, p] of this.parameters()) {
      if (p.ndim < 2) continue;
      p.replace(normal(p.shape, { key: key.foldName(path), std: config.initializerRange, dtype }));
    }
  }

  override hidden(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return this.model.forward(ids, options);
  }

  override logits(hidden: Tensor): Tensor {
    return this.lm_head.forward(hidden);
  }

  override newCache({ capacity, batch = 1, dtype = "f32" }: CacheOptions): KVCache {
    const { layers } = this.model;
    return new KVCache({
      layers: layers.length,
      batch,
      capacity,
      dtype,
      ...layers[0]!.self_attn.cacheShape,
    });
  }

  override configJson(dtype: string): Record<string, unknown> {
    // Whether the head is tied is read from the model: merging an adapter into one end parts them.
    const tieWordEmbeddings = this.lm_head.weight === this.model.embed_tokens.weight;
    return this.settingsJson({ ...this.config, tieWordEmbeddings }, dtype);
  }

  /** The configuration as this member of the family writes it. */
  protected settingsJson(config: LlamaConfig, dtype: string): Record<string, unknown> {
    return llamaConfigJson(config, dtype);
  }
}

export const llama: Architecture<LlamaForCausalLM> = {
  name: "LlamaForCausalLM",
  modelType: "llama",
  task: "text-generation",
  create: (json, options) => new LlamaForCausalLM(parseLlamaConfig(json), options),
};
