import { type KVCache, RowCaches } from "@lowrank/nn";
import { ConfigError, type DType, evaluate, take, tensor } from "@lowrank/tensor";
import { BatchJob, type BatchRequest } from "./batch-job.js";
import type { CausalLM } from "./causal-lm.js";
import { nextEvents } from "./event-loop.js";
import type { FinishReason } from "./generate.js";
import { LayeredPass } from "./layered-pass.js";
import { padded, passTokens } from "./prompt-passes.js";

/**
 * Which slots a step computes. A text is the same alone as among others only if the sums of a product are made in one order,
 * however many rows it has.
 *
 * - "steady": the busy ones, filled up to 5 rows or more: one order on the Wasm backend.
 * - "all": every slot: one order on every backend.
 * - "fewest": the busy ones alone, which is faster for one or two texts; what they are may then change with the company
 *   that they have, where two tokens are equally likely but for the last digits.
 */
export type StepRows = "steady" | "all" | "fewest";

export interface BatchGeneratorOptions<C> {
  /** Texts that are made at once. Default 8. */
  slots?: number;
  /** Positions of each, prompt and answer. Default: those of the model, at most 1,024. */
  capacity?: number;
  /** Storage type of keys and values. Default f32. */
  cacheDtype?: DType;
  /**
   * Prompt tokens that are read between two steps of the texts under way, and by one pass at most. Default 128, or 256 on a device of
   * its own.
   */
  chunk?: number;
  /** How many slots a step computes beside the busy ones, see {@link StepRows}. Default "steady". */
  rows?: StepRows;
  /** Runs `build`, which builds a pass, with what belongs to each of its rows: null for a row that is idle or brought nothing. */
  withRows?: <T>(contexts: readonly (C | null)[], build: () => T) => T;
}

/** Rows of a step: few widths, so that few plans are made. */
const WIDTHS = [1, 2, 3, 5, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768];

/** Products of fewer rows are summed in another order by the Wasm backend. */
const STEADY_ROWS = 5;

/**
 * Makes many texts at once with one model. Each text has a slot; a step makes one token for every text in one pass, of
 * few widths, so that steps share plans, and texts join and leave between steps. Prompts are read in chunks in
 * between, each by itself. Texts that find no slot wait for their turn, in the order in which they came.
 *
 * A row does not depend on those beside it: a text is the same alone and among others, with the same seed
 * (see `rows`).
 *
 * Source: Yu et al. 2022, "Orca", OSDI, section 3 (scheduling by iterations).
 *
 * @example
 * ```ts
 * const batch = new BatchGenerator(model, { slots: 4 });
 * const answers = prompts.map(async (prompt) => {
 *   const ids = [];
 *   for await (const id of batch.generate(prompt, { greedy: true })) ids.push(id);
 *   return ids;
 * });
 * await Promise.all(answers);
 * ```
 * @throws ConfigError if a setting is out of range.
 */
export class BatchGenerator<C = never> {
  readonly slots: number;
  readonly capacity: number;
  private readonly chunk: number | undefined;
  private readonly caches: readonly KVCache[];
  /** Numbers of rows that a step may have. */
  private readonly widths: readonly number[];
  private readonly withRows: <T>(contexts: readonly (C | null)[], build: () => T) => T;
  /** What is in each slot. */
  private readonly jobs: (BatchJob<C> | null)[];
  /** Slots in the order in which their texts came. */
  private order: number[];
  private queue: BatchJob<C>[] = [];
  private tasks: (() => Promise<void>)[] = [];
  private looping = false;

  constructor(
    readonly model: CausalLM,
    { slots = 8, capacity, cacheDtype, chunk, rows = "steady", withRows }: BatchGeneratorOptions<C> = {},
  ) {
    const room = capacity ?? Math.min(model.config.maxPositions, 1024);
    for (const [name, n, most] of [
      ["slots", slots, 1024],
      ["capacity", room, model.config.maxPositions],
      ["chunk", chunk ?? 1, Number.MAX_SAFE_INTEGER],
    ] as const) {
      if (Number.isInteger(n) && n >= 1 && n <= most) continue;
      throw new ConfigError({
        where: "BatchGenerator",
        expected: `${name} to be an integer from 1 to ${most}`,
        got: String(n),
      });
    }
    this.slots = slots;
    this.capacity = room;
    this.chunk = chunk;
    const length = Math.ceil(room / 64) * 64; // generators of about the same capacity share plans
    this.caches = Array.from({ length: slots }, () =>
      model.newCache({ capacity: length, dtype: cacheDtype }),
    );
    const least = rows === "all" ? slots : rows === "steady" ? STEADY_ROWS : 1;
    this.widths = [...WIDTHS.filter((w) => w >= least && w < slots), slots];
    this.jobs = new Array<null>(slots).fill(null);
    this.order = [...this.jobs.keys()];
    this.withRows = withRows ?? ((_, build) => build());
  }

  /** Texts that have a slot. */
  get running(): number {
    return this.jobs.filter((job) => job !== null && !job.ended).length;
  }

  /** Texts that wait for one. */
  get waiting(): number {
    return this.queue.filter((job) => !job.ended).length;
  }

  /** Bytes of keys and values. */
  get cacheBytes(): number {
    return this.caches.reduce((sum, cache) => sum + cache.sizeBytes, 0);
  }

  /**
   * Continues a text as `generate` does, beside the others. The place in the queue is taken at the call. Tokens are kept
   * until they are read, so that a slow reader holds nobody up; one that leaves, or whose signal is aborted, gives its
   * slot free at the next step, or, where the processor computes, within its prompt after a layer.
   *
   * @throws ConfigError if a setting is out of range or the prompt does not fit.
   */
  generate(prompt: ArrayLike<number>, request: BatchRequest<C> = {}): AsyncGenerator<number, FinishReason> {
    const job = new BatchJob(this.model, this.capacity, prompt, request);
    this.queue.push(job);
    this.start();
    return job.read();
  }

  /**
   * Runs `f` while no pass is under way, as to change the weights or adapters of the model. Texts go on afterwards.
   */
  between<T>(f: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.tasks.push(async () => {
        try {
          resolve(await f());
        } catch (error) {
          reject(error);
        }
      });
      this.start();
    });
  }

  private start(): void {
    if (this.looping) return;
    this.looping = true;
    void this.loop();
  }

  private async loop(): Promise<void> {
    for (;;) {
      await nextEvents(); // a reader may leave, a request come
      for (const task of this.tasks.splice(0)) await task();
      this.seat();
      if (this.jobs.every((job) => job === null) && this.tasks.length === 0) break;
      await this.readPrompts();
      await this.step();
    }
    this.looping = false;
  }

  /** Frees the slots of texts that have ended and gives them to those that wait. */
  private seat(): void {
    this.queue = this.queue.filter((job) => !job.ended);
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.jobs[slot]?.ended) this.jobs[slot] = null;
      if (this.jobs[slot] !== null) continue;
      const next = this.queue.shift();
      if (next === undefined) continue;
      this.jobs[slot] = next;
      this.order = [...this.order.filter((other) => other !== slot), slot];
      this.caches[slot]!.moveTo(0);
    }
  }

  /**
   * Reads some of the prompts that are not read yet, the text's first that came first. Its passes are the same whatever
   * else is there, so that the text is, too.
   */
  private async readPrompts(): Promise<void> {
    const most = this.chunk ?? (await passTokens());
    let left = most;
    for (const slot of this.order) {
      const [job, cache] = [this.jobs[slot]!, this.caches[slot]!];
      while (job !== null && job.unread.length > 0) {
        const count = Math.min(job.unread.length, most);
        if (count > left) return;
        left -= count;
        try {
          await this.readPart(job, cache, count);
        } catch (error) {
          job.fail(error);
          cache.moveTo(0);
        }
        await nextEvents(); // a reader may leave
      }
    }
  }

  /** One pass over a part of a prompt; after the last part the first token is made. */
  private async readPart(job: BatchJob<C>, cache: KVCache, count: number): Promise<void> {
    const part = job.unread.slice(0, count);
    const last = count === job.unread.length;
    const width = last ? Math.min(padded(count), cache.capacity - cache.position) : count;
    const ids = [...part, ...new Array<number>(width - count).fill(0)];
    const pass = new LayeredPass(cache);
    // Padding writes keys behind the last token: hidden by the causal mask, and overwritten by the next tokens.
    const logits = this.withRows([job.context], () => {
      const hidden = this.model.hidden(this.model.ids([ids]), { cache, onLayer: pass.onLayer });
      const at = tensor(Int32Array.of(count - 1), { dtype: "i32" });
      return this.model.logits(take(hidden, at, 1)).astype("f32"); // [1, 1, vocabulary]
    });
    if (!(await pass.evaluate(last ? [logits] : [], () => job.ended))) {
      cache.moveTo(0);
      return;
    }
    cache.advance(count);
    job.unread = job.unread.slice(count);
    if (!last) return;
    const data = await logits.data();
    logits.dispose();
    job.take(data);
  }

  /** One pass over the slots with something to say, each with its last token, and idle ones up to a width with a plan. */
  private async step(): Promise<void> {
    const busy: Row<C>[] = [];
    const idle: Row<C>[] = [];
    for (const [slot, job] of this.jobs.entries()) {
      const active = job !== null && !job.ended && job.unread.length === 0;
      const cache = this.caches[slot]!;
      (active ? busy : idle).push({ job: active ? job : null, cache });
    }
    if (busy.length === 0) return;
    const width = this.widths.find((w) => w >= busy.length)!;
    const rows = [...busy, ...idle.slice(0, width - busy.length)];
    let data: Float32Array;
    try {
      data = await this.pass(rows);
    } catch (error) {
      // A pass that failed has failed all its rows: none of them can go on.
      for (const { job, cache } of rows) {
        job?.fail(error);
        cache.moveTo(cache.position);
      }
      return;
    }
    const size = data.length / width;
    for (const [r, { job }] of rows.entries()) job?.take(data.subarray(r * size, (r + 1) * size));
  }

  /** Logits [rows · vocabulary] of what follows the last token of each row; idle ones are computed and forgotten. */
  private async pass(rows: readonly Row<C>[]): Promise<Float32Array> {
    const { model } = this;
    const cache = new RowCaches(rows.map((row) => row.cache));
    const logits = this.withRows(
      rows.map(({ job }) => job?.context ?? null),
      () => {
        const ids = model.ids(rows.map(({ job }) => [job?.last ?? 0]));
        return model.forward(ids, { cache, positions: cache.positions(1) }).astype("f32");
      },
    );
    await evaluate(logits, ...cache.pending());
    cache.advance(rows.map(({ job }) => (job === null ? 0 : 1)));
    const data = (await logits.data()) as Float32Array;
    logits.dispose();
    return data;
  }
}

/** A row of a step: the text in it, or null, and its cache. */
interface Row<C> {
  readonly job: BatchJob<C> | null;
  readonly cache: KVCache;
}
