import { HttpError } from "./http-error.js";

export interface GuardOptions {
  /** Names under which the server may be addressed. */
  hosts: readonly string[];
  /** Pages that may call it, by their origins. */
  origins: readonly string[];
  /** What a request has to bring, or null for none. */
  token: string | null;
}

/** Decides which requests come in. Every one is asked for the name that it was sent to, so that a page elsewhere cannot reach the server under a name of its own. */
export class Guard {
  private readonly hosts: ReadonlySet<string>;
  private readonly origins: ReadonlySet<string>;

  constructor(private readonly options: GuardOptions) {
    this.hosts = new Set(options.hosts.map((host) => host.toLowerCase()));
    this.origins = new Set(options.origins);
  }

  /**
   * Checks the headers `Host` and `Origin`.
   *
   * @returns the origin, if one is given, for the answer.
   * @throws HttpError 421 or 403.
   */
  admit(request: Request): string | null {
    const host = hostOf(request.headers.get("host") ?? new URL(request.url).host);
    if (host === null || !this.hosts.has(host)) {
      throw new HttpError(421, "host_not_allowed", "this server does not answer under that host name");
    }
    const origin = request.headers.get("origin");
    if (origin !== null && !this.origins.has(origin)) {
      throw new HttpError(403, "origin_not_allowed", "pages of that origin may not call this server");
    }
    return origin;
  }

  /** @throws HttpError 401 without the token. */
  async authorize(request: Request): Promise<void> {
    if (this.options.token === null) return;
    const [, given] = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
    if (given !== undefined && (await sameText(given, this.options.token))) return;
    throw new HttpError(401, "invalid_api_key", "expected the server's token: Authorization: Bearer ...");
  }
}

/** The name in a Host header, without the port. */
function hostOf(header: string): string | null {
  if (!/^[A-Za-z0-9._:[\]-]+$/.test(header)) return null;
  try {
    return new URL(`http://${header}/`).hostname.toLowerCase();
  } catch {
    return null;
  }
}

/** Compares in a time that does not tell where two texts part. */
async function sameText(a: string, b: string): Promise<boolean> {
  const digest = async (text: string): Promise<Uint8Array> =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  const [x, y] = await Promise.all([digest(a), digest(b)]);
  let difference = 0;
  for (const [i, byte] of x.entries()) difference |= byte ^ y[i]!;
  return difference === 0;
}

/** A token that nobody can guess. */
export function newToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return `lr-${Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")}`;
}
