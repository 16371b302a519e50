import { ConfigError, evaluate, type Tensor } from "@lowrank/tensor";
import type { CausalLM } from "./causal-lm.js";

/** A batch to be scored. */
export interface ScoredBatch {
  /** [batch, T] i32. */
  ids: Tensor;
  /** [batch, T] i32, −100 where nothing is asked. */
  labels: Tensor;
  segments?: Tensor;
}

export interface PerplexityResult {
  /** Sum of −log p in nats. */
  sum: number;
  /** Tokens scored. */
  count: number;
  /** sum / count. */
  loss: number;
  /** exp(loss). */
  perplexity: number;
}

export interface PerplexityOptions {
  signal?: AbortSignal;
  /** Rows of logits that exist at a time. Default: as many as make 2²⁵ logits. */
  lossRows?: number;
  onBatch?: (soFar: { sum: number; count: number }) => void;
}

/**
 * exp of the mean −log p(token) over all batches, each token counted once. The model is in evaluation mode meanwhile.
 *
 * @throws ConfigError if no batch has a target.
 */
export async function perplexity(
  model: CausalLM,
  batches: Iterable<ScoredBatch> | AsyncIterable<ScoredBatch>,
  { signal, lossRows, onBatch }: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const training = model.training;
  model.eval();
  try {
    let [sum, count] = [0, 0];
    for await (const { ids, labels, segments } of batches) {
      signal?.throwIfAborted();
      const parts = model.lossParts(ids, labels, { segments, lossRows });
      await evaluate(parts.sum, parts.count);
      sum += await parts.sum.item();
      count += await parts.count.item();
      onBatch?.({ sum, count });
    }
    if (count === 0) throw new ConfigError({ where: "perplexity", expected: "tokens to score", got: "none" });
    return { sum, count, loss: sum / count, perplexity: Math.exp(sum / count) };
  } finally {
    model.train(training);
  }
}
