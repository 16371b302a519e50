import { ConfigError } from "@lowrank/tensor";
import type { Example } from "./example.js";
import { type PackedBatch, type PackOptions, pack } from "./packing.js";

/** Where a run stands in its data. */
export interface DataPosition {
  /** Passes over the data done. */
  epoch: number;
  /** Batches of the present pass done. */
  batch: number;
}

export interface TrainingDataOptions extends PackOptions {
  /** Order of the texts. Default 0. */
  seed?: number;
}

/**
 * Batches without end: each pass takes the texts in an order of its own, drawn from the seed and the number of the
 * pass, and packs them anew. A position is two numbers, and going back to one gives the same batches.
 */
export class TrainingData {
  private epoch = 0;
  private at = 0;
  private batches: PackedBatch[] | null = null;

  constructor(
    private readonly examples: readonly Example[],
    private readonly options: TrainingDataOptions,
  ) {
    if (examples.length === 0)
      throw new ConfigError({ where: "TrainingData", expected: "examples", got: "none" });
    if (this.pass().every((b) => b.targets === 0)) {
      throw new ConfigError({
        where: "TrainingData",
        expected: "tokens to learn",
        got: "examples without any",
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

  /**
   * Eight hexadecimal digits that change with the texts, their order, the seed and the sizes of a batch; for telling on a
   * resume that the data is another (FNV-1a over 32-bit words).
   */
  get fingerprint(): string {
    const { length, batch, seed = 0 } = this.options;
    let hash = 0x811c9dc5;
    const add = (word: number): void => {
      hash = Math.imul(hash ^ word, 0x01000193);
      hash ^= hash >>> 15;
    };
    for (const word of [length, batch, seed, this.examples.length]) add(word);
    for (const { ids, labels } of this.examples) {
      add(ids.length);
      for (let i = 0; i < ids.length; i++) {
        add(ids[i]!);
        add(labels[i]!);
      }
    }
    return (hash >>> 0).toString(16).padStart(8, "0");
  }

  /** Batches in one pass. */
  get batchesPerEpoch(): number {
    return this.pass().length;
  }

  /** The next batch with something to learn. */
  next(): PackedBatch {
    for (;;) {
      const batches = this.pass();
      if (this.at >= batches.length) {
        this.epoch++;
        this.at = 0;
        this.batches = null;
        continue;
      }
      const batch = batches[this.at++]!;
      if (batch.targets > 0) return batch;
    }
  }

  private pass(): PackedBatch[] {
    this.batches ??= pack(shuffled(this.examples, this.options.seed ?? 0, this.epoch), this.options);
    return this.batches;
  }
}

/** Fisher and Yates's shuffle with numbers that depend on seed, pass and place alone (splitmix32). */
export function shuffled<T>(items: readonly T[], seed: number, epoch: number): T[] {
  const out = [...items];
  let state = (Math.imul(seed | 0, 0x9e3779b9) ^ Math.imul(epoch + 1, 0x85ebca6b)) | 0;
  const draw = (below: number): number => {
    state = (state + 0x9e3779b9) | 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return Math.floor((((z ^ (z >>> 15)) >>> 0) / 2 ** 32) * below);
  };
  for (let i = out.length - 1; i > 0; i--) {
    const j = draw(i + 1);
    [out[i], out[j]] = [out[j]!, out[i]!];
  }
  return out;
}
