import { concat, ConfigError, tensor, type Tensor, zeros } from "@lowrank/tensor";
import type { Attention } from "./attention.js";
import { expectSizes } from "./attention-layer.js";
import { MFA } from "./mfa.js";
import { type Decompose, sharedTurningKeys } from "./shared-keys.js";

export interface MFAFromAttentionOptions {
  /** Width of the new layer's heads, key and value, up to kvHeads · headDim of the old; even if its keys turn. */
  headDim: number;
  /** Width of the latent queries, up to min(heads · headDim, width). Default: `headDim`. */
  queryDim?: number;
  /** The frequencies [headDim / 2] with which the old layer's queries and keys turn. Default: they do not. */
  inverseFrequencies?: Tensor;
  /** `svd` of `@lowrank/linalg`. */
  svd: Decompose;
}

export interface ConvertedAttention {
  /** If queries and keys turn, with frequencies of its own. */
  layer: MFA;
  /** ‖M − M̂‖ / ‖M‖ over the circuits of query and key of all heads together (Frobenius). */
  queryKeyError: number;
  /** The same of the circuits of value and output. */
  valueOutputError: number;
}

/**
 * A trained layer of multi-head or grouped-query attention as MFA: its circuits, cut to one key and one value for all heads.
 *
 * What a head h computes is in two matrices of [width, width], M_h = W_q,hᵀ W_k,h for the scores and N_h = W_o,h W_v,h for the
 * result. One key S_k x for all heads leaves of M_h what lies in its rows, so S_k is the first right singular
 * vectors of all M_h below each other, the best there is; then W_q,hᵀ W_k,h S_kᵀ of all heads, side by side, is cut to rank
 * queryDim, which gives S_q and Q_h. S_v and O_h come of the N_h likewise. With singular values s of the keys' cut and t of the
 * queries' after it,
 *
 *     Σ_h ‖M_h − S_qᵀ Q_hᵀ S_k‖² = Σ_{i > headDim} s_i² + Σ_{i > queryDim} t_i²
 *
 * Where queries and keys turn, a pair of numbers is a complex one that turns with its frequency, and only keys of one frequency
 * may be mixed. So each frequency has circuits of its own, complex and of rank 1 for a head, and the headDim / 2 largest
 * singular values of all of them are kept: the new layer has some frequencies several times and others not. The
 * error is over all of these circuits; that of the scores' matrix at any distance is at most the same.
 *
 * With headDim = kvHeads · headDim of the old layer and queryDim = width both errors are those of rounding.
 *
 * Source: the derivation is ours (arXiv:2412.19255 trains from scratch); circuits as in Elhage et al. 2021,
 * "A Mathematical Framework for Transformer Circuits".
 *
 * @example
 * ```ts
 * import { svd } from "@lowrank/linalg";
 * const { layer, queryKeyError } = await mfaFromAttention(trained, { headDim: 64, queryDim: 128, svd });
 * ```
 * @throws ConfigError if a size is out of range, or the layer has biases, norms of queries and keys, or adapters.
 * @category Attention
 */
export async function mfaFromAttention(
  from: Attention,
  { headDim: C, queryDim = C, inverseFrequencies, svd }: MFAFromAttentionOptions,
): Promise<ConvertedAttention> {
  const { heads: m, kvHeads: n, headDim: d } = from;
  const H = from.q_proj.inFeatures;
  expectConvertible(from, C, queryDim, inverseFrequencies);
  const dtype = from.q_proj.denseWeight().dtype;
  const weight = (t: Tensor): Tensor => t.astype("f32");
  const Q = weight(from.q_proj.denseWeight()).reshape([m, d, H]);
  const K = weight(from.k_proj.denseWeight()).reshape([n, d, H]);
  const V = weight(from.v_proj.denseWeight()).reshape([n, d, H]);
  const O = weight(from.o_proj.denseWeight()).reshape([H, m, d]).permute([1, 0, 2]); // [m, H, d]

  const turning = inverseFrequencies ? await sharedTurningKeys(Q, K, C, svd) : null;
  const keys = turning ?? (await sharedRows(Q.permute([0, 2, 1]), K, C, svd));
  // Q_h S_q is to be S_k W_k,hᵀ W_q,h.
  const queries = turning?.queries ?? keys.S.matmul(repeated(K, m).permute([0, 2, 1])).matmul(Q); // [m, C, H]
  const cut = svd(queries.reshape([m * C, H]));
  const t = squares(await cut.s.data());
  const root = cut.s.slice([[0, queryDim]]).sqrt();
  const values = await sharedRows(O, V, C, svd);

  const places = await inverseFrequencies?.data();
  const layer = new MFA({
    width: H,
    heads: m,
    headDim: C,
    queryDim,
    scale: from.scale,
    inverseFrequencies:
      turning && places ? tensor(Float32Array.from(turning.frequencies, (j) => places[j]!)) : null,
    dtype,
  });
  layer.loadState(
    new Map<string, Tensor>([
      ["q_proj.weight", root.reshape([queryDim, 1]).mul(cut.vt.slice([[0, queryDim]]))],
      ["wq.weight", cut.u.slice([null, [0, queryDim]]).mul(root)],
      ["k_proj.weight", keys.S],
      ["v_proj.weight", values.S],
      // O_h = W_o,h W_v,h S_vᵀ
      [
        "o_proj.weight",
        O.matmul(repeated(V, m).matmul(values.S.T))
          .permute([1, 0, 2])
          .reshape([H, m * C]),
      ],
    ]),
  );
  const lost = keys.lost + t.slice(queryDim).reduce((a, b) => a + b, 0);
  return {
    layer,
    queryKeyError: relative(lost, keys.whole),
    valueOutputError: relative(values.lost, values.whole),
  };
}

const squares = (s: ArrayLike<number>): number[] => Array.from(s, (x) => x * x);
const relative = (lost: number, whole: number): number => (whole === 0 ? 0 : Math.sqrt(lost / whole));

/** A weight [n, d, H] for each of m heads. */
function repeated(w: Tensor, m: number): Tensor {
  const [n, d, H] = w.shape as [number, number, number];
  return w
    .reshape([n, 1, d, H])
    .add(zeros([1, m / n, 1, 1]))
    .reshape([m, d, H]);
}

/** The C orthonormal rows that keep most of the matrices A_h B_h below each other, with A [m, H, d] and B [n, d, H]. */
async function sharedRows(
  A: Tensor,
  B: Tensor,
  C: number,
  svd: Decompose,
): Promise<{ S: Tensor; lost: number; whole: number }> {
  const [m, H, d] = A.shape as [number, number, number];
  // A_h = U diag(s) Vᵀ, so A_h B_h has the right singular vectors and values of diag(s) Vᵀ B_h.
  const { s, vt } = svd(A);
  const core = s.reshape([m, s.shape[1]!, 1]).mul(vt).matmul(repeated(B, m)); // [m, min(H, d), H]
  const all = svd(core.reshape([m * Math.min(H, d), H]));
  const energy = squares(await all.s.data());
  const kept = Math.min(C, energy.length);
  const rows = all.vt.slice([[0, kept]]);
  return {
    S: kept === C ? rows : concat([rows, zeros([C - kept, H])], 0),
    lost: energy.slice(kept).reduce((a, b) => a + b, 0),
    whole: energy.reduce((a, b) => a + b, 0),
  };
}

function expectConvertible(
  from: Attention,
  C: number,
  queryDim: number,
  inverseFrequencies: Tensor | undefined,
): void {
  const where = "mfaFromAttention";
  const { heads: m, kvHeads: n, headDim: d, q_proj, k_proj, v_proj, o_proj } = from;
  expectSizes(where, { headDim: C, queryDim });
  const [most, widest] = [n * d, Math.min(m * C, q_proj.inFeatures)];
  const projections = [q_proj, k_proj, v_proj, o_proj];
  const refuse = (expected: string, got: string, hint?: string): never => {
    throw new ConfigError({ where, expected, got, ...(hint === undefined ? {} : { hint }) });
  };
  if (C > most) refuse(`headDim up to kvHeads · headDim = ${most}`, String(C));
  if (queryDim > widest) refuse(`queryDim up to ${widest}`, String(queryDim));
  if (projections.some((p) => p.bias !== null)) refuse("projections without bias", "a bias");
  if (from.q_norm !== null || from.k_norm !== null) refuse("no norms of queries and keys", "norms");
  if (projections.some((p) => p._overlay !== null))
    refuse("a layer without adapters", "one", "merge it first");
  if (inverseFrequencies === undefined) return;
  if (C % 2 !== 0) refuse("an even headDim, as keys turn in pairs", String(C));
  if (inverseFrequencies.size !== d / 2)
    refuse(`frequencies of every pair of a head, [${d / 2}]`, `[${inverseFrequencies.shape.join(", ")}]`);
}
