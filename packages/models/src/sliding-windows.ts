import { ConfigError, tensor } from "@lowrank/tensor";
import { type CausalLM, IGNORED_LABEL } from "./causal-lm.js";
import type { ScoredBatch } from "./perplexity.js";

export interface WindowOptions {
  /** Tokens in a window. Default: 1024, or the model's positions if fewer. */
  length?: number;
  /** Tokens from the start of a window to that of the next. Default: half the length. */
  stride?: number;
  /** Windows that are computed at a time. Default 1. */
  batch?: number;
}

/**
 * Batches for {@link perplexity} over a text that is longer than the model's positions: windows that overlap, in which
 * only tokens that no earlier window has scored are asked for. Each token but the first is asked for once, and all but
 * those of the first window have at least length − stride tokens before them.
 *
 * A smaller stride costs more windows and gives each token more to go by; length − 1 is the fastest.
 *
 * @example
 * ```ts
 * const { perplexity: value } = await perplexity(model, slidingWindows(model, tokenizer.encode(book), { stride: 256 }));
 * ```
 */
export function* slidingWindows(
  model: CausalLM,
  ids: readonly number[],
  options: WindowOptions = {},
): Generator<ScoredBatch> {
  const { maxPositions } = model.config;
  const { batch = 1 } = options;
  const length = options.length ?? Math.min(1024, maxPositions);
  const stride = options.stride ?? Math.max(1, Math.floor(length / 2));
  const check = (name: string, value: number, min: number, max: number): void => {
    if (Number.isInteger(value) && value >= min && value <= max) return;
    const range = max === Infinity ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new ConfigError({
      where: "slidingWindows",
      expected: `${name} to be an integer ${range}`,
      got: String(value),
    });
  };
  check("length", length, 2, maxPositions);
  check("stride", stride, 1, length - 1); // the first token of a window is never asked for
  check("batch", batch, 1, Infinity);
  let rows: { ids: number[]; labels: number[] }[] = [];
  for (let [from, scored] = [0, 1]; scored < ids.length; from += stride) {
    const end = Math.min(from + length, ids.length);
    const padding = length - (end - from);
    rows.push({
      ids: [...ids.slice(from, end), ...new Array<number>(padding).fill(0)],
      labels: [
        ...new Array<number>(Math.max(0, scored - from)).fill(IGNORED_LABEL),
        ...ids.slice(Math.max(scored, from), end),
        ...new Array<number>(padding).fill(IGNORED_LABEL),
      ],
    });
    scored = end;
    if (rows.length < batch && scored < ids.length) continue;
    const labels = Int32Array.from(rows.flatMap((row) => row.labels));
    yield {
      ids: model.ids(rows.map((row) => row.ids)),
      labels: tensor(labels, { dtype: "i32", shape: [rows.length, length] }),
    };
    rows = [];
  }
}
