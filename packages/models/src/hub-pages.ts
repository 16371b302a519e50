import type { CachedRepo, HubStore, PartialFile } from "./hub-store.js";
import { type ByteSource, openSource } from "./source.js";

/** One part of a content: so much is lost when a tab is closed. */
const PART_BYTES = 8 << 20;
const ORIGIN = "https://lowrank.invalid/"; // a cache names its entries by addresses; this one can never be reached

/**
 * A cache in the Cache API of browsers, for pages and workers (it needs a secure context). A content lies in parts of
 * 8 MiB, joined as a Blob that the browser reads from disk; the parts of a download that was broken off are taken up
 * again. Web Locks keep other tabs out meanwhile.
 *
 * The browser may clear it when space is short, unless `navigator.storage.persist()` was granted.
 */
export function pageStore(name = "lowrank-hub"): HubStore {
  const opened = caches.open(name);
  const address = (repo: string, ...path: string[]): string => `${ORIGIN}${[repo, ...path].join("/")}`;
  const get = async (url: string): Promise<Response | undefined> => (await opened).match(url);
  const put = async (url: string, content: Blob | string): Promise<void> =>
    (await opened).put(url, new Response(content));
  const partAddress = (repo: string, key: string, index: number): string =>
    address(repo, "blobs", key, `${index}`);
  const readParts = async (repo: string, key: string): Promise<Blob[]> => {
    const parts: Blob[] = [];
    for (;;) {
      const part = await get(partAddress(repo, key, parts.length));
      if (part === undefined) return parts;
      parts.push(await part.blob());
    }
  };
  const find = async (repo: string, key: string, size: number): Promise<ByteSource | undefined> => {
    if ((await get(address(repo, "blobs", key, "whole"))) === undefined) return undefined;
    const blob = new Blob(await readParts(repo, key));
    return blob.size === size ? openSource(blob, key) : undefined;
  };
  const removeParts = async (repo: string, key: string): Promise<void> => {
    const cache = await opened;
    await cache.delete(address(repo, "blobs", key, "whole"));
    for (let i = 0; await cache.delete(partAddress(repo, key, i)); i++);
  };
  return {
    name: `Cache API, ${name}`,
    readText: async (repo, path) => (await get(address(repo, "texts", path)))?.text(),
    writeText: (repo, path, text) => put(address(repo, "texts", path), text),
    find,
    async complete(repo, key, size, fill, signal) {
      const alone = async (): Promise<void> => {
        if ((await find(repo, key, size)) !== undefined) return;
        const parts = await readParts(repo, key);
        // All parts but the last are full; one that is not was the end of another content under this name.
        if (parts.slice(0, -1).some((part) => part.size !== PART_BYTES)) {
          await removeParts(repo, key);
          parts.length = 0;
        }
        let tail: Uint8Array[] = [];
        let tailBytes = 0;
        const partial: PartialFile & { length: number } = {
          length: parts.reduce((sum, part) => sum + part.size, 0),
          async *content() {
            for (const part of parts) yield new Uint8Array(await part.arrayBuffer());
          },
          async append(bytes) {
            for (let at = 0; at < bytes.length; ) {
              const piece = bytes.slice(at, at + PART_BYTES - tailBytes);
              tail.push(piece);
              tailBytes += piece.length;
              at += piece.length;
              this.length += piece.length;
              if (tailBytes === PART_BYTES) await flush();
            }
          },
          async clear() {
            await removeParts(repo, key);
            [parts.length, tail, tailBytes, this.length] = [0, [], 0, 0];
          },
        };
        const flush = async (): Promise<void> => {
          if (tailBytes === 0) return;
          const part = new Blob(tail as BlobPart[]);
          await put(partAddress(repo, key, parts.length), part);
          parts.push(part);
          [tail, tailBytes] = [[], 0];
        };
        // A last part that is not full cannot grow, so it is taken back.
        const last = parts.at(-1);
        if (last !== undefined && last.size < PART_BYTES) {
          parts.pop();
          partial.length -= last.size;
          await (await opened).delete(partAddress(repo, key, parts.length));
        }
        await fill(partial);
        await flush();
        await put(address(repo, "blobs", key, "whole"), "");
      };
      const locks = (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
      if (locks === undefined) await alone();
      else
        await locks.request(`${name} ${repo} ${key}`, { ...(signal === undefined ? {} : { signal }) }, alone);
    },
    async list() {
      const sizes = new Map<string, number>();
      const cache = await opened;
      for (const { url } of await cache.keys()) {
        const match = /^https:\/\/lowrank\.invalid\/([^/]+\/[^/]+)\/blobs\/[^/]+\/\d+$/.exec(url);
        if (match === null) continue;
        const blob = await (await cache.match(url))?.blob();
        sizes.set(match[1]!, (sizes.get(match[1]!) ?? 0) + (blob?.size ?? 0));
      }
      return [...sizes].map(([repo, sizeBytes]): CachedRepo => ({ repo, sizeBytes }));
    },
    async remove(repo) {
      const cache = await opened;
      for (const { url } of await cache.keys())
        if (url.startsWith(`${ORIGIN}${repo}/`)) await cache.delete(url);
    },
  };
}
