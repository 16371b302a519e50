import type { AttentionCache, KVCache } from "@lowrank/nn";
import {
  concat,
  ConfigError,
  type DType,
  eq,
  full,
  maximum,
  ne,
  ShapeError,
  type Tensor,
  tensor,
  where,
} from "@lowrank/tensor";
import { headLoss, IGNORED_LABEL } from "./head-loss.js";
import { PretrainedModel } from "./pretrained-model.js";

export { IGNORED_LABEL };

export interface ForwardOptions {
  /** Positions [1 or batch, T] i32. Default: 0, 1, 2, ... (after what a cache holds), from 0 again in each segment. */
  positions?: Tensor;
  /**
   * Which text each token belongs to, [batch, T] i32, where several are packed into one row, each in one piece. A token
   * sees only its own text.
   */
  segments?: Tensor;
  cache?: AttentionCache;
  /** Computes each layer again in the backward pass instead of keeping what is inside it. Default false. */
  checkpoint?: boolean;
  /** Is given the states after each layer, [batch, T, width], as to evaluate a long pass in parts. */
  onLayer?: (states: Tensor) => void;
}

export interface LossOptions extends Omit<ForwardOptions, "cache" | "onLayer"> {
  /**
   * Rows of logits that exist at a time, see {@link headLoss}. Default: as many as make 2²⁵ logits, so that small
   * vocabularies go at once and large ones in parts.
   */
  lossRows?: number;
}

/** What generation and saving ask of a configuration. */
export interface CausalConfig {
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly bosTokenIds: readonly number[];
  readonly eosTokenIds: readonly number[];
}

export interface CacheOptions {
  capacity: number;
  /** Default 1. */
  batch?: number;
  /** Default f32. */
  dtype?: DType;
}

/** A model that predicts the next token: what the trainer, generation and perplexity are written against. */
export abstract class CausalLM extends PretrainedModel {
  abstract readonly config: CausalConfig;
  /** Ids [batch, T] i32 to the states before the output head, [batch, T, width]. */
  abstract hidden(ids: Tensor, options?: ForwardOptions): Tensor;
  /** The output head: [..., width] to [..., vocabulary]. */
  abstract logits(hidden: Tensor): Tensor;
  /** Path of the output head, which "all-linear" adapters leave out. */
  abstract readonly outputHead: string;
  /** An empty cache of the right shape. */
  abstract newCache(options: CacheOptions): KVCache;

  /** Ids [batch, T] i32 to logits [batch, T, vocabulary]. */
  forward(ids: Tensor, options: ForwardOptions = {}): Tensor {
    return this.logits(this.hidden(ids, options));
  }

  /** Mean of −log p(label) over the labels kept, 0 if there are none; see {@link lossParts}. */
  loss(ids: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
    const { sum, count } = this.lossParts(ids, labels, options);
    return sum.div(maximum(count, 1));
  }

  /**
   * Sum of −log p(label) in nats and the number of labels kept, for averages over several batches. Labels are [batch, T]
   * i32 and stand where their tokens stand: the prediction at t − 1 is for label t. A label of −100, the first of a row
   * and the first of a segment are no targets.
   */
  lossParts(ids: Tensor, labels: Tensor, options: LossOptions = {}): { sum: Tensor; count: Tensor } {
    expectSameShape("loss", "labels", labels, ids);
    const { lossRows, ...forward } = options;
    const hidden = this.hidden(ids, forward);
    const targets = shiftLabels(labels, options.segments).reshape([-1]); // [batch · T]
    const rows = hidden.reshape([targets.size, -1]);
    const count = ne(targets, IGNORED_LABEL).astype("f32").sum();
    const sum = headLoss(rows, targets, {
      logits: (x) => this.logits(x),
      vocabSize: this.config.vocabSize,
      frozen: [...this.at(this.outputHead).parameters()].every(([, p]) => !p.trainable),
      lossRows,
    });
    return { sum, count };
  }

  /**
   * Token ids as a tensor [rows, T] i32, checked.
   *
   * @throws ShapeError if rows differ in length, ConfigError if an id is outside of the vocabulary.
   */
  ids(rows: readonly ArrayLike<number>[]): Tensor {
    const length = rows[0]?.length ?? 0;
    const flat = new Int32Array(rows.length * length);
    for (const [r, row] of rows.entries()) {
      if (row.length !== length) {
        throw new ShapeError({
          where: "ids",
          expected: `rows of ${length} tokens`,
          got: `${row.length} in row ${r}`,
        });
      }
      for (let i = 0; i < length; i++) flat[r * length + i] = checkToken(row[i]!, this.config.vocabSize, i);
    }
    return tensor(flat, { dtype: "i32", shape: [rows.length, length] });
  }
}

/** Refuses an id outside of the vocabulary. */
export function checkToken(id: number, vocabSize: number, place: number): number {
  if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
    throw new ConfigError({
      where: "ids",
      expected: `token ids from 0 to ${vocabSize - 1}`,
      got: `${id} at place ${place}`,
      hint: "the tokenizer may belong to another model",
    });
  }
  return id;
}

/** Refuses a companion of the ids that has not their shape. */
export function expectSameShape(where: string, name: string, t: Tensor, ids: Tensor): void {
  if (t.shape.join() !== ids.shape.join()) {
    throw new ShapeError({
      where,
      expected: `${name} of shape [${ids.shape.join(", ")}], that of the ids`,
      got: `[${t.shape.join(", ")}]`,
    });
  }
}

/** Labels moved one place to the left: what each position is to predict. */
function shiftLabels(labels: Tensor, segments: Tensor | undefined): Tensor {
  const [batch, length] = labels.shape as [number, number];
  let next = labels.slice([null, [1, length]]);
  if (segments !== undefined) {
    expectSameShape("loss", "segments", segments, labels);
    const same = eq(segments.slice([null, [1, length]]), segments.slice([null, [0, length - 1]]));
    next = where(same, next, IGNORED_LABEL);
  }
  return concat([next, full([batch, 1], IGNORED_LABEL, { dtype: "i32" })], 1);
}
