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
  inverseFrequencies,
  type Key,
  normal,
  ShapeError,
  type Tensor,
} from "@lowrank/tensor";
import { type CacheOptions, CausalLM, expectSameShape, type ForwardOptions } from "./causal-lm.js";
import { type LlamaConfig, llamaConfigJson } from "./llama-config.js";

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
    this.self_attn = new Attention({ width, heads, kvHeads, headDim, bias: config.attentionBias, dtype });
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
  /** Rotary frequencies [headDim / 2], not a parameter. */
  private readonly _frequencies: Tensor;

  constructor(config: LlamaConfig, dtype: DType) {
    super();
    this.embed_tokens = new Embedding(config.vocabSize, config.hiddenSize, { dtype });
    this.layers = Array.from({ length: config.layers }, () => new LlamaLayer(config, dtype));
    this.norm = new RMSNorm(config.hiddenSize, { eps: config.rmsNormEps, dtype });
    const { ropeTheta: theta, ropeScaling } = config;
    this._frequencies = inverseFrequencies(config.headDim, { theta, scaling: ropeScaling ?? undefined });
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
      inverseFrequencies: this._frequencies,
      mask: packed?.mask,
      cache,
    };
    let h = this.embed_tokens.forward(ids);
    for (const [layer, block] of this.layers.entries()) {
      const run = (x: Tensor): Tensor => block.forward(x, { ...inputs, layer });
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
  dtype?: DType;
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
    return llamaConfigJson({ ...this.config, tieWordEmbeddings }, dtype);
  }
}
