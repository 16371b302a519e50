import { kaimingUniform } from "@lowrank/nn";
import { full, matmul, sigmoid, softmax, type Tensor, zeros } from "@lowrank/tensor";
import { defineAdapter } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { substituted } from "./substitution.js";

export interface AutoLoraConfig {
  /** Rank k that the search starts from, the most that a layer can keep. Default 8. */
  rank?: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /** Probability that an input of the update is left out while training. Default 0. */
  dropout?: number;
  /**
   * Selection weights of a layer from their variables β: "softmax" (they add up to 1); the paper's ablations "sigmoid", each on its
   * own, and "free", β itself. Default "softmax".
   */
  selection?: "softmax" | "sigmoid" | "free";
}

export interface AutoLoraParams {
  /** Down projection, [rank, in]. */
  A: Tensor;
  /** Up projection, [out, rank]. */
  B: Tensor;
  /** Selection variables, [rank]. */
  beta: Tensor;
}

const RANK = 8;
const SELECTIONS = ["softmax", "sigmoid", "free"] as const;

/** Weight of each rank-one update of a layer, [rank], from its selection variables. */
export function selectionWeights(beta: Tensor, { selection = "softmax" }: AutoLoraConfig): Tensor {
  if (selection === "softmax") return softmax(beta);
  return selection === "sigmoid" ? sigmoid(beta) : beta;
}

/** The weight from which on a rank-one update is kept, of the selection weights of its layer. */
export function selectionThreshold(
  weights: readonly number[],
  { selection = "softmax" }: AutoLoraConfig,
): number {
  if (selection === "softmax") return 1 / weights.length;
  return selection === "sigmoid" ? 0.5 : weights.reduce((sum, w) => sum + w, 0) / weights.length;
}

/**
 * AutoLoRA's search: a LoRA each of whose rank-one updates has a weight, learned on data that is held out, from which the rank
 * of each layer follows.
 *
 *     W' = W + s Σⱼ αⱼ bⱼ aⱼᵀ = W + s B diag(α) A,   α = softmax(β),   s = alpha / rank
 *
 * W is [out, in], aⱼ the rows of A [rank, in], bⱼ the columns of B [out, rank], β [rank]: rank · (in + out) + rank numbers are
 * trained. B starts at zero, so W' = W before the first step, and all αⱼ at 1 / rank; A starts uniform within ±1/√in. A and B
 * are trained on one part of the data, β on the other by `hypergradient`: `searchRanks` does both and gives the ranks, with
 * which an ordinary LoRA is trained from the start.
 *
 * Source: Zhang et al. 2024, arXiv:2403.09113.
 *
 * @example
 * ```ts
 * const adapted = attach(model, autoLora, { rank: 8 }, { targets: ["q_proj", "v_proj"] });
 * const { weights, selection } = autoLoraParameters(adapted);
 * const ranks = await searchRanks(adapted, {
 *   train, validation, // batches of two parts of the data
 *   loss: ({ ids, labels }) => model.loss(ids, labels),
 *   weights: new AdamW(weights, { lr: 1e-4 }),
 *   selection: new AdamW(selection, { lr: 1e-3 }),
 *   lookAhead: 1e-4,
 *   steps: 1000,
 * });
 * adapted.detach();
 * attach(model, lora, { rank: 8 }, { targets: ["q_proj", "v_proj"], rankPattern: rankPattern(ranks) });
 * ```
 * @category Choice of ranks
 */
export const autoLora = /* @__PURE__ */ defineAdapter<AutoLoraConfig, AutoLoraParams>({
  name: "autoLora",

  check({ rank = RANK, alpha, dropout, selection }, { inFeatures, outFeatures, path }) {
    expectInteger("autoLora", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    if (alpha !== undefined) expectNumber("autoLora", "alpha", alpha);
    if (dropout !== undefined) expectNumber("autoLora", "dropout", dropout, { min: 0, below: 1 });
    if (selection !== undefined) expectOneOf("autoLora", "selection", selection, SELECTIONS);
  },

  init({ inFeatures, outFeatures, dtype }, { rank = RANK, selection }, key) {
    return {
      A: kaimingUniform([rank, inFeatures], { a: Math.sqrt(5), key, dtype }),
      B: zeros([outFeatures, rank], { dtype }),
      beta: selection === "free" ? full([rank], 1 / rank, { dtype }) : zeros([rank], { dtype }),
    };
  },

  // y = W x + B (s α ∘ A x)
  forward(x, base, params, config, { dropout, extras }) {
    const { A, B, beta } = substituted(params, extras);
    const { rank = RANK, alpha = rank } = config;
    const low = matmul(dropout(x, config.dropout ?? 0), A.T); // [..., rank]
    return base(x).add(matmul(low.mul(selectionWeights(beta, config).mul(alpha / rank)), B.T));
  },

  // W' = W + s B diag(α) A
  merge(W, { A, B, beta }, config) {
    const { rank = RANK, alpha = rank } = config;
    return W.add(matmul(B.mul(selectionWeights(beta, config).mul(alpha / rank)), A));
  },
});
