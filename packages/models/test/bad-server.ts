import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What goes wrong with one answer. */
export type Fault =
  /** The connection breaks after so many bytes of the body. */
  | { kind: "drop"; after: number }
  /** So many bytes come, then nothing. */
  | { kind: "stall"; after: number }
  /** The body ends early, in good order: the stated length is that of what is sent. */
  | { kind: "truncate"; after: number }
  /** Other bytes of the same length. */
  | { kind: "lie" }
  /** A status instead of the file. */
  | { kind: "status"; status: number; headers?: Record<string, string> }
  /** Another place or length in Content-Range than was asked for. */
  | { kind: "range"; header: string }
  /** More bytes than were asked for. */
  | { kind: "longer" }
  /** Nothing at all, not even a status. */
  | { kind: "silent" };

export interface Asked {
  method: string;
  path: string;
  range: string | undefined;
  ifRange: string | undefined;
  authorization: string | undefined;
}

type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
) => boolean | Promise<boolean>;

/** A web server on this machine that serves files, and fails as it is told to. */
export class BadServer {
  readonly files = new Map<string, Uint8Array>();
  /** Taken one by one by the requests for files. */
  readonly faults: Fault[] = [];
  readonly asked: Asked[] = [];
  /** Whether it knows range requests. */
  ranges = true;
  /** What stands in place of an ETag of the content: a weak or fixed one, or none. */
  etag: ((path: string) => string | undefined) | undefined;
  lastModified: string | undefined;
  /** Redirects by path. */
  readonly redirects = new Map<string, string>();
  /** Looks at a request first; true if it has answered. */
  handler: Handler | undefined;
  private readonly server: Server;

  private constructor() {
    this.server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on("data", (piece: Buffer) => pieces.push(piece));
      request.on("end", () => void this.answer(request, response, Buffer.concat(pieces)));
    });
  }

  static async start(): Promise<BadServer> {
    const bad = new BadServer();
    await new Promise<void>((resolve) => bad.server.listen(0, "127.0.0.1", resolve));
    return bad;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse, body: Buffer): Promise<void> {
    const path = decodeURIComponent(new URL(request.url ?? "/", this.origin).pathname);
    const header = (name: string): string | undefined => request.headers[name] as string | undefined;
    this.asked.push({
      method: request.method ?? "",
      path,
      range: header("range"),
      ifRange: header("if-range"),
      authorization: header("authorization"),
    });
    if (await this.handler?.(request, response, body)) return;
    const redirect = this.redirects.get(path);
    if (redirect !== undefined) return void response.writeHead(302, { location: redirect }).end();
    const content = this.files.get(path);
    if (content === undefined) return void response.writeHead(404).end();
    this.serve(request, response, content, path);
  }

  private serve(request: IncomingMessage, response: ServerResponse, content: Uint8Array, path: string): void {
    const fault = this.faults.shift();
    if (fault?.kind === "silent") return;
    if (fault?.kind === "status") return void response.writeHead(fault.status, fault.headers).end();
    const hashed = `"${createHash("sha256").update(content).digest("hex")}"`;
    const etag = this.etag === undefined ? hashed : this.etag(path);
    if (etag !== undefined) response.setHeader("etag", etag);
    if (this.lastModified !== undefined) response.setHeader("last-modified", this.lastModified);

    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const ifRange = request.headers["if-range"];
    const whole = ifRange !== undefined && ifRange !== etag && ifRange !== this.lastModified;
    let part = content;
    if (this.ranges && match !== null && !whole) {
      const from = Number(match[1]);
      const to = match[2] === "" ? content.length : Math.min(content.length, Number(match[2]) + 1);
      if (from >= content.length) {
        return void response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
      }
      part = content.subarray(from, to);
      response.statusCode = 206;
      const told = fault?.kind === "range" ? fault.header : `bytes ${from}-${to - 1}/${content.length}`;
      response.setHeader("content-range", told);
    }
    if (fault?.kind === "lie") part = part.map((byte) => byte ^ 0xff);
    if (fault?.kind === "longer") part = Uint8Array.from([...part, 1, 2, 3]);
    if (fault?.kind === "truncate") part = part.subarray(0, fault.after);
    response.setHeader("content-length", part.length);
    if (fault?.kind === "drop" || fault?.kind === "stall") {
      // Written first, so that the bytes are on their way when the connection breaks.
      response.write(part.subarray(0, fault.after), () => {
        if (fault.kind === "drop") setTimeout(() => response.destroy(), 20);
      });
      response.flushHeaders();
      return;
    }
    response.end(part);
  }
}
