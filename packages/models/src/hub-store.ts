import type { ByteSource } from "./source.js";

/** The part of a file that has come so far. Only one holder at a time. */
export interface PartialFile {
  /** Bytes that are there. */
  readonly length: number;
  /** What is there, from the start. */
  content(): AsyncIterable<Uint8Array>;
  append(bytes: Uint8Array): Promise<void>;
  /** Starts anew. */
  clear(): Promise<void>;
}

/** A repository in a cache, in bytes. */
export interface CachedRepo {
  readonly repo: string;
  readonly sizeBytes: number;
}

/**
 * Where fetched files are kept: verified contents by their checksum, the listings of commits, and what a branch or tag
 * meant last. Several processes or tabs may use one at once.
 */
export interface HubStore {
  /** For messages. */
  readonly name: string;
  readText(repo: string, name: string): Promise<string | undefined>;
  /** Replaces a text as a whole. */
  writeText(repo: string, name: string, text: string): Promise<void>;
  /** A content that was verified when it came, if it is here. */
  find(repo: string, key: string, size: number): Promise<ByteSource | undefined>;
  /**
   * Gives the partial file of a content to `fill`, alone among all users of the cache; when it returns, the content has
   * its final name. If another has completed it meanwhile, `fill` is not called.
   */
  complete(
    repo: string,
    key: string,
    size: number,
    fill: (partial: PartialFile) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void>;
  /** Shows a content under its name in the folder of a commit, where the cache has such folders (Node). */
  place?(repo: string, commit: string, path: string, key: string): Promise<void>;
  /** The folder of a commit, where the cache has such. */
  folder?(repo: string, commit: string): string;
  list(): Promise<CachedRepo[]>;
  remove(repo: string): Promise<void>;
}
