import {
  Attention,
  type AttentionCache,
  type AttentionInputs,
  Embedding,
  KVCache,
  Linear,
  Module,
  RMSNorm,
  SwiGLU,
} from "@lowrank/nn";
import {
  add,
  and,
  arange,
  checkpoint,
  ConfigError,
  type DType,
  eq,
  ge,
  gt,
  type Key,
  normal,
  ShapeError,
  type Tensor,
} from "@lowrank/tensor";
import { type CacheOptions, CausalLM, expectSameShape, type ForwardOptions } from "./causal-lm.js";
import type { Architecture } from "./architecture.js";
import { type LlamaConfig, llamaConfigJson, parseLlamaConfig } from "./llama-config.js";
import { dependsOnLength, rotaryFactor, rotaryFrequencies } from "./rope-scaling.js";

/** One block: h = x + attention(norm(x)), y = h + mlp(norm(h)). */
export class LlamaLayer extends Module {
  input_layernorm: RMSNorm;
  self_attn: Attention;
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

  /** Frequencies for a text of `length`; where a cache is used, that is its capacity, so that all keys in it turn alike. */
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
    const { segments, cache } = options;
    if (ids.ndim !== 2 || ids.dtype !== "i32") {
      throw new ShapeError({
        where: "forward",
        expected: "ids of shape [batch, T] and dtype i32",
        got: `${ids.dtype}[${ids.shape.join(", ")}]`,
        hint: "make them with model.ids([[...]])",
      });
    }
    if (segments !== undefined) {
      expectSameShape("forward", "segments", segments, ids);
      if (cache !== undefined) {
        throw new ConfigError({ where: "forward", expected: "segments or a cache", got: "both" });
      }
    }
    const packed = segments === undefined ? undefined : packing(segments);
    const length = ids.shape[1]!;
    const inputs: AttentionInputs = {
      positions: options.positions ?? packed?.positions ?? place(length, cache),
      inverseFrequencies: this.frequencies(cache?.capacity ?? length),
      mask: packed?.mask,
      cache,
    };
    const masks = new Map<number | null, Tensor | undefined>([[null, packed?.mask]]);
    for (const window of this.config.windows) {
      if (!masks.has(window)) masks.set(window, windowMask(window!, length, cache, packed?.mask));
    }
    let h = this.embed_tokens.forward(ids);
    for (const [layer, block] of this.layers.entries()) {
      const run = (x: Tensor): Tensor =>
        block.forward(x, { ...inputs, mask: masks.get(this.config.windows[layer]!), layer });
      h = options.checkpoint ? checkpoint(run)(h) : run(h);
    }
    return this.norm.forward(h);
  }
}

/** Positions [1, T] that follow what the cache holds. */
function place(length: number, cache: AttentionCache | undefined): Tensor {
  const row = arange(0, length, 1, { dtype: "i32" }).reshape([1, length]);
  return cache === undefined ? row : add(row, cache.offset);
}

/** Who may see whom where a query sees no further back than `window` keys, its own included; causality comes on top. */
function windowMask(
  window: number,
  length: number,
  cache: AttentionCache | undefined,
  mask: Tensor | undefined,
): Tensor | undefined {
  const keys = cache?.capacity ?? length;
  if (window >= keys) return mask;
  const query = arange(0, length, 1, { dtype: "i32" }).reshape([length, 1]);
  const own = cache === undefined ? query : add(query, cache.offset);
  const near = gt(arange(0, keys, 1, { dtype: "i32" }), own.sub(window)); // [T, S]: j > i - window
  return mask === undefined ? near : and(mask, near);
}

/** Of segments [batch, T]: who may see whom, [batch, 1, T, T], and the place of each token in its own text. */
function packing(segments: Tensor): { mask: Tensor; positions: Tensor } {
  const [batch, length] = segments.shape as [number, number];
  const same = eq(segments.reshape([batch, length, 1]), segments.reshape([batch, 1, length])); // [batch, T, T]
  const at = arange(0, length, 1, { dtype: "i32" });
  const earlier = ge(at.reshape([length, 1]), at.reshape([1, length])); // [T, T]: j ≤ i
  const positions = and(same, earlier).astype("i32").sum(-1).sub(1); // [batch, T]
  return { mask: same.reshape([batch, 1, length, length]), positions };
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
    const { layers, kvHeads: heads, headDim } = this.config;
    return new KVCache({ layers, batch, capacity, heads, headDim, dtype });
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
