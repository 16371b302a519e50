import { requireBuiltin } from "./node-builtin.js";

/** A new file that is being written. */
export interface FileWriter {
  write(bytes: Uint8Array): Promise<void>;
  /** Returns when what was written would survive a power cut. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * The few file operations that saving needs. Injected, so that tests can fail, tear or forget at every one of them.
 */
export interface FileLayer {
  /** Makes a folder; fails if the name is taken. */
  makeFolder(path: string): Promise<void>;
  /** Makes an empty file; fails if the name is taken. */
  create(path: string): Promise<FileWriter>;
  /** Puts `from` in the place of `to`. A file replaces a file; a folder needs a free name. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a folder with all in it. Nothing happens if nothing is there. */
  remove(path: string): Promise<void>;
  /** Makes the names in a folder survive a power cut. */
  syncFolder(path: string): Promise<void>;
  /** Names in a folder. */
  list(path: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  /** The content of a file, piece by piece. */
  read(path: string): AsyncIterable<Uint8Array>;
}

const RENAME_PATIENCE_MS = 60_000; // virus scanners of Windows hold a new file for a while
const READ_BYTES = 1 << 20;

/** The file system of the host (Node, Deno, Bun). */
export function hostFiles(): FileLayer {
  const { promises: fs } = requireBuiltin("node:fs", "hostFiles");
  const onWindows = (globalThis as { process?: { platform?: string } }).process?.platform === "win32";
  return {
    async makeFolder(path) {
      await fs.mkdir(path);
    },
    async create(path) {
      const handle = await fs.open(path, "wx");
      return {
        async write(bytes) {
          let at = 0;
          while (at < bytes.byteLength) {
            const piece = Math.min(1 << 30, bytes.byteLength - at); // one write call takes less than 2 GiB
            at += (await handle.write(bytes, at, piece)).bytesWritten;
          }
        },
        sync: () => handle.sync(),
        close: () => handle.close(),
      };
    },
    async rename(from, to) {
      const deadline = Date.now() + RENAME_PATIENCE_MS;
      for (let waitMs = 10; ; waitMs = Math.min(waitMs * 2, 2000)) {
        try {
          await fs.rename(from, to);
          return;
        } catch (error) {
          const code = (error as { code?: string }).code;
          const busy = code === "EPERM" || code === "EBUSY" || code === "EACCES";
          if (!onWindows || !busy || Date.now() > deadline) throw error;
          await new Promise((resolve) => setTimeout(resolve, waitMs));
        }
      }
    },
    remove: (path) => fs.rm(path, { recursive: true, force: true, maxRetries: onWindows ? 10 : 0 }),
    async syncFolder(path) {
      if (onWindows) return; // a folder cannot be opened there; NTFS keeps its own journal of names
      const handle = await fs.open(path, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    list: (path) => fs.readdir(path),
    async exists(path) {
      try {
        await fs.lstat(path);
        return true;
      } catch (error) {
        const code = (error as { code?: string }).code;
        if (code === "ENOENT" || code === "ENOTDIR") return false;
        throw error;
      }
    },
    async *read(path) {
      const handle = await fs.open(path, "r");
      try {
        for (;;) {
          const bytes = new Uint8Array(READ_BYTES);
          const { bytesRead } = await handle.read(bytes, 0, READ_BYTES);
          if (bytesRead === 0) return;
          yield bytes.subarray(0, bytesRead);
        }
      } finally {
        await handle.close();
      }
    },
  };
}

/**
 * Called before and after each operation of a save with a name such as `before write adapter_config.json`, `after sync
 * manifest.json`, `before rename checkpoint-12`. What it throws, the operation throws.
 */
export type OnPoint = (point: string) => void | Promise<void>;

/** The same layer with `onPoint` called around each operation that changes something. */
export function withPoints(layer: FileLayer, onPoint: OnPoint | undefined): FileLayer {
  if (onPoint === undefined) return layer;
  // The last part of the path, without the random part of a temporary name.
  const nameOf = (path: string) =>
    (path.split(/[/\\]/).pop() ?? path).replace(/\.[0-9a-f]{12}\.(tmp|old)$/, ".$1");
  const around = async <T>(act: string, path: string, run: () => Promise<T>): Promise<T> => {
    await onPoint(`before ${act} ${nameOf(path)}`);
    const result = await run();
    await onPoint(`after ${act} ${nameOf(path)}`);
    return result;
  };
  return {
    makeFolder: (path) => around("makeFolder", path, () => layer.makeFolder(path)),
    async create(path) {
      const file = await around("create", path, () => layer.create(path));
      return {
        write: (bytes) => around("write", path, () => file.write(bytes)),
        sync: () => around("sync", path, () => file.sync()),
        close: () => file.close(),
      };
    },
    rename: (from, to) => around("rename", to, () => layer.rename(from, to)),
    remove: (path) => around("remove", path, () => layer.remove(path)),
    syncFolder: (path) => around("syncFolder", path, () => layer.syncFolder(path)),
    list: (path) => layer.list(path),
    exists: (path) => layer.exists(path),
    read: (path) => layer.read(path),
  };
}
