import {
  ConfigError,
  gt,
  matmul,
  normal,
  oneHot,
  ones,
  or,
  ShapeError,
  stopGradient,
  type Tensor,
  topK as largest,
  uniform,
  where as choose,
  zeros,
} from "@lowrank/tensor";
import { type AdapterPass, defineAdapter } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { chosenFor, maskFor, type RoutingReport, routeTokens, routingIn } from "./expert-routing.js";
import { addTerm } from "./regularized.js";

export interface SiraConfig {
  /** Number of experts E. Default 16. */
  experts?: number;
  /** Experts K that a token goes to. Default 4, or all if there are fewer. */
  topK?: number;
  /** Rank of each expert. Default 4. */
  rank?: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /** While training an expert takes ⌈capacity · K · tokens / E⌉ tokens at most; null: any number. Default 1.25. */
  capacity?: number | null;
  /** The same when not training. Default null, so that what a token gets does not depend on the rest of the batch. */
  evaluationCapacity?: number | null;
  /** Probability p that a token's logit of an expert is dropped while training. Default 0.5. */
  expertDropout?: number;
  /**
   * What dropping is: "logit" sets the logit to 0 and divides the others by 1 − p; "expert" takes the expert out for this
   * token, unless fewer than K would be left: then the K with the largest logits stay. Default "logit".
   */
  dropout?: "logit" | "expert";
  /** λ of the balance term in the loss; `regularized` collects it. Default 0.01. */
  balance?: number;
  /** Divides the weights of a token's K experts by their sum. Default false. */
  renormalize?: boolean;
  /** What is routed: each token, or a sequence (the last but one axis) by the mean of its tokens. Default "token". */
  routing?: "token" | "sequence";
}

export interface SiraParams {
  /** Gate, [experts, in]. */
  G: Tensor;
  /** Down projections of all experts one after the other, [experts · rank, in]. */
  A: Tensor;
  /** Up projections, [out, experts · rank]. */
  B: Tensor;
}

function filled(config: SiraConfig): Required<SiraConfig> {
  const { experts = 16, rank = 4 } = config;
  return {
    topK: Math.min(4, experts),
    alpha: rank,
    capacity: 1.25,
    evaluationCapacity: null,
    expertDropout: 0.5,
    dropout: "logit",
    balance: 0.01,
    renormalize: false,
    routing: "token",
    ...config,
    experts,
    rank,
  };
}

/** Logits after expert dropout, [S, E]. */
function dropExperts(logits: Tensor, config: Required<SiraConfig>, pass: AdapterPass): Tensor {
  const { experts, topK, expertDropout, dropout } = config;
  if (dropout === "logit") return pass.dropout(logits, expertDropout);
  if (!pass.training || expertDropout === 0) return logits;
  const alive = gt(pass.dropout(ones(logits.shape, { dtype: logits.dtype }), expertDropout), 0);
  const best = oneHot(largest(stopGradient(logits), topK).indices, experts, { dtype: logits.dtype }).sum(1);
  const short = gt(topK, alive.astype(logits.dtype).sum(1, { keepDims: true })); // [S, 1]
  const kept = or(alive, choose(short, best, 0).astype("bool"));
  return choose(kept, logits, Number.NEGATIVE_INFINITY);
}

/** What is routed, as rows [S, in], with the mask of these rows. */
function routed(
  x: Tensor,
  mask: Tensor | null,
  { routing }: Required<SiraConfig>,
): { rows: Tensor; mask: Tensor | null; perRow: number } {
  const width = x.shape.at(-1)!;
  const flat = x.reshape([-1, width]);
  if (routing === "token") return { rows: flat, mask, perRow: 1 };
  const length = x.shape.at(-2)!;
  const parts = flat.reshape([-1, length, width]);
  if (mask === null) return { rows: parts.mean(1), mask, perRow: length };
  const real = mask.reshape([-1, length, 1]);
  const count = real.sum(1); // [rows, 1]
  const some = gt(count, 0);
  const rows = parts
    .mul(real)
    .sum(1)
    .div(choose(some, count, 1));
  return { rows, mask: some.astype(mask.dtype).reshape([-1]), perRow: length };
}

/** The layer's decisions for an input, and the weight of each expert for each token [tokens, E]. */
function gates(
  x: Tensor,
  { G }: SiraParams,
  config: Required<SiraConfig>,
  pass: AdapterPass,
): { gate: Tensor; report: RoutingReport } {
  const { experts, topK, renormalize, routing } = config;
  const { path } = pass.target;
  if (routing === "sequence" && x.ndim < 2) {
    throw new ShapeError({
      where: path,
      expected: 'an input [..., tokens, in] for routing "sequence"',
      got: `[${x.shape.join(", ")}]`,
    });
  }
  const tokens = x.size / x.shape.at(-1)!;
  const given = routingIn(pass.extras);
  const { rows, mask, perRow } = routed(x, maskFor(path, given, tokens, G), config);
  const logits = dropExperts(matmul(rows.astype(G.dtype), G.T), config, pass); // [S, E], in f32 at least
  const [places, batch] = [rows.shape[0]!, x.ndim < 2 ? 1 : x.shape[0]!];
  const report = routeTokens(logits, {
    path,
    topK,
    capacity: pass.training ? config.capacity : config.evaluationCapacity,
    mask,
    chosen: chosenFor(path, given, batch, places / batch, topK, experts),
  });
  let gate = report.probabilities.mul(report.accepted);
  if (renormalize) {
    const total = report.probabilities.mul(report.requested).sum(1, { keepDims: true });
    gate = gate.div(choose(gt(total, 0), total, 1)); // padding chose none
  }
  if (perRow === 1) return { gate, report };
  const each = gate.reshape([places, 1, experts]).mul(ones([1, perRow, 1], { dtype: gate.dtype }));
  return { gate: each.reshape([tokens, experts]), report };
}

const staysApart = ({ experts = 16, evaluationCapacity = null }: SiraConfig): string | undefined =>
  experts === 1 && evaluationCapacity === null ? undefined : "which experts act depends on the input";

/**
 * SiRA: a sparse mixture of low-rank updates. A gate sends each token to the K best of E experts, and each expert takes a
 * limited number of tokens.
 *
 *     y = W x + s Σ_{e ∈ K(x)} m_e g_e B_e A_e x,   g = softmax(Drop(G x)),   s = alpha / rank
 *
 * W is [out, in], A_e [rank, in], B_e [out, rank], G [experts, in]: experts · (rank · (in + out) + in) numbers are trained.
 * K(x) holds the K largest g, which are not divided by their sum; m_e is 0 where expert e was full. A token that no expert
 * takes gets W x. Every B_e starts at zero, so y = W x before the first step, A_e uniform within ±1/√in, G as N(0, 0.02²).
 * The loss gets λ (1/E) Σ_e (c_e / S) · mean_s g_se per layer through `regularized`, where c_e of S tokens chose e.
 *
 * Tokens that are padding are named by `withRouting({ mask })`, rows may be given their experts there, and decisions observed.
 * The products are made for all experts at once and those that were not chosen closed, so one plan serves all choices at the
 * cost of a LoRA of rank experts · rank. The update depends on the input and cannot be merged, but for one expert, a LoRA.
 * `routing: "sequence"` looks at all tokens of a sequence, so in a causal model also at later ones.
 *
 * Source: Zhu et al. 2023, arXiv:2311.09179. Capacity and balance are as in GShard, Lepikhin et al. 2020,
 * arXiv:2006.16668, section 2.2, with factors of our own choice.
 *
 * @example
 * ```ts
 * const adapted = attach(model, sira, { experts: 8, topK: 2 }, { targets: ["q_proj", "v_proj"] });
 * const loss = regularized(model, () => model.loss(ids, labels));
 * ```
 * @category Additive adapters
 */
export const sira = /* @__PURE__ */ defineAdapter<SiraConfig, SiraParams>({
  name: "sira",
  staysApart,

  check(config, { inFeatures, outFeatures, path }) {
    const { experts, topK, rank, alpha, expertDropout, balance, ...rest } = filled(config);
    expectInteger("sira", "experts", experts, { min: 1 });
    expectInteger("sira", "topK", topK, { min: 1, max: experts });
    expectInteger("sira", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    expectNumber("sira", "alpha", alpha);
    expectNumber("sira", "expertDropout", expertDropout, { min: 0, below: 1 });
    expectNumber("sira", "balance", balance, { min: 0 });
    for (const field of ["capacity", "evaluationCapacity"] as const) {
      if (rest[field] !== null) expectNumber("sira", field, rest[field], { min: Number.MIN_VALUE });
    }
    expectOneOf("sira", "dropout", rest.dropout, ["logit", "expert"]);
    expectOneOf("sira", "routing", rest.routing, ["token", "sequence"]);
  },

  init({ inFeatures, outFeatures, dtype }, config, key) {
    const { experts, rank } = filled(config);
    const bound = inFeatures ** -0.5;
    return {
      G: normal([experts, inFeatures], { key: key.foldName("G"), std: 0.02, dtype }),
      A: uniform([experts * rank, inFeatures], { key, min: -bound, max: bound, dtype }),
      B: zeros([outFeatures, experts * rank], { dtype }),
    };
  },

  // y = W x + s B (gate ∘ A x)
  forward(x, base, params, given, pass) {
    const config = filled(given);
    const { experts, rank, alpha, balance } = config;
    const { gate, report } = gates(x, params, config, pass);
    routingIn(pass.extras).observe?.(report);
    if (pass.training && balance > 0) addTerm(pass.extras, report.balance.mul(balance));
    const low = matmul(x, params.A.T).reshape([-1, experts, rank]);
    const open = low.mul(gate.mul(alpha / rank).reshape([-1, experts, 1])); // [tokens, experts, rank]
    return base(x).add(matmul(open.reshape([...x.shape.slice(0, -1), experts * rank]), params.B.T));
  },

  // One expert has the weight softmax = 1: W' = W + s B A
  merge(W, { A, B }, config, { path }) {
    const { rank, alpha } = filled(config);
    const reason = staysApart(config);
    if (reason !== undefined) {
      throw new ConfigError({
        where: `merge sira into ${path}`,
        expected: "one expert with room for all tokens",
        got: `a configuration with which ${reason}`,
        hint: "keep the adapter attached",
      });
    }
    return W.add(matmul(B, A).mul(alpha / rank));
  },
});
