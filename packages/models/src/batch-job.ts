import { ConfigError } from "@lowrank/tensor";
import type { CausalLM } from "./causal-lm.js";
import type { FinishReason, GenerateOptions } from "./generate.js";
import { checkSampling, randomStream, sampleToken } from "./sampling.js";

/** What a text in a batch is to be. */
export interface BatchRequest<C>
  extends Pick<
    GenerateOptions,
    | "greedy"
    | "temperature"
    | "topK"
    | "topP"
    | "minP"
    | "repetitionPenalty"
    | "maxNewTokens"
    | "seed"
    | "stopIds"
    | "stopWhen"
    | "signal"
  > {
  /** What `withRows` of the batch is given for this text's row. */
  context?: C;
}

/** One text of a batch: what is known of it, and the tokens that its reader has not taken. */
export class BatchJob<C> {
  readonly context: C | null;
  /** Prompt tokens that are not in the cache yet. */
  unread: readonly number[];
  private readonly seen: number[];
  private readonly fresh: number[] = [];
  private readonly random: () => number;
  private readonly stops: ReadonlySet<number>;
  private readonly maxNewTokens: number;
  private end: { reason: FinishReason } | { error: unknown } | null = null;
  private given = 0;
  private wake: () => void = () => {};
  private readonly onAbort = (): void => this.fail(this.request.signal!.reason);

  constructor(
    private readonly model: CausalLM,
    private readonly capacity: number,
    prompt: ArrayLike<number>,
    private readonly request: BatchRequest<C>,
  ) {
    const { maxNewTokens = 256, seed = 0, stopIds = model.config.eosTokenIds, signal } = request;
    checkSampling("generate", request);
    if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
      throw new ConfigError({
        where: "generate",
        expected: "maxNewTokens of at least 1",
        got: String(maxNewTokens),
      });
    }
    if (prompt.length === 0 || prompt.length >= capacity) {
      throw new ConfigError({
        where: "generate",
        expected: `a prompt of 1 to ${capacity - 1} tokens`,
        got: String(prompt.length),
        hint: prompt.length === 0 ? "begin with the model's bos token" : "cut the prompt",
      });
    }
    this.seen = Array.from(prompt);
    model.ids([this.seen]); // checks that the tokens are the model's
    this.unread = this.seen.slice();
    this.context = request.context ?? null;
    this.random = randomStream(seed);
    this.stops = new Set(stopIds);
    this.maxNewTokens = maxNewTokens;
    if (signal?.aborted) this.fail(signal.reason);
    else signal?.addEventListener("abort", this.onAbort, { once: true });
  }

  get ended(): boolean {
    return this.end !== null;
  }

  /** The last token. */
  get last(): number {
    return this.seen.at(-1)!;
  }

  /** Makes a token of the logits for it. */
  take(logits: ArrayLike<number>): void {
    if (this.ended) return;
    try {
      this.makeToken(logits);
    } catch (error) {
      this.fail(error);
    }
  }

  private makeToken(logits: ArrayLike<number>): void {
    const id = sampleToken(logits, this.request, this.random, this.seen);
    if (Number.isNaN(logits[id])) {
      throw new ConfigError({
        where: "generate",
        expected: "finite logits",
        got: `NaN after ${this.seen.length} tokens`,
      });
    }
    if (this.stops.has(id)) {
      this.finish({ reason: "stop" });
      return;
    }
    this.seen.push(id);
    this.fresh.push(id);
    const full = this.seen.length >= Math.min(this.capacity, this.model.config.maxPositions);
    if (this.request.stopWhen?.(this.fresh)) this.finish({ reason: "stop" });
    else if (full || this.fresh.length >= this.maxNewTokens) this.finish({ reason: "length" });
    else this.wake();
  }

  /** Ends the text with an error for its reader. */
  fail(error: unknown): void {
    if (!this.ended) this.finish({ error });
  }

  private finish(end: { reason: FinishReason } | { error: unknown }): void {
    this.end = end;
    this.unread = [];
    this.request.signal?.removeEventListener("abort", this.onAbort);
    this.wake();
  }

  /** The tokens as they come. A reader that leaves ends the text, be it before the first of them. */
  read(): AsyncGenerator<number, FinishReason> {
    const tokens = this.tokens();
    const leave = tokens.return.bind(tokens);
    tokens.return = (reason) => {
      this.fail(new Error("the reader has left"));
      return leave(reason);
    };
    return tokens;
  }

  private async *tokens(): AsyncGenerator<number, FinishReason> {
    for (;;) {
      while (this.given < this.fresh.length) yield this.fresh[this.given++]!;
      if (this.end !== null) {
        if ("error" in this.end) throw this.end.error;
        return this.end.reason;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }
}
