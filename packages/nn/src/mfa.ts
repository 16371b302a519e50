import { attention, type DType, type Key, type Tensor } from "@lowrank/tensor";
import { type AttentionInputs, AttentionLayer, expectSizes, turning } from "./attention-layer.js";
import type { CacheShape } from "./kv-cache.js";
import { Linear } from "./linear.js";
import { RMSNorm } from "./norm.js";

export interface MFAOptions {
  /** Width of the input and of the result. */
  width: number;
  /** Query heads: each costs headDim · (queryDim + width) parameters and nothing of the cache. */
  heads: number;
  /** Width of a head, of the one key and of the one value. */
  headDim: number;
  /** Width of the queries' latent vector, which all heads share. Default: `headDim`, as in the paper. */
  queryDim?: number;
  /** RMS norm of the latent vector with this eps, as in Step-3 (arXiv:2507.19427); null for none. Default null. */
  queryNorm?: number | null;
  /** Default 1 / √headDim. */
  scale?: number;
  /** Frequencies [headDim / 2] of its own, with which it turns whatever those of a pass are. Default: none. */
  inverseFrequencies?: Tensor | null;
  key?: Key;
  dtype?: DType;
}

/** Queries from a latent vector, one key for all heads, and the output projection: what MFA and MFA-KR share. */
export abstract class FactorizedAttention extends AttentionLayer {
  /** S_q [queryDim, width]. */
  q_proj: Linear;
  inter_norm: RMSNorm | null;
  /** Q_1 .. Q_m below each other [heads · headDim, queryDim]. */
  wq: Linear;
  /** S_k [headDim, width]. */
  k_proj: Linear;
  /** O_1 .. O_m beside each other [width, heads · headDim]. */
  o_proj: Linear;
  readonly heads: number;
  readonly headDim: number;
  readonly scale: number;
  readonly inverseFrequencies: Tensor | null;
  abstract override readonly cacheShape: CacheShape;

  constructor(where: string, options: MFAOptions, keys: readonly (Key | undefined)[]) {
    super();
    const { width, heads, headDim, queryDim = headDim, queryNorm = null, dtype } = options;
    expectSizes(where, { width, heads, headDim, queryDim });
    this.heads = heads;
    this.headDim = headDim;
    this.scale = options.scale ?? headDim ** -0.5;
    this.inverseFrequencies = options.inverseFrequencies ?? null;
    const linear = (from: number, to: number, key?: Key): Linear =>
      new Linear(from, to, { bias: false, dtype, key });
    this.q_proj = linear(width, queryDim, keys[0]);
    this.inter_norm = queryNorm === null ? null : new RMSNorm(queryDim, { eps: queryNorm, dtype });
    this.wq = linear(queryDim, heads * headDim, keys[1]);
    this.k_proj = linear(width, headDim, keys[2]);
    this.o_proj = linear(heads * headDim, width, keys[3]);
  }

  get ropeDim(): number {
    return this.headDim;
  }

  /** What a pass gives, with the layer's own frequencies if it has any. */
  protected own(inputs: AttentionInputs): AttentionInputs {
    return this.inverseFrequencies === null
      ? inputs
      : { ...inputs, inverseFrequencies: this.inverseFrequencies };
  }

  /** q_c = Q_c S_q x of all heads, [batch, T, heads, headDim]. */
  protected queries(x: Tensor): Tensor {
    const latent = this.q_proj.forward(x); // [batch, T, queryDim]
    const q = this.wq.forward(this.inter_norm === null ? latent : this.inter_norm.forward(latent));
    return q.reshape([...x.shape.slice(0, 2), this.heads, this.headDim]);
  }

  /** The head that all share, [batch, T, 1, headDim]. */
  protected shared(y: Tensor): Tensor {
    return y.reshape([...y.shape.slice(0, 2), 1, this.headDim]);
  }

  /** y = Σ_c O_c o_c, of o [batch, T, heads, headDim]. */
  protected output(o: Tensor): Tensor {
    return this.o_proj.forward(o.reshape([...o.shape.slice(0, 2), this.heads * this.headDim]));
  }
}

/**
 * Multi-matrix factorization attention: many wide heads whose queries come from one latent vector, over one key and one
 * value of a position. It is multi-query attention with its query projection factorised.
 *
 *     q_c = Q_c S_q x,   k = S_k x,   v = S_v x
 *     o_c = softmax(scale · rope(q_c) rope(k)ᵀ) v,   y = Σ_c O_c o_c
 *
 * S_q [queryDim, width], Q_c [headDim, queryDim], S_k and S_v [headDim, width], O_c [width, headDim]. With queryDim = headDim = C and
 * m heads on width H these are 3HC + mC² + mCH parameters, and a position leaves 2C numbers in the cache for any m.
 * Field names are those of Step-3's checkpoints.
 *
 * Source: Hu et al. 2024, arXiv:2412.19255, section 3.
 *
 * @example
 * ```ts
 * const layer = new MFA({ width: 256, heads: 12, headDim: 64, key: key(1) });
 * const cache = new KVCache({ layers: 1, capacity: 128, ...layer.cacheShape });
 * ```
 * @category Attention
 */
export class MFA extends FactorizedAttention {
  /** S_v [headDim, width]. */
  v_proj: Linear;

  constructor(options: MFAOptions) {
    const keys = options.key?.split(5) ?? [];
    super("MFA", options, keys);
    this.v_proj = new Linear(options.width, this.headDim, {
      bias: false,
      dtype: options.dtype,
      key: keys[4],
    });
  }

  get cacheShape(): CacheShape {
    return { heads: 1, headDim: this.headDim, valueDim: this.headDim };
  }

  forward(x: Tensor, inputs: AttentionInputs = {}): Tensor {
    const { causal = true, mask, cache, layer = 0 } = inputs;
    const turn = turning("MFA", this.own(inputs));
    const q = turn(this.queries(x)); // [batch, T, heads, headDim]
    const k = turn(this.shared(this.k_proj.forward(x))); // [batch, T, 1, headDim]
    const v = this.shared(this.v_proj.forward(x));
    const seen = { causal, mask, scale: this.scale };
    return this.output(cache === undefined ? attention(q, k, v, seen) : cache.attend(layer, q, k, v, seen));
  }
}
