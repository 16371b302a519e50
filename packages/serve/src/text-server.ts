import { adapterPool, type AdapterPool } from "@lowrank/adapters";
import type {
  CausalLM,
  EncoderModel,
  FolderInput,
  SentenceConfig,
  StepRows,
  Tokenizer,
} from "@lowrank/models";
import { ConfigError, type DType } from "@lowrank/tensor";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { AdapterRegistry, type AdapterState } from "./adapter-registry.js";
import { ADAPTER_NAME, type AdapterSource } from "./adapter-source.js";
import { Admission } from "./admission.js";
import { streamedAnswer, wholeAnswer } from "./answer.js";
import { embeddingAnswer, EmbeddingEngine } from "./embedding-engine.js";
import { readEmbeddingRequest } from "./embedding-request.js";
import { Guard, newToken } from "./guard.js";
import { HttpError, toHttpError } from "./http-error.js";
import { TextEngine } from "./text-engine.js";
import { readChatRequest, readCompletionRequest, type TextRequest } from "./text-request.js";

export interface TextServerOptions {
  /** One that makes text, or one that makes vectors of texts. */
  model: CausalLM | EncoderModel;
  tokenizer: Tokenizer;
  /** How a model of vectors is meant to be used, as `loadSentenceConfig` reads it. Default: that of `embed`. */
  sentence?: Partial<SentenceConfig>;
  /** What requests call the model. Default "base". */
  name?: string;
  /** Folders of LoRA adapters in PEFT's form by the names under which requests ask for them. Default: none. */
  adapters?: Readonly<Record<string, FolderInput>>;
  /** Where other adapters are, such as `await adaptersIn("adapters")`. Default: nowhere. */
  adapterSource?: AdapterSource;
  /** Adapters in memory at once; more may be registered. Default 8. */
  adapterSlots?: number;
  /** The largest rank of an adapter. Default 16. */
  adapterRank?: number;
  /** Layers that adapters may have. Default "all-linear". */
  adapterTargets?: readonly string[] | string;
  /** Texts made at once; requests for vectors take turns, a few texts each. Default 8. */
  slots?: number;
  /** Requests that wait beside those; the next is answered 429. Default 56. */
  queue?: number;
  /** Positions of a text, prompt and answer. Default: those of the model, at most 1,024. */
  capacity?: number;
  /** The most tokens that a request may ask for. Default: `capacity`. */
  maxTokens?: number;
  /** The largest body of a request. Default 1 MB. */
  maxBodyBytes?: number;
  /** Milliseconds that a request may take in all. Default 10 minutes. */
  timeoutMs?: number;
  /** Milliseconds after which a reader that takes nothing is cut off. Default 30 seconds. */
  stallMs?: number;
  /** Storage type of keys and values. Default f32. */
  cacheDtype?: DType;
  /** How many slots a step computes beside the busy ones; see `BatchGenerator`. Default "steady". */
  rows?: StepRows;
  /** Names under which the server may be addressed. Default: those of the machine itself, localhost, 127.0.0.1 and ::1. */
  hosts?: readonly string[];
  /** Origins of pages that may call it. Default: none. */
  origins?: readonly string[];
  /** What requests bring as `Authorization: Bearer`. Default: a new one, under `token`; null lets everybody in. */
  token?: string | null;
  /** Is told of faults that the answer keeps for itself. */
  onError?: (error: unknown) => void;
}

/** An OpenAI-shaped server as a function from requests to answers. */
export interface TextServer {
  /** Answers a request, for any host that speaks in `Request` and `Response`. */
  fetch(request: Request): Promise<Response>;
  /** What requests have to bring, or null. */
  readonly token: string | null;
  /** Requests under way and waiting. */
  readonly load: { running: number; waiting: number };
  /** Takes no more requests, and waits for those under way; after `graceMs` (default one minute) they are ended. */
  drain(options?: { graceMs?: number }): Promise<void>;
}

export const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/**
 * A server of one model with many adapters: `/v1/chat/completions`, `/v1/completions` and `/v1/models` as clients of
 * OpenAI's API call them, streamed or whole, or `/v1/embeddings` where the model is an encoder. Texts for different adapters
 * are made in one batch. A request names an adapter as `model: "base:name"` or under `adapter`.
 *
 * `GET /v1/adapters` lists the adapters; `POST` and `DELETE` of `/v1/adapters/name` load and unload one that is registered.
 *
 * Nothing is kept from one request to the next, and only requests with the token, to a known host name, of no page or a
 * known one are answered.
 *
 * @example
 * ```ts
 * const server = textServer({ model, tokenizer, adapters: { formal: "adapters/formal" } });
 * const answer = await server.fetch(request);
 * ```
 * @throws ConfigError if a setting is out of range.
 */
export function textServer(options: TextServerOptions): TextServer {
  const { name = "base", adapters = {}, adapterSource: source, token = newToken(), onError } = options;
  for (const adapter of Object.keys(adapters)) {
    if (ADAPTER_NAME.test(adapter)) continue;
    throw new ConfigError({
      where: "textServer",
      expected: "names of adapters of letters, digits, _ and -",
      got: JSON.stringify(adapter),
    });
  }
  const wanted = Object.keys(adapters).length > 0 || source !== undefined;
  const pool = wanted ? poolFor(options) : null;
  const slots = positive("slots", options.slots, 8);
  const admission = new Admission(slots, positive("queue", options.queue, 56, 0));
  const timeoutMs = positive("timeoutMs", options.timeoutMs, 600_000);
  const { model: served, tokenizer } = options;
  const engine = makesText(served)
    ? new TextEngine({
        model: served,
        tokenizer,
        pool,
        admission,
        slots,
        capacity: options.capacity,
        maxTokens: options.maxTokens,
        cacheDtype: options.cacheDtype,
        rows: options.rows ?? "steady",
        timeoutMs,
      })
    : new EmbeddingEngine({
        model: served,
        tokenizer,
        pool,
        admission,
        sentence: options.sentence ?? {},
        timeoutMs,
      });
  const registry =
    pool === null
      ? null
      : new AdapterRegistry(pool, {
          registered: new Map(Object.entries(adapters)),
          source,
          between: (f) => engine.between(f),
        });
  const guard = new Guard({ hosts: options.hosts ?? LOOPBACK, origins: options.origins ?? [], token });
  const stallMs = positive("stallMs", options.stallMs, 30_000);

  /** The adapter that a request names, held until `release` is called, and the name of both. */
  const choose = async (
    request: Pick<TextRequest, "model" | "adapter">,
  ): Promise<{ adapter: string | null; model: string; release: () => void }> => {
    const adapter = adapterOf(request, name);
    if (adapter === null) return { adapter, model: name, release: () => {} };
    if (registry === null) throw noModel(`${name}:${adapter}`);
    return { adapter, model: `${name}:${adapter}`, release: await registry.acquire(adapter) };
  };

  const embeddings = async (c: Context): Promise<Response> => {
    if (!(engine instanceof EmbeddingEngine)) throw unfit(`${name} makes text and no embeddings`);
    admission.expectRoom();
    const request = readEmbeddingRequest(await jsonBody(c.req.raw));
    const { adapter, model, release } = await choose(request);
    try {
      const made = await engine.embed(request, adapter, c.req.raw.signal);
      return embeddingAnswer(made, request.base64, model);
    } finally {
      release();
    }
  };

  const answer = async (c: Context, read: (body: unknown) => TextRequest): Promise<Response> => {
    if (!(engine instanceof TextEngine)) throw unfit(`${name} makes embeddings and no text`);
    admission.expectRoom();
    const request = read(await jsonBody(c.req.raw));
    const { adapter, model, release } = await choose(request);
    let run: ReturnType<TextEngine["start"]>;
    try {
      run = engine.start(request, adapter, release);
    } catch (error) {
      release();
      throw error;
    }
    const { signal } = c.req.raw;
    const leave = (): void => run.cancel(new Error("the reader has left"));
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
    return request.stream ? streamedAnswer(run, request, model, stallMs) : wholeAnswer(run, request, model);
  };

  const app = new Hono<{ Variables: { origin: string | null } }>();
  app.onError((error, c) => {
    const told = toHttpError(error);
    if (told.status === 500 && !c.req.raw.signal.aborted) onError?.(error);
    const response = told.toResponse();
    allow(response, c.get("origin"));
    return response;
  });
  app.notFound(() => new HttpError(404, "not_found", "there is no such path").toResponse());
  app.use(async (c, next) => {
    const origin = guard.admit(c.req.raw);
    c.set("origin", origin);
    if (origin !== null && c.req.method === "OPTIONS") {
      const response = new Response(null, { status: 204, headers: PREFLIGHT });
      allow(response, origin);
      return response;
    }
    if (c.req.path !== "/health") await guard.authorize(c.req.raw);
    await next();
    allow(c.res, origin);
    return undefined;
  });
  app.use(
    bodyLimit({
      maxSize: positive("maxBodyBytes", options.maxBodyBytes, 1_000_000),
      onError: () => new HttpError(413, "too_large", "the body is too large").toResponse(),
    }),
  );
  app.get("/health", () => Response.json({ status: admission.draining ? "draining" : "ok", ...engine.load }));
  app.post("/v1/chat/completions", (c) => answer(c, readChatRequest));
  app.post("/v1/completions", (c) => answer(c, readCompletionRequest));
  app.post("/v1/embeddings", embeddings);
  const listed = async (): Promise<AdapterState[]> => (registry === null ? [] : registry.list());
  app.get("/v1/models", async () => {
    const ids = [name, ...(await listed()).map((a) => `${name}:${a.name}`)];
    const data = ids.map((id) => ({ id, object: "model", created: 0, owned_by: "lowrank" }));
    return Response.json({ object: "list", data });
  });
  app.get("/v1/adapters", async () => Response.json({ object: "list", data: await listed() }));
  app.post("/v1/adapters/:name", async (c) => {
    if (registry === null) throw noModel(c.req.param("name"));
    await registry.load(c.req.param("name"));
    return Response.json({ name: c.req.param("name"), loaded: true });
  });
  app.delete("/v1/adapters/:name", (c) => {
    if (registry === null) throw noModel(c.req.param("name"));
    const gone = registry.unload(c.req.param("name"));
    return Response.json(
      { name: c.req.param("name"), loaded: false, pending: !gone },
      { status: gone ? 200 : 202 },
    );
  });
  return {
    fetch: async (request) => app.fetch(request),
    token,
    get load() {
      return engine.load;
    },
    drain: ({ graceMs = 60_000 } = {}) => admission.drain(graceMs),
  };
}

const PREFLIGHT = {
  "access-control-allow-methods": "GET, POST, DELETE",
  "access-control-allow-headers": "authorization, content-type",
  "access-control-max-age": "600",
};

/** Lets the page that asked read the answer. */
function allow({ headers }: Response, origin: string | null | undefined): void {
  if (origin === null || origin === undefined) return;
  headers.set("access-control-allow-origin", origin);
  headers.append("vary", "Origin");
}

function poolFor({ model, adapterSlots, adapterRank, adapterTargets }: TextServerOptions): AdapterPool {
  return adapterPool(model, {
    slots: adapterSlots ?? 8,
    rank: adapterRank ?? 16,
    ...(adapterTargets === undefined ? {} : { targets: adapterTargets }),
  });
}

function positive(what: string, value: number | undefined, fallback: number, min = 1): number {
  const n = value ?? fallback;
  if (Number.isInteger(n) && n >= min && n < 2 ** 31) return n;
  throw new ConfigError({
    where: "textServer",
    expected: `${what} to be an integer from ${min} to 2147483647`,
    got: String(n),
  });
}

const makesText = (model: CausalLM | EncoderModel): model is CausalLM => "newCache" in model;

const unfit = (message: string): HttpError => new HttpError(400, "unsupported", message, "model");

const noModel = (asked: string): HttpError =>
  new HttpError(404, "model_not_found", `there is no model ${JSON.stringify(asked.slice(0, 200))}`, "model");

/** The adapter that a request names: `model: "base:name"` or `adapter: "name"`. */
function adapterOf({ model, adapter }: Pick<TextRequest, "model" | "adapter">, name: string): string | null {
  if (model === null || model === name) return adapter;
  if (!model.startsWith(`${name}:`)) throw noModel(model);
  const named = model.slice(name.length + 1);
  if (adapter === null || adapter === named) return named;
  throw new HttpError(
    400,
    "invalid_request",
    "adapter: expected the one that model names, or none",
    "adapter",
  );
}

async function jsonBody(request: Request): Promise<unknown> {
  // A page may send other types across origins without asking first.
  if (!/^application\/json\s*(;|$)/i.test(request.headers.get("content-type") ?? "")) {
    throw new HttpError(415, "unsupported_media_type", "expected content-type: application/json");
  }
  const text = await request.text();
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new HttpError(400, "invalid_json", "the body is no JSON");
  }
}
