import { ConfigError } from "@lowrank/tensor";
import { type DataPosition, shuffled } from "./data.js";
import { IGNORED } from "./example.js";
import type { BatchSource, TrainBatch } from "./train-options.js";

/** A text with its class. */
export interface LabelledExample {
  /** Token ids, with the special tokens that the model wants around a text. */
  readonly ids: readonly number[];
  /** Number of the class. */
  readonly label: number;
}

/** Texts that are read at once. */
export interface LabelledBatch extends TrainBatch {
  readonly rows: readonly (readonly number[])[];
  /** A class for each row, −100 for rows that only fill up the batch. */
  readonly labels: readonly number[];
  /** Length that the rows are padded to. */
  readonly length: number;
}

export interface LabelledDataOptions {
  /** Rows in a batch. */
  batch: number;
  /** Order of the texts. Default 0. */
  seed?: number;
}

/** Batches whose texts are of similar length. */
const NEIGHBOURS = 16;
/** Padded lengths are multiples of this, so that few plans serve all batches. */
const STEP = 32;

/**
 * Labelled texts in batches without end. Each pass takes the texts in an order of its own, drawn from the seed and the number
 * of the pass; within {@link NEIGHBOURS} batches texts are sorted by length, so that little is spent on padding, and the batches
 * are then taken in another order. The last batch is filled up with texts that are not learnt.
 */
export class LabelledData implements BatchSource<LabelledBatch> {
  private epoch = 0;
  private at = 0;
  private batches: LabelledBatch[] | null = null;

  constructor(
    private readonly examples: readonly LabelledExample[],
    private readonly options: LabelledDataOptions,
  ) {
    const { batch } = options;
    const wrong = !Number.isInteger(batch) || batch < 1;
    if (examples.length === 0 || wrong) {
      throw new ConfigError({
        where: "LabelledData",
        expected: wrong ? "batch to be a positive integer" : "examples",
        got: wrong ? String(batch) : "none",
      });
    }
  }

  get position(): DataPosition {
    return { epoch: this.epoch, batch: this.at };
  }

  set position({ epoch, batch }: DataPosition) {
    if (epoch !== this.epoch) this.batches = null;
    this.epoch = epoch;
    this.at = batch;
  }

  get batchesPerEpoch(): number {
    return Math.ceil(this.examples.length / this.options.batch);
  }

  /** Eight hexadecimal digits that change with the texts, their classes and order, the seed and the size of a batch (FNV-1a). */
  get fingerprint(): string {
    let hash = 0x811c9dc5;
    const add = (word: number): void => {
      hash = Math.imul(hash ^ word, 0x01000193);
      hash ^= hash >>> 15;
    };
    for (const word of [this.options.batch, this.options.seed ?? 0, this.examples.length]) add(word);
    for (const { ids, label } of this.examples) {
      add(label);
      add(ids.length);
      for (const id of ids) add(id);
    }
    return (hash >>> 0).toString(16).padStart(8, "0");
  }

  next(): LabelledBatch {
    if (this.at >= this.batchesPerEpoch) {
      this.epoch++;
      this.at = 0;
      this.batches = null;
    }
    this.batches ??= this.pass();
    return this.batches[this.at++]!;
  }

  private pass(): LabelledBatch[] {
    const { batch, seed = 0 } = this.options;
    const order = shuffled(this.examples, seed, this.epoch);
    const sorted: LabelledExample[] = [];
    for (let from = 0; from < order.length; from += batch * NEIGHBOURS) {
      const some = order.slice(from, from + batch * NEIGHBOURS);
      sorted.push(...some.sort((a, b) => a.ids.length - b.ids.length));
    }
    const batches: LabelledBatch[] = [];
    for (let from = 0; from < sorted.length; from += batch)
      batches.push(fill(sorted.slice(from, from + batch), batch));
    return shuffled(batches, seed + 1, this.epoch);
  }
}

/** Examples as a batch of `size` rows. */
export function fill(examples: readonly LabelledExample[], size: number): LabelledBatch {
  const longest = Math.max(...examples.map(({ ids }) => ids.length));
  const spare = Array.from({ length: size - examples.length }, () => examples[0]!.ids);
  return {
    rows: [...examples.map(({ ids }) => ids), ...spare],
    labels: [...examples.map(({ label }) => label), ...spare.map(() => IGNORED)],
    length: Math.ceil(longest / STEP) * STEP,
    targets: examples.filter(({ label }) => label !== IGNORED).length,
    tokens: examples.reduce((sum, { ids }) => sum + ids.length, 0),
  };
}
