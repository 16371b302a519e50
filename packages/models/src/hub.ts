import { type OnBytes, downloadInto } from "./download.js";
import { DownloadError } from "./download-error.js";
import type { FetchOptions } from "./http.js";
import { defaultCacheFolder, diskStore } from "./hub-disk.js";
import {
  fetchListing,
  type HubFile,
  type HubListing,
  listingJson,
  modelFiles,
  parseListing,
} from "./hub-listing.js";
import { type HubName, isCommit, parseHubName } from "./hub-name.js";
import { pageStore } from "./hub-pages.js";
import type { CachedRepo, HubStore } from "./hub-store.js";
import { nodeBuiltin } from "./node-builtin.js";
import { checkFilePath } from "./safe-name.js";
import type { ByteSource, Folder } from "./source.js";
import { openUrl } from "./url-source.js";

export interface HubOptions
  extends Pick<FetchOptions, "signal" | "retries" | "backoffMs" | "stallMs" | "fetch"> {
  /** Address of the Hub. Default: `HF_ENDPOINT`, else `https://huggingface.co`. */
  endpoint?: string | URL | undefined;
  /** Token for private and gated repositories, sent to the Hub's own host only. Default: `HF_TOKEN`. */
  token?: string | undefined;
  /** A folder (Node), or a store of one's own. Default: see `defaultCacheFolder`; in browsers, the Cache API. */
  cache?: string | HubStore | undefined;
  /** Use what is in the cache and nothing else. Default: true if `LOWRANK_OFFLINE` or `HF_HUB_OFFLINE` is 1. */
  offline?: boolean | undefined;
  /** Further hosts that the Hub may send us to for the contents of large files. */
  allowedHosts?: readonly string[] | undefined;
  /** Told as a file comes. */
  onProgress?: ((event: DownloadProgress) => void) | undefined;
}

/** How far the download of one file is. */
export interface DownloadProgress {
  readonly file: string;
  readonly done: number;
  readonly total: number;
}

/** A repository at one commit. Files are fetched when they are opened and kept in the cache. */
export interface HubFolder extends Folder {
  readonly repo: string;
  /** The commit that the revision was when the folder was opened. */
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
  /** The files that a model is loaded from. */
  modelFiles(file?: string): HubFile[];
  /** Fetches files, two at a time. */
  fetch(files: readonly HubFile[]): Promise<void>;
  /** Random access to a file over range requests, where it is not in the cache: nothing is kept. */
  openRemote(fileName: string): Promise<ByteSource | undefined>;
  /** Folder on disk of what has been fetched (Node). */
  readonly path: string | undefined;
}

/** Where the Hub keeps large files. */
const CONTENT_HOSTS = ["huggingface.co", "*.huggingface.co", "*.hf.co"];

const fromEnvironment = (name: string): string | undefined =>
  (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.[name] ||
  undefined;

const isSet = (name: string): boolean => /^(?:1|true|yes|on)$/i.test(fromEnvironment(name) ?? "");

function storeOf(cache: string | HubStore | undefined): HubStore {
  if (typeof cache === "object") return cache;
  if (nodeBuiltin("node:fs") !== undefined) return diskStore(cache ?? defaultCacheFolder());
  return pageStore(cache);
}

/**
 * Opens a repository of the Hub: `owner/name`, `owner/name@revision`. The revision is resolved to a commit once and holds
 * for every file. A file is fetched when it is first opened: into a partial file that is taken up again after a fault,
 * verified by its SHA-256 (or the SHA-1 that git gives small files), then kept under that checksum.
 *
 * @throws ConfigError for what is no such name; DownloadError if the Hub cannot be reached or says no, or if offline and not
 * in the cache.
 *
 * @example
 * ```ts
 * const model = await fromPretrained(await openHub("HuggingFaceTB/SmolLM2-135M-Instruct"));
 * ```
 */
export async function openHub(name: string, options: HubOptions = {}): Promise<HubFolder> {
  const parsed = parseHubName(name);
  const store = storeOf(options.cache);
  const offline = options.offline ?? (isSet("LOWRANK_OFFLINE") || isSet("HF_HUB_OFFLINE"));
  const endpoint = new URL(options.endpoint ?? fromEnvironment("HF_ENDPOINT") ?? "https://huggingface.co");
  const token = options.token ?? fromEnvironment("HF_TOKEN");
  const net: FetchOptions = {
    signal: options.signal,
    retries: options.retries,
    backoffMs: options.backoffMs,
    stallMs: options.stallMs,
    fetch: options.fetch,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    allowedHosts: [endpoint.host, ...CONTENT_HOSTS, ...(options.allowedHosts ?? [])],
  };
  const listing = await findListing(parsed, store, offline, () => fetchListing(endpoint, parsed, net));
  return hubFolder({ name: parsed, listing, store, offline, endpoint, net, onProgress: options.onProgress });
}

const refName = (revision: string): string => `refs/${encodeURIComponent(revision)}`;

async function findListing(
  { repo, revision }: HubName,
  store: HubStore,
  offline: boolean,
  ask: () => Promise<HubListing>,
): Promise<HubListing> {
  const commit = isCommit(revision)
    ? revision
    : offline
      ? await store.readText(repo, refName(revision))
      : undefined;
  const kept = commit === undefined ? undefined : await store.readText(repo, `listings/${commit}.json`);
  if (kept !== undefined) return parseListing(new TextEncoder().encode(kept), repo, `${store.name}, ${repo}`);
  if (offline) {
    throw new DownloadError({
      where: `${repo}@${revision}`,
      expected: `it in the cache (${store.name}), since we are offline`,
      got: "nothing",
      hint: `fetch it with a connection: lowrank pull ${repo}${revision === "main" ? "" : `@${revision}`}`,
    });
  }
  const listing = await ask();
  await store.writeText(repo, `listings/${listing.commit}.json`, listingJson(listing));
  if (!isCommit(revision)) await store.writeText(repo, refName(revision), listing.commit);
  return listing;
}

interface Opened {
  name: HubName;
  listing: HubListing;
  store: HubStore;
  offline: boolean;
  endpoint: URL;
  net: FetchOptions;
  onProgress: HubOptions["onProgress"];
}

function hubFolder({ name, listing, store, offline, endpoint, net, onProgress }: Opened): HubFolder {
  const { repo, commit, files } = listing;
  const label = `${repo}@${commit.slice(0, 12)}`;
  const address = (path: string): URL => {
    const names = path.split("/").map(encodeURIComponent).join("/");
    return new URL(`${endpoint.pathname.replace(/\/$/, "")}/${repo}/resolve/${commit}/${names}`, endpoint);
  };
  const obtain = async ({ path, key, size }: HubFile): Promise<ByteSource> => {
    let source = await store.find(repo, key, size);
    if (source === undefined) {
      if (offline) {
        throw new DownloadError({
          where: label,
          expected: `${path} in the cache (${store.name}), since we are offline`,
          got: "nothing",
          hint: `fetch it with a connection: lowrank pull ${repo}@${name.revision}`,
        });
      }
      const tell: OnBytes = (done, total) => onProgress?.({ file: path, done, total });
      await store.complete(
        repo,
        key,
        size,
        (partial) => downloadInto(partial, address(path), { key, size }, net, tell),
        net.signal,
      );
      source = await store.find(repo, key, size);
    }
    if (source === undefined) {
      throw new DownloadError({
        where: label,
        expected: `${path} in the cache`,
        got: "nothing: it was cleared meanwhile",
      });
    }
    await store.place?.(repo, commit, path, key);
    return { ...source, name: `${label}/${path}` };
  };
  return {
    name: label,
    repo,
    commit,
    files,
    path: store.folder?.(repo, commit),
    modelFiles: (file = name.file) => modelFiles(listing, file),
    async open(fileName) {
      const file = files.get(checkFilePath(fileName, label));
      return file === undefined ? undefined : obtain(file);
    },
    async openRemote(fileName) {
      const file = files.get(checkFilePath(fileName, label));
      if (file === undefined) return undefined;
      const kept = await store.find(repo, file.key, file.size);
      return kept ?? (offline ? obtain(file) : openUrl(address(fileName), net));
    },
    async fetch(wanted) {
      const queue = [...wanted];
      const work = async (): Promise<void> => {
        for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
          net.signal?.throwIfAborted();
          try {
            await (await obtain(file)).close();
          } catch (error) {
            queue.length = 0;
            throw error;
          }
        }
      };
      const failed = (await Promise.allSettled([work(), work()])).find((r) => r.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    },
  };
}

/** The repositories in the cache. */
export const cachedRepos = (cache?: string | HubStore): Promise<CachedRepo[]> => storeOf(cache).list();

/** Removes a repository from the cache. */
export async function removeCached(repo: string, cache?: string | HubStore): Promise<void> {
  await storeOf(cache).remove(parseHubName(repo).repo);
}
