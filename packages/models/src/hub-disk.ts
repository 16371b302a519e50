import { DownloadError } from "./download-error.js";
import { takeLock } from "./file-lock.js";
import { writeFileAtomic } from "./atomic-write.js";
import type { CachedRepo, HubStore, PartialFile } from "./hub-store.js";
import { requireBuiltin } from "./node-builtin.js";
import { checkFileName, checkFilePath } from "./safe-name.js";
import { openSource } from "./source.js";

const READ_BYTES = 1 << 20;

/** The folder of the cache: `LOWRANK_CACHE`, else `lowrank` in `XDG_CACHE_HOME` or `~/.cache`; in it, `hub`. */
export function defaultCacheFolder(): string {
  const { join } = requireBuiltin("node:path", "cache");
  const { env } = (globalThis as unknown as { process: { env: Record<string, string | undefined> } }).process;
  const own = env["LOWRANK_CACHE"];
  if (own) return join(own, "hub");
  const base = env["XDG_CACHE_HOME"] || join(requireBuiltin("node:os", "cache").homedir(), ".cache");
  return join(base, "lowrank", "hub");
}

/**
 * A cache on disk, laid out as Hugging Face's: `models--owner--name` with `blobs`, `refs` and `snapshots/<commit>`. A file
 * of a snapshot is a second name (hard link) of its blob, or a copy where the file system has no such names.
 *
 * A blob is written as `<checksum>.partial` by the process that holds `<checksum>.lock`, and renamed when it was verified.
 */
export function diskStore(root: string = defaultCacheFolder()): HubStore {
  const { promises: fs } = requireBuiltin("node:fs", "hub cache");
  const { join, dirname } = requireBuiltin("node:path", "hub cache");
  const repoFolder = (repo: string): string =>
    join(root, checkFileName(`models--${repo.replace("/", "--")}`, "hub cache"));
  const blobPath = (repo: string, key: string): string =>
    join(repoFolder(repo), "blobs", checkFileName(key, "hub cache"));
  const textPath = (repo: string, name: string): string =>
    join(repoFolder(repo), ...checkFilePath(name, "hub cache").split("/"));
  const sizeOf = async (path: string): Promise<number | undefined> => {
    try {
      return (await fs.stat(path)).size;
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return undefined;
      throw error;
    }
  };
  return {
    name: root,
    async readText(repo, name) {
      try {
        return await fs.readFile(textPath(repo, name), "utf8");
      } catch (error) {
        if ((error as { code?: string }).code === "ENOENT") return undefined;
        throw error;
      }
    },
    async writeText(repo, name, text) {
      await writeFileAtomic(textPath(repo, name), text);
    },
    async find(repo, key, size) {
      const path = blobPath(repo, key);
      return (await sizeOf(path)) === size ? openSource(path) : undefined;
    },
    async complete(repo, key, size, fill, signal) {
      const path = blobPath(repo, key);
      await fs.mkdir(dirname(path), { recursive: true });
      const isThere = async (): Promise<boolean> => (await sizeOf(path)) === size;
      const lock = await takeLock(`${path}.lock`, signal, isThere);
      if (lock === undefined) return;
      try {
        if (await isThere()) return; // completed between the look and the lock
        const partial = await DiskPartial.open(`${path}.partial`, lock.lost);
        try {
          await fill(partial);
          await partial.sync();
        } finally {
          await partial.close();
        }
        lock.lost.throwIfAborted();
        await fs.rename(`${path}.partial`, path);
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
        throw new DownloadError({
          where: path,
          expected: `${size} bytes of space for it`,
          got: "a full disk",
          hint: "free some space and try again: what has been fetched is kept",
          cause: error,
        });
      } finally {
        await lock.release();
      }
    },
    async place(repo, commit, path, key) {
      const target = join(this.folder!(repo, commit), ...checkFilePath(path, "hub cache").split("/"));
      const blob = blobPath(repo, key);
      const there = await sizeOf(target);
      if (there !== undefined && there === (await sizeOf(blob))) return;
      await fs.mkdir(dirname(target), { recursive: true });
      // Beside it first, so that the name never stands for half a copy.
      const beside = `${target}.${globalThis.crypto.randomUUID()}.tmp`;
      try {
        await fs.link(blob, beside);
      } catch {
        await fs.copyFile(blob, beside);
      }
      await fs.rename(beside, target);
      await fs.rm(beside, { force: true }); // rename leaves it where both names were one file already
    },
    folder: (repo, commit) => join(repoFolder(repo), "snapshots", checkFileName(commit, "hub cache")),
    async list() {
      const repos: CachedRepo[] = [];
      for (const name of await fs.readdir(root).catch(() => [] as string[])) {
        const match = /^models--([^-].*?)--(.+)$/.exec(name);
        if (match === null) continue;
        const blobs = join(root, name, "blobs");
        let sizeBytes = 0;
        for (const blob of await fs.readdir(blobs).catch(() => [] as string[]))
          sizeBytes += (await sizeOf(join(blobs, blob))) ?? 0;
        repos.push({ repo: `${match[1]}/${match[2]}`, sizeBytes });
      }
      return repos.sort((a, b) => (a.repo < b.repo ? -1 : 1));
    },
    async remove(repo) {
      await fs.rm(repoFolder(repo), { recursive: true, force: true });
    },
  };
}

type Handle = Awaited<ReturnType<typeof import("node:fs")["promises"]["open"]>>;

class DiskPartial implements PartialFile {
  private constructor(
    private readonly handle: Handle,
    public length: number,
    private readonly lost: AbortSignal,
  ) {}

  static async open(path: string, lost: AbortSignal): Promise<DiskPartial> {
    const { promises: fs, constants } = requireBuiltin("node:fs", "hub cache");
    const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o644);
    return new DiskPartial(handle, (await handle.stat()).size, lost);
  }

  async *content(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.length; ) {
      const bytes = new Uint8Array(Math.min(READ_BYTES, this.length - at));
      const { bytesRead } = await this.handle.read(bytes, 0, bytes.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield bytes.subarray(0, bytesRead);
    }
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.lost.throwIfAborted();
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, this.length);
      done += bytesWritten;
      this.length += bytesWritten;
    }
  }

  async clear(): Promise<void> {
    this.lost.throwIfAborted();
    await this.handle.truncate(0);
    this.length = 0;
  }

  sync(): Promise<void> {
    return this.handle.sync();
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}
