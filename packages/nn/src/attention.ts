import { attention, ConfigError, type DType, type Key, type Tensor } from "@lowrank/tensor";
import { type AttentionInputs, AttentionLayer, turning } from "./attention-layer.js";
import type { CacheShape } from "./kv-cache.js";
import { Linear } from "./linear.js";
import { RMSNorm } from "./norm.js";

export interface AttentionOptions {
  /** Width of the input and of the result. */
  width: number;
  /** Query heads. */
  heads: number;
  /** Key-value heads, a divisor of `heads`. Default: `heads`. */
  kvHeads?: number;
  /** Width of a head. Default: width / heads. */
  headDim?: number;
  /** Bias of the query, key, value and output projections. Default false. */
  bias?: boolean;
  /** Bias of the output projection, where it differs. Default: `bias`. */
  outputBias?: boolean;
  /** RMS norms of every head's queries and keys before they turn, with this eps; null for none. Default null. */
  qkNorm?: number | null;
  /** Default 1 / √headDim. */
  scale?: number;
  key?: Key;
  dtype?: DType;
}

/**
 * Self-attention in which each key-value head serves a group of query heads, with the field names of Llama checkpoints.
 *
 *     o_h = softmax(scale · rope(q_h) rope(k_g)ᵀ) v_g,   g = ⌊h · kvHeads / heads⌋,   y = W_o [o_1 .. o_H]
 *
 * kvHeads = heads is multi-head attention, kvHeads = 1 multi-query attention.
 *
 * Source: Ainslie et al. 2023, arXiv:2305.13245, section 2.2.
 */
export class Attention extends AttentionLayer {
  q_proj: Linear;
  k_proj: Linear;
  v_proj: Linear;
  o_proj: Linear;
  q_norm: RMSNorm | null;
  k_norm: RMSNorm | null;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly scale: number;

  constructor(options: AttentionOptions) {
    super();
    const { width, heads, kvHeads = heads, headDim = width / heads, bias = false, key, dtype } = options;
    const { outputBias = bias, qkNorm = null } = options;
    if (heads % kvHeads !== 0 || !Number.isInteger(headDim)) {
      throw new ConfigError({
        where: "Attention",
        expected: "heads to be a multiple of kvHeads and a whole headDim",
        got: `heads ${heads}, kvHeads ${kvHeads}, headDim ${headDim}`,
      });
    }
    this.heads = heads;
    this.kvHeads = kvHeads;
    this.headDim = headDim;
    this.scale = options.scale ?? headDim ** -0.5;
    const keys = key?.split(4) ?? [];
    this.q_proj = new Linear(width, heads * headDim, { bias, dtype, key: keys[0] });
    this.k_proj = new Linear(width, kvHeads * headDim, { bias, dtype, key: keys[1] });
    this.v_proj = new Linear(width, kvHeads * headDim, { bias, dtype, key: keys[2] });
    this.o_proj = new Linear(heads * headDim, width, { bias: outputBias, dtype, key: keys[3] });
    this.q_norm = qkNorm === null ? null : new RMSNorm(headDim, { eps: qkNorm, dtype });
    this.k_norm = qkNorm === null ? null : new RMSNorm(headDim, { eps: qkNorm, dtype });
  }

  get ropeDim(): number {
    return this.headDim;
  }

  get cacheShape(): CacheShape {
    return { heads: this.kvHeads, headDim: this.headDim, valueDim: this.headDim };
  }

  forward(x: Tensor, inputs: AttentionInputs = {}): Tensor {
    const { causal = true, mask, cache, layer = 0 } = inputs;
    const turn = turning("Attention", inputs);
    const [batch, length] = x.shape as [number, number];
    const heads = (t: Tensor, count: number): Tensor => t.reshape([batch, length, count, this.headDim]);
    let q = heads(this.q_proj.forward(x), this.heads); // [batch, T, heads, headDim]
    let k = heads(this.k_proj.forward(x), this.kvHeads);
    const v = heads(this.v_proj.forward(x), this.kvHeads);
    if (this.q_norm !== null) q = this.q_norm.forward(q);
    if (this.k_norm !== null) k = this.k_norm.forward(k);
    q = turn(q);
    k = turn(k);
    const seen = { causal, mask, scale: this.scale };
    const o = cache === undefined ? attention(q, k, v, seen) : cache.attend(layer, q, k, v, seen);
    return this.o_proj.forward(o.reshape([batch, length, this.heads * this.headDim]));
  }
}
