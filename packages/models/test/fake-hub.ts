import { createHash } from "node:crypto";
import { BadServer } from "./bad-server.js";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitSha1 = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

const isLarge = (name: string): boolean => /\.(safetensors|gguf|bin)$/.test(name);

/** The Hub's answer about a revision. Names ending in .safetensors or .gguf are large files. */
export function listingOf(files: ReadonlyMap<string, Uint8Array>, commit = COMMIT): object {
  const siblings = [...files].map(([rfilename, bytes]) => {
    const large = isLarge(rfilename);
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
  /** Commits that were pushed. */
  readonly pushes: { title: string; branch: string; files: Map<string, Uint8Array> }[] = [];
  /** Repositories that were made. */
  readonly created: Record<string, unknown>[] = [];

  private constructor(
    readonly api: BadServer,
    readonly content: BadServer,
    private readonly oneHost: boolean,
  ) {}

  /** @param oneHost Large files come from the Hub itself too, for callers who cannot allow a second host. */
  static async start({ oneHost = false } = {}): Promise<FakeHub> {
    const hub = new FakeHub(await BadServer.start(), await BadServer.start(), oneHost);
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
      if (!this.oneHost && isLarge(name)) {
        this.content.files.set(`/${sha256(bytes)}`, bytes);
        this.api.redirects.set(path, `${this.content.origin}/${sha256(bytes)}?signature=1`);
      } else this.api.files.set(path, bytes);
    }
  }

  /** From now on it takes commits with this token, in the protocol of `@huggingface/hub`, and publishes them. */
  acceptPushes(token: string): void {
    const stored = new Map<string, Uint8Array>();
    this.content.handler = (request, response, body) => {
      if (request.method !== "PUT") return false;
      stored.set(sha256(body), new Uint8Array(body));
      response.end();
      return true;
    };
    const read = this.api.handler;
    this.api.handler = (request, response, body) => {
      if (request.method !== "POST") return read?.(request, response, body) ?? false;
      if (request.headers.authorization !== `Bearer ${token}`) {
        response.writeHead(401).end();
        return true;
      }
      response.setHeader("content-type", "application/json");
      const path = decodeURIComponent(new URL(request.url ?? "/", this.api.origin).pathname);
      response.end(JSON.stringify(this.answerPush(path, body.toString(), stored)));
      return true;
    };
  }

  private answerPush(path: string, body: string, stored: ReadonlyMap<string, Uint8Array>): object {
    if (path === "/api/repos/create") {
      this.created.push(JSON.parse(body) as Record<string, unknown>);
      return { url: `${this.api.origin}/owner/name`, id: "1" };
    }
    if (path.startsWith("/api/models/owner/name/preupload/")) {
      const { files } = JSON.parse(body) as { files: { path: string }[] };
      return {
        files: files.map((file) => ({ ...file, uploadMode: isLarge(file.path) ? "lfs" : "regular" })),
      };
    }
    if (path === "/owner/name.git/info/lfs/objects/batch") {
      const { objects } = JSON.parse(body) as { objects: { oid: string; size: number }[] };
      const href = (oid: string): string => `${this.content.origin}/upload/${oid}`;
      return { objects: objects.map((o) => ({ ...o, actions: { upload: { href: href(o.oid) } } })) };
    }
    const branch = /^\/api\/models\/owner\/name\/commit\/(.+)$/.exec(path)?.[1] ?? "";
    const lines = body
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
    const files = new Map<string, Uint8Array>();
    for (const { key, value } of lines) {
      if (key === "file") files.set(value["path"]!, new Uint8Array(Buffer.from(value["content"]!, "base64")));
      if (key === "lfsFile") files.set(value["path"]!, stored.get(value["oid"]!)!);
    }
    this.pushes.push({ title: lines[0]!.value["summary"]!, branch, files });
    this.publish(Object.fromEntries(files), COMMIT, branch);
    return { commitOid: COMMIT, commitUrl: `${this.api.origin}/owner/name/commit/${COMMIT}`, hookOutput: "" };
  }

  /** Options with which it is reached. */
  get options(): { endpoint: string; allowedHosts: string[]; backoffMs: number; stallMs: number } {
    return {
      endpoint: this.api.origin,
      allowedHosts: [new URL(this.content.origin).host],
      backoffMs: 1,
      stallMs: 2000,
    };
  }

  async stop(): Promise<void> {
    await this.api.stop();
    await this.content.stop();
  }
}
