import { type AdapterPool, withRows } from "@lowrank/adapters";
import {
  BatchGenerator,
  type CausalLM,
  chatIds,
  type FinishReason,
  GrowingText,
  promptIds,
  type SamplingOptions,
  type StepRows,
  type Tokenizer,
} from "@lowrank/models";
import type { DType } from "@lowrank/tensor";
import type { Admission } from "./admission.js";
import { HttpError } from "./http-error.js";
import type { TextRequest } from "./text-request.js";

export interface TextEngineOptions {
  model: CausalLM;
  tokenizer: Tokenizer;
  pool: AdapterPool | null;
  admission: Admission;
  /** Texts made at once. */
  slots: number;
  /** Positions of a text, prompt and answer. */
  capacity: number | undefined;
  /** The most tokens that a request may ask for. */
  maxTokens: number | undefined;
  cacheDtype: DType | undefined;
  rows: StepRows;
  /** Milliseconds that a request may take in all. */
  timeoutMs: number;
}

/** A text under way. */
export interface TextRun {
  readonly promptTokens: number;
  /** Tokens made so far. */
  readonly tokens: number;
  /** The text in pieces as it is made, whatever the pace of the reader. Throws what ended it early. */
  pieces(): AsyncGenerator<string, FinishReason>;
  /** Ends it at once. */
  cancel(reason: Error): void;
}

/** Requests on one model: limits, and text from tokens. */
export class TextEngine {
  private readonly batch: BatchGenerator<string>;
  private readonly tokenizer: Tokenizer;
  private readonly model: CausalLM;

  constructor(private readonly options: TextEngineOptions) {
    const { model, tokenizer, pool, slots, capacity, cacheDtype, rows } = options;
    this.model = model;
    this.tokenizer = tokenizer;
    this.batch = new BatchGenerator<string>(model, {
      slots,
      rows,
      ...(capacity === undefined ? {} : { capacity }),
      ...(cacheDtype === undefined ? {} : { cacheDtype }),
      ...(pool === null ? {} : { withRows: (names, build) => withRows(model, names, build) }),
    });
  }

  /** Texts that are made now, and that wait. */
  get load(): { running: number; waiting: number } {
    const { running, waiting } = this.batch;
    return { running, waiting };
  }

  /** Runs a change of the model while no pass is under way. */
  between<T>(f: () => T | Promise<T>): Promise<T> {
    return this.batch.between(f);
  }

  /**
   * Starts a text.
   *
   * @param adapter Name of the adapter in the pool, or null for the model itself.
   * @param onEnd Is called once when it has ended, however it did.
   */
  start(request: TextRequest, adapter: string | null, onEnd: () => void): TextRun {
    const { admission } = this.options;
    admission.expectRoom();
    const ids = this.promptOf(request);
    const { capacity } = this.batch;
    if (ids.length >= capacity) {
      throw new HttpError(
        400,
        "context_length_exceeded",
        `the prompt has ${ids.length} tokens; with room for an answer at most ${capacity - 1} fit`,
        request.kind === "chat" ? "messages" : "prompt",
      );
    }
    const most = Math.min(this.options.maxTokens ?? capacity, capacity);
    if (request.maxTokens !== null && request.maxTokens > most) {
      throw new HttpError(
        400,
        "invalid_request",
        `max_tokens: expected at most ${most}, got ${request.maxTokens}`,
        "max_tokens",
      );
    }
    const run = new Run(this.batch, this.tokenizer, ids, {
      stops: this.stopIds(),
      stop: request.stop,
      maxNewTokens: request.maxTokens ?? most,
      sampling: request.sampling,
      seed: request.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!,
      adapter,
      timeoutMs: this.options.timeoutMs,
      onEnd: () => {
        leave();
        onEnd();
      },
    });
    const leave = admission.enter((reason) => run.cancel(reason));
    return run;
  }

  private stopIds(): number[] {
    const { eosId } = this.tokenizer;
    return [...this.model.config.eosTokenIds, ...(eosId === undefined ? [] : [eosId])];
  }

  private promptOf({ kind, prompt }: TextRequest): readonly number[] {
    if (typeof prompt === "string") return promptIds(this.model, this.tokenizer, prompt);
    if (kind === "chat")
      return chatIds(this.tokenizer, prompt as readonly { role: string; content: string }[]);
    return prompt as readonly number[];
  }
}

interface RunOptions {
  stops: readonly number[];
  stop: readonly string[];
  maxNewTokens: number;
  sampling: SamplingOptions;
  seed: number;
  adapter: string | null;
  timeoutMs: number;
  onEnd(): void;
}

class Run implements TextRun {
  tokens = 0;
  readonly promptTokens: number;
  private readonly controller = new AbortController();
  private readonly ready: string[] = [];
  private end: { reason: FinishReason } | { error: unknown } | null = null;
  private wake: () => void = () => {};

  constructor(
    batch: BatchGenerator<string>,
    tokenizer: Tokenizer,
    ids: readonly number[],
    options: RunOptions,
  ) {
    const { stops, stop, maxNewTokens, sampling, seed, adapter, timeoutMs, onEnd } = options;
    this.promptTokens = ids.length;
    const growing = new GrowingText(tokenizer, ids, stop);
    const tokens = batch.generate(ids, {
      ...sampling,
      seed,
      maxNewTokens,
      stopIds: stops,
      signal: this.controller.signal,
      ...(adapter === null ? {} : { context: adapter }),
      // Text is made of a token when it comes, not when it is read: a stop text ends the run at once.
      stopWhen: (fresh) => {
        this.tokens = fresh.length;
        this.give(growing.add(fresh.at(-1)!));
        return growing.stopped;
      },
    });
    const timer = setTimeout(() => {
      this.cancel(new HttpError(503, "timeout", `the answer was not ready in ${timeoutMs} ms`));
    }, timeoutMs);
    void this.follow(tokens, growing).finally(() => {
      clearTimeout(timer);
      onEnd();
      this.wake();
    });
  }

  private async follow(tokens: AsyncGenerator<number, FinishReason>, growing: GrowingText): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await tokens.next();
        if (!done) continue;
        this.give(growing.end());
        this.end = { reason: growing.stopped ? "stop" : value };
        return;
      }
    } catch (error) {
      this.end = { error };
    }
  }

  private give(piece: string): void {
    if (piece === "") return;
    this.ready.push(piece);
    this.wake();
  }

  async *pieces(): AsyncGenerator<string, FinishReason> {
    for (;;) {
      if (this.ready.length > 0) {
        yield this.ready.splice(0).join("");
        continue;
      }
      if (this.end !== null) {
        if ("error" in this.end) throw this.end.error;
        return this.end.reason;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  cancel(reason: Error): void {
    this.controller.abort(reason);
  }
}
