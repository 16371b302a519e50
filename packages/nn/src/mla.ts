import { attention, broadcastTo, concat, type DType, type Key, type Tensor } from "@lowrank/tensor";
import { type AttentionInputs, AttentionLayer, expectSizes, turning } from "./attention-layer.js";
import type { CacheShape } from "./kv-cache.js";
import { like, Linear } from "./linear.js";
import { RMSNorm } from "./norm.js";

export interface MLAOptions {
  /** Width of the input and of the result. */
  width: number;
  heads: number;
  /** Width of the latent vector from which keys and values are made (d_c, kv_lora_rank). */
  latentDim: number;
  /** Width of the part of queries and keys that turns; one key of it serves all heads (d_h^R, qk_rope_head_dim). Even. */
  ropeDim: number;
  /** Width of the part that does not turn, in each head. Default: width / heads. */
  headDim?: number;
  /** Width of a head's value. Default: `headDim`. */
  valueDim?: number;
  /** Width of the queries' latent vector (d_c', q_lora_rank); null: queries come from x. Default null. */
  queryDim?: number | null;
  /** Of the RMS norms of the latent vectors. Default 1e-6. */
  eps?: number;
  /** Neighbours turn together, as in DeepSeek's checkpoints; otherwise i with i + ropeDim / 2. Default true. */
  interleaved?: boolean;
  /** Default 1 / √(headDim + ropeDim). */
  scale?: number;
  key?: Key;
  dtype?: DType;
}

/**
 * Multi-head latent attention: keys and values of all heads are made from one small vector of a position, and a part of
 * each key that turns is shared by the heads.
 *
 *     [c; r] = W_kv_a x,   c ← norm(c),   k_h = [W_uk,h c; rope(r)],   v_h = W_uv,h c
 *     [q_h; p_h] = W_q_b norm(W_q_a x),   o_h = softmax(scale · [q_h; rope(p_h)] k_hᵀ) v_h,   y = W_o [o_1 .. o_m]
 *
 * A cache holds c and rope(r), latentDim + ropeDim numbers of a position, and attention reads them as they are: W_uk goes to
 * the queries, (W_uk,hᵀ q_h)·c = q_h·(W_uk,h c), and W_uv behind the sum, W_uv,h Σ a c = Σ a W_uv,h c. Where an adapter sits
 * on `kv_b_proj`, keys and values are made of the whole cache at each pass instead, which is right but slow. Field names
 * are those of DeepSeek's checkpoints.
 *
 * Source: DeepSeek-AI 2024, arXiv:2405.04434, section 2.1, eq. (9) to (19), with the norms of its appendix.
 *
 * @category Attention
 */
export class MLA extends AttentionLayer {
  /** Queries, where they have no latent vector: [heads · (headDim + ropeDim), width]. */
  q_proj: Linear | null = null;
  q_a_proj: Linear | null = null;
  q_a_layernorm: RMSNorm | null = null;
  q_b_proj: Linear | null = null;
  /** [latentDim + ropeDim, width]. */
  kv_a_proj_with_mqa: Linear;
  kv_a_layernorm: RMSNorm;
  /** W_uk and W_uv of each head, [heads · (headDim + valueDim), latentDim]. */
  kv_b_proj: Linear;
  o_proj: Linear;
  readonly heads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly latentDim: number;
  readonly ropeDim: number;
  readonly interleaved: boolean;
  readonly scale: number;

  constructor(options: MLAOptions) {
    super();
    const { width, heads, latentDim, ropeDim, headDim = width / heads, valueDim = headDim } = options;
    const { queryDim = null, eps = 1e-6, interleaved = true, key, dtype } = options;
    expectSizes("MLA", { width, heads, latentDim, headDim, valueDim, "ropeDim / 2": ropeDim / 2 });
    if (queryDim !== null) expectSizes("MLA", { queryDim });
    this.heads = heads;
    this.headDim = headDim;
    this.valueDim = valueDim;
    this.latentDim = latentDim;
    this.ropeDim = ropeDim;
    this.interleaved = interleaved;
    this.scale = options.scale ?? (headDim + ropeDim) ** -0.5;
    const keys = key?.split(5) ?? [];
    const linear = (from: number, to: number, place: number): Linear =>
      new Linear(from, to, { bias: false, dtype, key: keys[place] });
    const queries = heads * (headDim + ropeDim);
    if (queryDim === null) this.q_proj = linear(width, queries, 0);
    else {
      this.q_a_proj = linear(width, queryDim, 0);
      this.q_a_layernorm = new RMSNorm(queryDim, { eps, dtype });
      this.q_b_proj = linear(queryDim, queries, 1);
    }
    this.kv_a_proj_with_mqa = linear(width, latentDim + ropeDim, 2);
    this.kv_a_layernorm = new RMSNorm(latentDim, { eps, dtype });
    this.kv_b_proj = linear(latentDim, heads * (headDim + valueDim), 3);
    this.o_proj = linear(heads * valueDim, width, 4);
  }

  get cacheShape(): CacheShape {
    return { heads: 1, headDim: this.latentDim + this.ropeDim, valueDim: 0 };
  }

  forward(x: Tensor, inputs: AttentionInputs = {}): Tensor {
    const { causal = true, mask, cache, layer = 0 } = inputs;
    const { heads, headDim, valueDim, latentDim, ropeDim } = this;
    const [batch, length] = x.shape as [number, number];
    const turn = turning("MLA", inputs, { interleaved: this.interleaved });
    const queries = this.queries(x).reshape([batch, length, heads, headDim + ropeDim]);
    const q = part(queries, 0, headDim);
    const p = turn(part(queries, headDim, headDim + ropeDim)); // [batch, T, heads, ropeDim]
    const low = this.kv_a_proj_with_mqa.forward(x).reshape([batch, length, 1, latentDim + ropeDim]);
    const c = this.kv_a_layernorm.forward(part(low, 0, latentDim)); // [batch, T, 1, latentDim]
    const r = turn(part(low, latentDim, latentDim + ropeDim)); // [batch, T, 1, ropeDim]
    const seen = { causal, mask, scale: this.scale };
    let o: Tensor;
    if (cache === undefined) {
      const { k, v } = this.expand(c, r);
      o = attention(concat([q, p], 3), k, v, seen);
    } else if (this.kv_b_proj._overlay !== null) {
      const read = (keys: Tensor) =>
        this.expand(part(keys, 0, latentDim), part(keys, latentDim, latentDim + ropeDim));
      o = cache.attend(layer, concat([q, p], 3), concat([c, r], 3), read, seen);
    } else {
      const up = like(this.kv_b_proj.denseWeight(), x).reshape([heads, headDim + valueDim, latentDim]);
      const wide = perHead(q, up.slice([null, [0, headDim]])); // W_ukᵀ q: [batch, T, heads, latentDim]
      const read = (keys: Tensor) => ({ k: keys, v: part(keys, 0, latentDim) });
      const sums = cache.attend(layer, concat([wide, p], 3), concat([c, r], 3), read, seen);
      o = perHead(sums, up.slice([null, [headDim, headDim + valueDim]]).permute([0, 2, 1])); // [batch, T, heads, valueDim]
    }
    return this.o_proj.forward(o.reshape([batch, length, heads * valueDim]));
  }

  private queries(x: Tensor): Tensor {
    if (this.q_proj !== null) return this.q_proj.forward(x);
    return this.q_b_proj!.forward(this.q_a_layernorm!.forward(this.q_a_proj!.forward(x)));
  }

  /** Keys and values of every head from c [batch, S, 1, latentDim] and the turned r [batch, S, 1, ropeDim]. */
  private expand(c: Tensor, r: Tensor): { k: Tensor; v: Tensor } {
    const { heads, headDim, valueDim, ropeDim } = this;
    const [batch, length] = c.shape as [number, number];
    const both = this.kv_b_proj.forward(c).reshape([batch, length, heads, headDim + valueDim]);
    const turned = broadcastTo(r, [batch, length, heads, ropeDim]);
    return {
      k: concat([part(both, 0, headDim), turned], 3),
      v: part(both, headDim, headDim + valueDim),
    };
  }
}

/** Numbers from `from` to `to` of the last axis of four. */
const part = (x: Tensor, from: number, to: number): Tensor => x.slice([null, null, null, [from, to]]);

/** x [batch, T, heads, a] times a matrix w [heads, a, b] of each head: [batch, T, heads, b]. */
function perHead(x: Tensor, w: Tensor): Tensor {
  const [batch, length, heads, a] = x.shape as [number, number, number, number];
  const rows = x.permute([2, 0, 1, 3]).reshape([heads, batch * length, a]);
  return rows.matmul(w).reshape([heads, batch, length, w.shape[2]!]).permute([1, 2, 0, 3]);
}
