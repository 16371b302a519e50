import {
  arange,
  attention,
  ConfigError,
  evaluate,
  type Parameter,
  parameter,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import { type AttentionInputs, turning } from "./attention-layer.js";
import type { AttentionCache, CacheShape } from "./kv-cache.js";
import { like, Linear } from "./linear.js";
import { FactorizedAttention, type MFAOptions } from "./mfa.js";
import { QuantizedWeight } from "./quantized-weight.js";
import { ropePlaces } from "./rope-places.js";

/**
 * MFA with key reuse: values are made from the keys, so that a position leaves one vector in the cache.
 *
 *     v = (I + diag(α) N) k,   k = S_k x before it turns
 *     u_c = softmax(scale · rope(q_c) rope(k)ᵀ) k,   o_c = u_c + α ∘ (N u_c),   y = Σ_c O_c o_c
 *
 * N [headDim, headDim] and α [headDim] are trained; α starts at zero, so that v = k, and N moves once α has. All else is as in
 * `MFA`; with queryDim = headDim = C and m heads on width H there are 2HC + mC² + mCH + C² + C parameters. Weight
 * decay on α is better left off.
 *
 * Values come from keys that have not turned, so the cache keeps those, and they turn as they are read, by their
 * places in it. With a cache queries turn by their places too, whatever `positions` says beyond being there: scores depend on
 * differences alone, so positions that are shifted as a whole, each row by its own shift, make no difference.
 *
 * Source: Hu et al. 2024, arXiv:2412.19255, section 3 (key reuse). Whether its values come from turned keys was open to
 * us; ours do not.
 *
 * @category Attention
 */
export class MFAKR extends FactorizedAttention {
  /** N; null once folded. */
  kr_n: Linear | null;
  /** α; null once folded. */
  kr_alpha: Parameter | null;

  constructor(options: MFAOptions) {
    const keys = options.key?.split(5) ?? [];
    super("MFAKR", options, keys);
    const { headDim } = this;
    this.kr_n = new Linear(headDim, headDim, { bias: false, dtype: options.dtype, key: keys[4] });
    this.kr_alpha = parameter(zeros([headDim], { dtype: options.dtype ?? "f32" }));
  }

  get cacheShape(): CacheShape {
    return { heads: 1, headDim: this.headDim, valueDim: 0 };
  }

  forward(x: Tensor, given: AttentionInputs = {}): Tensor {
    const inputs = this.own(given);
    const { causal = true, mask, cache, layer = 0 } = inputs;
    const q = this.queries(x); // [batch, T, heads, headDim]
    const k = this.shared(this.k_proj.forward(x)); // [batch, T, 1, headDim]
    const seen = { causal, mask, scale: this.scale };
    let u: Tensor;
    if (cache === undefined) {
      const turn = turning("MFAKR", inputs);
      u = attention(turn(q), turn(k), k, seen);
    } else {
      const { inverseFrequencies: f } = inputs;
      const at = inputs.positions === undefined ? undefined : places(x.shape[1]!, cache);
      const turn = turning("MFAKR", { ...inputs, positions: at });
      const read = (keys: Tensor) => ({ k: at === undefined ? keys : ropePlaces(keys, f!), v: keys });
      u = cache.attend(layer, turn(q), k, read, seen);
    }
    if (this.kr_n === null || this.kr_alpha === null) return this.output(u);
    return this.output(u.add(this.kr_n.forward(u).mul(like(this.kr_alpha, u))));
  }

  /**
   * Puts N and α into the output projection, O_c' = O_c (I + diag(α) N): the same results with fewer parameters, for a layer
   * whose training has ended. The state then has no `kr_n` and `kr_alpha`.
   *
   * @throws ConfigError if an adapter sits on `kr_n` or `o_proj`, or the weight of `o_proj` is in codes.
   */
  async fold(): Promise<void> {
    const { kr_n: n, kr_alpha: alpha, heads, headDim, o_proj } = this;
    if (n === null || alpha === null) return;
    const inCodes = o_proj.weight instanceof QuantizedWeight;
    if (inCodes || n._overlay !== null || o_proj._overlay !== null) {
      throw new ConfigError({
        where: "MFAKR.fold",
        expected: "kr_n and o_proj in numbers, without adapters",
        got: inCodes ? "a weight in codes" : "an adapter",
        hint: "merge adapters first",
      });
    }
    const width = o_proj.outFeatures;
    const O = o_proj.denseWeight().astype("f32").reshape([width, heads, headDim]);
    // O diag(α) N, with α over the columns of O.
    const reused = O.mul(alpha.astype("f32")).matmul(n.denseWeight().astype("f32"));
    const folded = O.add(reused).reshape([width, heads * headDim]);
    await evaluate(o_proj.weight.assign(folded.astype(o_proj.weight.dtype)));
    this.kr_n = null;
    this.kr_alpha = null;
  }
}

/** Places [1 or batch, count] i32 of the next `count` tokens of a cache. */
function places(count: number, { offset }: AttentionCache): Tensor {
  const row = arange(0, count, 1, { dtype: "i32" }).reshape([1, count]);
  return row.add(offset.ndim === 0 ? offset : offset.reshape([offset.shape[0]!, 1])); // of 0-d or [batch, 1, 1, 1]
}
