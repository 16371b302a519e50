import { compile, ConfigError, type DType, scalar, take, type Tensor, tensor } from "@lowrank/tensor";
import type { KVCache } from "@lowrank/nn";
import type { CausalLM } from "./causal-lm.js";
import { letEventsRun } from "./event-loop.js";
import { padded, passTokens } from "./prompt-passes.js";

export interface GenerationContextOptions {
  /** Storage type of keys and values; f16 takes half the memory. Default f32. */
  dtype?: DType;
}

/** Positions for which there is room at first. Room doubles from there, so that texts of any length share few plans. */
const ROOM = 256;

/** The room that so many positions take. */
const roomFor = (positions: number): number =>
  ROOM * 2 ** Math.max(0, Math.ceil(Math.log2(positions / ROOM)));

/**
 * What a model has read so far: tokens, and their keys and values at each layer. A text that begins as the one before is
 * read on from where the two part, so that each turn of a conversation costs only what is new.
 *
 * Make a new one, or `reset` it, when weights or adapters of the model have changed.
 *
 * @example
 * ```ts
 * const context = new GenerationContext(model);
 * for await (const id of generate(model, first, { context })) show(id);
 * for await (const id of generate(model, [...first, ...more], { context })) show(id); // reads `more` only
 * ```
 */
export class GenerationContext {
  private cache: KVCache | null = null;
  private held: number[] = [];
  private busy = false;
  private run: ReturnType<typeof passes> | null = null;

  constructor(
    readonly model: CausalLM,
    private readonly options: GenerationContextOptions = {},
  ) {}

  /** The tokens whose keys and values are held. */
  get ids(): readonly number[] {
    return this.held;
  }

  /** Bytes of keys and values. */
  get sizeBytes(): number {
    return this.cache?.sizeBytes ?? 0;
  }

  /** Forgets all tokens; the memory is kept for the next. */
  reset(): void {
    this.run = null;
    this.truncate(0);
  }

  /** Forgets the tokens from a place on. */
  truncate(length: number): void {
    this.held.length = Math.min(length, this.held.length);
    this.cache?.moveTo(this.held.length);
  }

  /** Gives the memory back at once. */
  dispose(): void {
    this.cache?.dispose();
    this.cache = null;
    this.run = null;
    this.held = [];
  }

  /**
   * Reads a text and gives the logits [vocabulary] for what follows it. What it has in common with the text held is not
   * computed again. The signal is looked at before each pass, of at most 128 tokens, or 256 on a device of its own.
   */
  async read(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    if (this.busy) {
      throw new ConfigError({
        where: "generate",
        expected: "a context that no other generation uses meanwhile",
        got: "two at once",
        hint: "make a GenerationContext for each",
      });
    }
    this.busy = true;
    try {
      let common = 0;
      while (common < this.held.length && common < ids.length - 1 && this.held[common] === ids[common])
        common++;
      this.truncate(common);
      const most = await passTokens();
      for (;;) {
        await letEventsRun();
        signal?.throwIfAborted();
        const at = this.held.length;
        const logits = await this.pass(ids.slice(at, at + most), at + most < ids.length);
        if (logits !== null) return logits;
      }
    } finally {
      this.busy = false;
    }
  }

  /** One pass: tokens into the cache; logits of the last one unless more are to follow. */
  private async pass(part: number[], more: boolean): Promise<Float32Array | null> {
    // Padding writes keys behind the last token: hidden by the causal mask, and overwritten by the next tokens.
    // It is no reason to double the room, though.
    const room = roomFor(this.held.length + part.length) - this.held.length;
    const width = part.length === 1 || more ? part.length : Math.min(padded(part.length), room);
    const ids = [...part, ...new Array<number>(width - part.length).fill(0)];
    const cache = await this.cacheFor(this.held.length + width);
    this.run ??= passes(this.model, cache);
    const last = more || width === 1 ? null : tensor([part.length - 1], { dtype: "i32" });
    const start = scalar(this.held.length, { dtype: "i32" });
    const [logits] = await this.run(this.model.ids([ids]), last, start, cache.capacity, more);
    this.held.push(...part);
    cache.moveTo(this.held.length);
    if (logits === null) return null;
    const data = await logits.data();
    logits.dispose();
    return data as Float32Array;
  }

  private async cacheFor(positions: number): Promise<KVCache> {
    if (this.cache === null) {
      const capacity = roomFor(positions + ROOM / 2); // so that the answer does not outgrow it at once
      this.cache = this.model.newCache({ capacity, dtype: this.options.dtype });
    } else await this.cache.reserve(positions);
    return this.cache;
  }
}

/**
 * A pass over ids [1, T], traced once for each T and capacity: `last` [1] is the place whose logits are wanted, null for
 * that of the only one. The capacity is there to tell apart the traces, which hold the memory of the cache.
 */
function passes(
  model: CausalLM,
  cache: KVCache,
): (
  ids: Tensor,
  last: Tensor | null,
  start: Tensor,
  capacity: number,
  more: boolean,
) => Promise<[Tensor | null, unknown]> {
  return compile((ids: Tensor, last: Tensor | null, start: Tensor, _capacity: number, more: boolean) => {
    cache.beginAt(start);
    const hidden = model.hidden(ids, { cache });
    const at = last === null ? hidden : take(hidden, last, 1); // [1, 1, width]
    return [more ? null : model.logits(at).astype("f32"), [...cache.pending()]] as [Tensor | null, unknown];
  });
}
