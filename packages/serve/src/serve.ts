import type { Server } from "node:http";
import { ConfigError } from "@lowrank/tensor";
import { LOOPBACK, textServer, type TextServer, type TextServerOptions } from "./text-server.js";

export interface ServeOptions extends TextServerOptions {
  /** Address to listen at. Default "127.0.0.1": this machine only. */
  hostname?: string;
  /** Default 8080; 0 takes a free one. */
  port?: number;
  /** Names under which the server may be addressed beside `hostname`, localhost, 127.0.0.1 and ::1. Default: none. */
  hosts?: readonly string[];
}

/** A server that listens. */
export interface Served {
  readonly url: string;
  readonly token: string | null;
  readonly load: TextServer["load"];
  /** Takes no more requests, lets those under way end (for `graceMs` at most, default one minute), and closes. */
  close(options?: { graceMs?: number }): Promise<void>;
}

/**
 * Serves a model over HTTP (Node); see {@link textServer} for the paths and limits.
 *
 * @example
 * ```ts
 * const server = await serve({ model, tokenizer, adapters: { formal: "adapters/formal" }, port: 8080 });
 * console.log(server.url, server.token);
 * process.once("SIGTERM", () => server.close());
 * ```
 * @throws ConfigError if a setting is out of range or the address cannot be had.
 */
export async function serve(options: ServeOptions): Promise<Served> {
  const { hostname = "127.0.0.1", port = 8080, hosts = [], ...rest } = options;
  const { createAdaptorServer } = await import("@hono/node-server");
  const wildcard = hostname === "0.0.0.0" || hostname === "::" || hostname === "";
  const own = hostname.includes(":") ? `[${hostname}]` : hostname;
  const text = textServer({ ...rest, hosts: [...LOOPBACK, ...(wildcard ? [] : [own]), ...hosts] });
  const server = createAdaptorServer({
    fetch: text.fetch,
    hostname,
    // The time to take in a request; answers may take longer.
    serverOptions: { requestTimeout: 30_000, headersTimeout: 10_000, keepAliveTimeout: 5_000 },
  }) as Server;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const got = error.code === "EADDRINUSE" ? "one in use" : error.message;
      const hint = "choose another port";
      reject(
        new ConfigError({
          where: "serve",
          expected: `a free address, ${own}:${port}`,
          got,
          hint,
          cause: error,
        }),
      );
    });
    server.listen(port, hostname, resolve);
  });
  const address = server.address() as { port: number };
  return {
    url: `http://${wildcard ? "localhost" : own}:${address.port}`,
    token: text.token,
    get load() {
      return text.load;
    },
    async close(close = {}) {
      const { graceMs = 60_000 } = close;
      await text.drain({ graceMs });
      await new Promise<void>((resolve) => {
        // What is made goes out to its readers; connections without a request are not waited for.
        const idle = setInterval(() => server.closeIdleConnections(), 20);
        const late = setTimeout(() => server.closeAllConnections(), graceMs);
        server.close(() => {
          clearInterval(idle);
          clearTimeout(late);
          resolve();
        });
      });
    },
  };
}
