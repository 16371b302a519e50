import { createHash } from "node:crypto";
import { BadServer } from "./bad-server.js";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** The Hub's answer about a revision. Names ending in .safetensors or .gguf are large files. */
export function listingOf(files: ReadonlyMap<string, Uint8Array>, commit = COMMIT): object {
  const siblings = [...files].map(([rfilename, bytes]) => {
    const large = /\.(safetensors|gguf|bin)$/.test(rfilename);
    return {
      rfilename,
      size: bytes.length,
      blobId: large ? "f".repeat(40) : gitSha1(bytes),
      ...(large ? { lfs: { size: bytes.length, sha256: sha256(bytes), pointerSize: 134 } } : {}),
    };
  });
  return { id: "owner/name", sha: commit, siblings };
}

/**
 * A Hub on this machine: listings by revision, small files from itself, large ones from a second server, to which it sends
 * the asker, as the real one does.
 */
export class FakeHub {
  /** By revision. */
  readonly listings = new Map<string, object>();
  /** Needed by every request, if set. */
  token: string | undefined;

  private constructor(
    readonly api: BadServer,
    readonly content: BadServer,
  ) {}

  static async start(): Promise<FakeHub> {
    const hub = new FakeHub(await BadServer.start(), await BadServer.start());
    hub.api.handler = (request, response) => {
      const path = decodeURIComponent(new URL(request.url ?? "/", hub.api.origin).pathname);
      if (hub.token !== undefined && request.headers.authorization !== `Bearer ${hub.token}`) {
        response.writeHead(401, { "x-error-code": "RepoNotFound" }).end();
        return true;
      }
      const match = /^\/api\/models\/owner\/name\/revision\/(.+)$/.exec(path);
      if (match === null) return false;
      const listing = hub.listings.get(match[1]!);
      if (listing === undefined) response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end();
      else response.end(JSON.stringify(listing));
      return true;
    };
    return hub;
  }

  /** Puts files at a commit, under the name of a branch too. */
  publish(files: Readonly<Record<string, Uint8Array>>, commit = COMMIT, branch = "main"): void {
    const map = new Map(Object.entries(files));
    const listing = listingOf(map, commit);
    this.listings.set(branch, listing).set(commit, listing);
    for (const [name, bytes] of map) {
      const path = `/owner/name/resolve/${commit}/${name}`;
      if (/\.(safetensors|gguf|bin)$/.test(name)) {
        this.content.files.set(`/${sha256(bytes)}`, bytes);
        this.api.redirects.set(path, `${this.content.origin}/${sha256(bytes)}?signature=1`);
      } else this.api.files.set(path, bytes);
    }
  }

  /** Options with which it is reached. */
  get options(): { endpoint: string; allowedHosts: string[]; backoffMs: number; stallMs: number } {
    return {
      endpoint: this.api.origin,
      allowedHosts: [new URL(this.content.origin).host],
      backoffMs: 1,
      stallMs: 300,
    };
  }

  async stop(): Promise<void> {
    await this.api.stop();
    await this.content.stop();
  }
}
