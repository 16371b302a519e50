import { type AdapterPool, withRows } from "@lowrank/adapters";
import {
  type Embedder,
  embedTokens,
  encodeCut,
  type EncoderModel,
  type SentenceConfig,
  type Tokenizer,
} from "@lowrank/models";
import type { Admission } from "./admission.js";
import type { EmbeddingRequest } from "./embedding-request.js";
import { HttpError } from "./http-error.js";

/** Texts of a pass: few, since the thread that computes is the one that answers. */
const BATCH = 8;

export interface EmbeddingEngineOptions {
  model: EncoderModel;
  tokenizer: Tokenizer;
  pool: AdapterPool | null;
  admission: Admission;
  sentence: Partial<SentenceConfig>;
  /** Milliseconds that a request may take in all. */
  timeoutMs: number;
}

export interface Embeddings {
  vectors: Float32Array[];
  /** Tokens read. */
  tokens: number;
}

/** Requests for vectors on one model: those under way take turns, a batch each. */
export class EmbeddingEngine {
  private turn: Promise<unknown> = Promise.resolve();
  private running = 0;

  constructor(private readonly options: EmbeddingEngineOptions) {}

  /** Requests under way; none of them waits for the end of another. */
  get load(): { running: number; waiting: number } {
    return { running: this.running, waiting: 0 };
  }

  /** Runs a change of the model while no pass is under way. */
  readonly between = <T>(f: () => T | Promise<T>): Promise<T> => {
    const result = this.turn.then(f);
    this.turn = result.catch(() => {});
    return result;
  };

  /**
   * The vectors of a request's inputs, in their order.
   *
   * @param adapter Name of the adapter in the pool, or null for the model itself.
   * @param signal Ends it at once.
   */
  async embed(
    { inputs }: EmbeddingRequest,
    adapter: string | null,
    signal: AbortSignal,
  ): Promise<Embeddings> {
    const { admission, sentence, timeoutMs } = this.options;
    const rows = inputs.map((input) => this.rowOf(input));
    const ended = new AbortController();
    const cancel = (reason: Error): void => ended.abort(reason);
    const leave = admission.enter(cancel);
    const vanish = (): void => cancel(new Error("the reader has left"));
    if (signal.aborted) vanish();
    else signal.addEventListener("abort", vanish, { once: true });
    const late = new HttpError(503, "timeout", `the answer was not ready in ${timeoutMs} ms`);
    const timer = setTimeout(() => cancel(late), timeoutMs);
    this.running++;
    try {
      const made = embedTokens(this.modelWith(adapter), rows, {
        ...sentence,
        batchSize: BATCH,
        signal: ended.signal,
        runBatch: this.between,
      });
      const vectors = await Promise.race([made, rejection(ended.signal)]); // not after the batch under way
      return { vectors, tokens: rows.reduce((sum, row) => sum + row.length, 0) };
    } finally {
      this.running--;
      clearTimeout(timer);
      signal.removeEventListener("abort", vanish);
      leave();
    }
  }

  private rowOf(input: string | readonly number[]): readonly number[] {
    const { model, tokenizer, sentence } = this.options;
    const { maxPositions, vocabSize } = model.config;
    if (typeof input === "string")
      return encodeCut(tokenizer, input, Math.min(sentence.maxLength ?? maxPositions, maxPositions));
    const stranger = input.find((id) => !(id >= 0 && id < vocabSize));
    if (stranger !== undefined) {
      const message = `input: expected token ids from 0 to ${vocabSize - 1}, got ${stranger}`;
      throw new HttpError(400, "invalid_request", message, "input");
    }
    if (input.length <= maxPositions) return input;
    throw new HttpError(
      400,
      "context_length_exceeded",
      `input: expected at most ${maxPositions} tokens, got ${input.length}`,
      "input",
    );
  }

  private modelWith(adapter: string | null): Embedder {
    const { model, pool } = this.options;
    if (pool === null) return model;
    return {
      config: model.config,
      batch: (rows, length) => model.batch(rows, length),
      forward: (ids, options) =>
        withRows(model, new Array<string | null>(ids.shape[0]!).fill(adapter), () =>
          model.forward(ids, options),
        ),
    };
  }
}

const rejection = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    else signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });

/** The answer, in the form that clients of OpenAI's API expect. */
export function embeddingAnswer({ vectors, tokens }: Embeddings, base64: boolean, model: string): Response {
  const data = vectors.map((vector, index) => ({
    object: "embedding",
    index,
    embedding: base64 ? base64Of(vector) : Array.from(vector),
  }));
  return Response.json({
    object: "list",
    data,
    model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  });
}

/** The bytes of the numbers, f32 and the lowest byte first, in base64. */
function base64Of(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
