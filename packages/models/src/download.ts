import { contentDigest, type Digest } from "./digest.js";
import { DownloadError } from "./download-error.js";
import type { FetchOptions } from "./http.js";
import type { PartialFile } from "./hub-store.js";
import { readStretch } from "./ranged.js";
import { showAddress } from "./web-address.js";

/** How far a file has come. */
export type OnBytes = (done: number, total: number) => void;

const UNKNOWN = { etag: undefined, lastModified: undefined };

/**
 * Fetches a file whose size and checksum are known into a partial one, going on where an earlier attempt ended, and
 * verifies it. What turns out false is thrown away: after a resumed download once, to begin anew, since the fault may lie
 * in what was there before; then with an error.
 *
 * @param key See `contentDigest`.
 * @throws DownloadError
 */
export async function downloadInto(
  partial: PartialFile,
  url: URL,
  { key, size }: { key: string; size: number },
  options: FetchOptions,
  onBytes: OnBytes = () => undefined,
): Promise<void> {
  for (;;) {
    if (partial.length > size) await partial.clear();
    const resumed = partial.length > 0;
    const digest = await contentDigest(key, size);
    await rehash(partial, digest, options.signal);
    onBytes(partial.length, size);
    const stretch = { from: partial.length, to: size, size, validator: UNKNOWN, verified: true };
    for await (const piece of readStretch(url, stretch, options)) {
      digest.update(piece);
      await partial.append(piece);
      onBytes(partial.length, size);
    }
    const found = digest.hex();
    if (found === key) return;
    await partial.clear();
    if (resumed) continue;
    throw new DownloadError({
      where: showAddress(url),
      expected: `a content with checksum ${key}`,
      got: found,
      hint: "the server or something on the way has altered it; nothing of it was kept",
    });
  }
}

async function rehash(partial: PartialFile, digest: Digest, signal: AbortSignal | undefined): Promise<void> {
  for await (const piece of partial.content()) {
    signal?.throwIfAborted();
    digest.update(piece);
  }
}
