import { ConfigError, evaluate, maximum, sqrt, type Tensor, where } from "@lowrank/tensor";
import type { EncoderModel } from "./encoder-model.js";
import type { Pooling, SentenceConfig } from "./sentence-config.js";
import type { Tokenizer } from "./tokenizer.js";

export interface EmbedOptions extends Partial<SentenceConfig> {
  /** Texts that run at once. Default 32. */
  batchSize?: number;
  /** Ends the work before the next batch, with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Runs the work of a batch, as to keep it apart from what else uses the model. Default: at once. */
  runBatch?: <T>(work: () => Promise<T>) => Promise<T>;
}

/** What `embed` asks of a model. */
export type Embedder = Pick<EncoderModel, "config" | "batch" | "forward">;

/**
 * The vector of each text, [hiddenSize], in the order of the texts. Texts of similar length run together, so that little is
 * spent on padding; a vector does not depend on its neighbours beyond rounding. Longer texts are cut at `maxLength` tokens,
 * those around them included. Defaults: mean pooling, length 1, as many tokens as the model has positions;
 * `loadSentenceConfig` gives what a model is meant for.
 *
 * @example
 * ```ts
 * const folder = "all-MiniLM-L6-v2";
 * const model = await modelFromPretrained(folder, { task: "feature-extraction" });
 * const vectors = await embed(model, await loadTokenizer(folder), texts, await loadSentenceConfig(folder));
 * ```
 * Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3.
 */
export async function embed(
  model: Embedder,
  tokenizer: Pick<Tokenizer, "encode">,
  texts: readonly string[],
  options: EmbedOptions = {},
): Promise<Float32Array[]> {
  const most = Math.min(options.maxLength ?? Infinity, model.config.maxPositions);
  return embedTokens(
    model,
    texts.map((text) => encodeCut(tokenizer, text, most)),
    options,
  );
}

/**
 * The vector of each row of token ids, as {@link embed} makes it of texts; rows are not cut.
 *
 * @throws ConfigError if a row is longer than the model has positions, or an id is outside of the vocabulary.
 */
export async function embedTokens(
  model: Embedder,
  rows: readonly (readonly number[])[],
  {
    batchSize = 32,
    pooling = "mean",
    normalize = true,
    signal,
    runBatch = (work) => work(),
  }: Omit<EmbedOptions, "maxLength"> = {},
): Promise<Float32Array[]> {
  const { hiddenSize, maxPositions } = model.config;
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new ConfigError({ where: "embed", expected: "batchSize of at least 1", got: String(batchSize) });
  }
  const order = rows.map((_, i) => i).sort((a, b) => rows[a]!.length - rows[b]!.length || a - b);
  const vectors = new Array<Float32Array>(rows.length);
  const fill = async (places: readonly number[]): Promise<void> => {
    signal?.throwIfAborted();
    const longest = Math.max(1, rows[places.at(-1)!]!.length);
    const { ids, attentionMask } = model.batch(
      places.map((i) => rows[i]!),
      Math.min(paddedLength(longest), maxPositions),
    );
    const pooled = pool(model.forward(ids, { attentionMask }), attentionMask, pooling);
    const result = normalize ? unitLength(pooled) : pooled;
    await evaluate(result);
    const data = Float32Array.from(await result.data());
    result.dispose();
    for (const [row, i] of places.entries())
      vectors[i] = data.subarray(row * hiddenSize, (row + 1) * hiddenSize);
  };
  for (let from = 0; from < order.length; from += batchSize)
    await runBatch(() => fill(order.slice(from, from + batchSize)));
  return vectors;
}

/** Few lengths, so that batches share plans, and at most an eighth to a third of padding. */
const paddedLength = (length: number): number => {
  const step = length <= 32 ? 8 : length <= 128 ? 16 : 32;
  return Math.ceil(length / step) * step;
};

/** Ids of a text, at most so many: cut so that the special tokens around it stay. */
export function encodeCut(tokenizer: Pick<Tokenizer, "encode">, text: string, most: number): number[] {
  const whole = tokenizer.encode(text);
  if (whole.length <= most) return whole;
  const bare = tokenizer.encode(text, { addSpecialTokens: false });
  const around = whole.length - bare.length;
  const before = Array.from({ length: around + 1 }, (_, i) => i).find((i) =>
    bare.every((id, j) => whole[i + j] === id),
  );
  if (before === undefined || around >= most) return whole.slice(0, most);
  const after = whole.slice(before + bare.length);
  return [...whole.slice(0, most - after.length), ...after];
}

/**
 * States [batch, T, width] of the tokens that the mask [batch, T] keeps, as one vector each: [batch, width]. The mean is over
 * the tokens kept, `mean_sqrt_len_tokens` their sum over the root of their number, `cls` the first token.
 */
export function pool(hidden: Tensor, attentionMask: Tensor, pooling: Pooling): Tensor {
  if (pooling === "cls") return hidden.slice([null, 0, null]);
  const [batch, length] = attentionMask.shape as [number, number];
  const kept = attentionMask.astype("f32").reshape([batch, length, 1]);
  if (pooling === "max") return where(kept.astype("bool"), hidden, Number.NEGATIVE_INFINITY).max(1);
  const count = maximum(kept.sum(1), 1e-9); // [batch, 1]
  return hidden
    .mul(kept)
    .sum(1)
    .div(pooling === "mean" ? count : sqrt(count));
}

/** Rows divided by their length. */
const unitLength = (x: Tensor): Tensor => x.div(maximum(sqrt(x.mul(x).sum(-1, { keepDims: true })), 1e-12));
