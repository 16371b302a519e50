import { DownloadError, isDownloadError } from "./download-error.js";
import { nodeBuiltin } from "./node-builtin.js";
import { checkAddress, checkRedirect, type HostPolicy, showAddress } from "./web-address.js";

/** How files are fetched. */
export interface FetchOptions extends HostPolicy {
  /** Stops a request or a wait; rejects with its reason. */
  signal?: AbortSignal | undefined;
  /** Further headers, sent to the first host only. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Attempts after the first that failed without gaining anything. Default: 5. */
  retries?: number | undefined;
  /** First wait before another attempt; doubled each time, up to a minute. Default: 500 ms. */
  backoffMs?: number | undefined;
  /** A server that sends nothing for so long has stalled. Default: 30,000 ms. */
  stallMs?: number | undefined;
  /** The fetch to use. Default: that of the host. */
  fetch?: typeof fetch | undefined;
}

const MAX_REDIRECTS = 8;
const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);
const MAX_WAIT_MS = 60_000;

/** A fault that may be gone at the next attempt. */
export class Passing extends Error {
  constructor(
    message: string,
    readonly waitMs: number | undefined = undefined,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Waits, unless the signal stops it. */
export const pause = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });

/**
 * One request, through redirects that {@link checkRedirect} allows. Headers of the caller, a token among them, go to the
 * origin of the first address only.
 *
 * @throws Passing for a network fault or a status that asks to try again; DownloadError for an address not allowed.
 */
export async function request(
  start: URL,
  init: { method?: string; headers?: Readonly<Record<string, string>> },
  options: FetchOptions,
): Promise<Response> {
  checkAddress(start, options);
  const { stallMs = 30_000, signal } = options;
  // A browser follows redirects by itself and shows where they led; elsewhere each is looked at first.
  const redirect = nodeBuiltin("node:dns") === undefined ? "follow" : "manual";
  let url = start;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    signal?.throwIfAborted();
    const own = url.origin === start.origin ? options.headers : undefined;
    const headers = { "accept-encoding": "identity", ...own, ...init.headers };
    const controller = new AbortController();
    const stop = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    const timer = setTimeout(() => controller.abort(new Passing(`no answer within ${stallMs} ms`)), stallMs);
    let response: Response;
    try {
      response = await (options.fetch ?? fetch)(url, {
        method: init.method ?? "GET",
        headers,
        redirect,
        signal: controller.signal,
      });
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof Passing || isDownloadError(cause)) throw cause;
      throw new Passing(reasonOf(cause), undefined, { cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
    if (response.redirected && response.url !== "") {
      try {
        await checkRedirect(url, new URL(response.url), options);
      } catch (error) {
        await discard(response);
        throw error;
      }
    }
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || response.status === 304 || location === null) {
      return checkPassing(response);
    }
    await discard(response);
    const next = URL.canParse(location, url) ? new URL(location, url) : undefined;
    if (next === undefined) {
      throw new DownloadError({
        where: showAddress(url),
        expected: "a redirect to an address",
        got: "another text",
      });
    }
    await checkRedirect(url, next, options);
    url = next;
  }
  throw new DownloadError({
    where: showAddress(start),
    expected: `at most ${MAX_REDIRECTS} redirects`,
    got: "more",
  });
}

async function checkPassing(response: Response): Promise<Response> {
  if (!RETRIED.has(response.status)) return response;
  await discard(response);
  const after = response.headers.get("retry-after") ?? "";
  const seconds = /^\d+$/.test(after) ? Number(after) : (Date.parse(after) - Date.now()) / 1000;
  const waitMs = Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds * 1000, MAX_WAIT_MS) : undefined;
  throw new Passing(`status ${response.status}`, waitMs);
}

/** Gives up the rest of an answer, so that its connection is free. */
export const discard = async (response: Response): Promise<void> => {
  await response.body?.cancel().catch(() => undefined);
};

/** The innermost reason: fetch wraps the code of the system into "fetch failed". */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: unknown; message?: unknown } };
  const inner = cause?.code ?? cause?.message;
  return typeof inner === "string" ? inner : error instanceof Error ? error.message : String(error);
}

/**
 * The body of an answer as it comes.
 *
 * @throws Passing if the server stalls or drops the connection.
 */
export async function* bodyOf(
  response: Response,
  { stallMs = 30_000, signal }: FetchOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  let wake: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    wake = reject;
  });
  failed.catch(() => undefined);
  const stop = (): void => wake(signal?.reason);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      signal?.throwIfAborted(); // what is at hand already would win every race below
      const timer = setTimeout(() => wake(new Passing(`nothing more within ${stallMs} ms`)), stallMs);
      try {
        const { done, value } = await Promise.race([reader.read(), failed]);
        if (done) return;
        yield value;
      } catch (cause) {
        signal?.throwIfAborted();
        throw cause instanceof Passing ? cause : new Passing(reasonOf(cause), undefined, { cause });
      } finally {
        clearTimeout(timer);
      }
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    // Not awaited: a server that has stalled would hold us here.
    reader.cancel().catch(() => undefined);
  }
}

/** Counts attempts and waits between them. An attempt that gained bytes gives back a part of the patience. */
export class Patience {
  private failures = 0;
  private forgiven = 0;

  constructor(
    private readonly url: URL,
    private readonly options: FetchOptions,
  ) {}

  /** So many bytes have come. */
  gained(bytes: number): void {
    this.forgiven += bytes / (1 << 20);
  }

  /** Waits before another attempt. Throws what is not passing, or a DownloadError when patience has ended. */
  async wait(error: unknown): Promise<void> {
    if (!(error instanceof Passing)) throw error;
    const { retries = 5, backoffMs = 500, signal } = this.options;
    if (++this.failures > retries + this.forgiven) {
      throw new DownloadError({
        where: showAddress(this.url),
        expected: `an answer within ${this.failures} attempts`,
        got: error.message,
        hint: "check the connection and try again: what has been fetched is kept",
        cause: error,
      });
    }
    // Half of it at random, so that many clients of one server do not come back at once.
    const wait = Math.min(MAX_WAIT_MS, backoffMs * 2 ** Math.min(this.failures - 1, 10));
    await pause(error.waitMs ?? wait * (0.5 + Math.random() / 2), signal);
  }
}
