/** An answer that refuses a request, in the form that clients of OpenAI's API expect. */
export class HttpError extends Error {
  constructor(
    readonly status: 400 | 401 | 403 | 404 | 405 | 408 | 409 | 413 | 415 | 421 | 429 | 500 | 503,
    readonly code: string,
    message: string,
    /** The field of the request that is at fault, if one is. */
    readonly param: string | null = null,
    /** Seconds after which to try again. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "HttpError";
  }

  /** The body of the answer. */
  get body(): { error: { message: string; type: string; param: string | null; code: string } } {
    const { status, message, param, code } = this;
    const type =
      status === 429 ? "rate_limit_error" : status >= 500 ? "server_error" : "invalid_request_error";
    return { error: { message, type, param, code } };
  }

  toResponse(): Response {
    const headers = new Headers({ "content-type": "application/json" });
    if (this.retryAfter !== null) headers.set("retry-after", String(this.retryAfter));
    if (this.status === 413) headers.set("connection", "close"); // the rest of the body is not taken
    if (this.status === 401) headers.set("www-authenticate", "Bearer");
    return new Response(`${JSON.stringify(this.body)}\n`, { status: this.status, headers });
  }
}

/** What was thrown as an answer: errors of ours in a caller's settings are 400, all others 500 without their inside. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (code === "LOWRANK_CONFIG" || code === "LOWRANK_FORMAT") {
    return new HttpError(400, "invalid_request", String(message));
  }
  return new HttpError(500, "internal_error", "the server failed at this request; its log says more");
}
