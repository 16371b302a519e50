import { FormatError, quoteName } from "./format-error.js";
import { requireBuiltin } from "./node-builtin.js";
import { checkFilePath } from "./safe-name.js";

/** Random access to the bytes of one file. */
export interface ByteSource {
  /** For messages: the path, or what the caller called it. */
  readonly name: string;
  /** Length in bytes. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`. The caller may keep them; they may be shared with the source. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * A path or `file:` URL (Node), an `https:` URL, bytes, a Blob or File (browser), or a source of one's own. For options of
 * a download see `openUrl`.
 */
export type ByteInput = string | URL | Blob | ArrayBuffer | Uint8Array | ByteSource;

/** A folder of files: a path or `file:` URL (Node), an `https:` URL, or files by name. */
export type FolderInput =
  | string
  | URL
  | ReadonlyMap<string, ByteInput>
  | Readonly<Record<string, ByteInput>>
  | Folder;

/** Read access to files by name in one folder. */
export interface Folder {
  /** For messages. */
  readonly name: string;
  /** Opens a file by its name or, in a folder below, its path with `/`; undefined if there is none. */
  open(fileName: string): Promise<ByteSource | undefined>;
}

/** @throws FormatError for bytes that a source does not have. */
export function checkRange(source: { name: string; size: number }, offset: number, length: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    offset + length > source.size
  ) {
    throw new FormatError({
      format: "file",
      where: source.name,
      offset,
      expected: `bytes ${offset} to ${offset + length}`,
      got: `a file of ${source.size} bytes`,
      hint: "the file may be cut short; fetch it again",
    });
  }
}

function bytesSource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange(this, offset, length);
      return bytes.subarray(offset, offset + length);
    },
    async close() {},
  };
}

function blobSource(name: string, blob: Blob): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(this, offset, length);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
    async close() {},
  };
}

const READ_CHUNK = 1 << 30; // one read call takes less than 2 GiB

/** Opens a regular file for positioned reads. Gives undefined if nothing has that path. */
async function fileSource(path: string): Promise<ByteSource | undefined> {
  const { promises: fs } = requireBuiltin("node:fs", "open");
  let handle: Awaited<ReturnType<typeof fs.open>>;
  try {
    // A pipe or device would block the open itself, so what it is gets asked first, and again of the open file.
    if (!(await fs.stat(path)).isFile()) throw notAFile(path);
    handle = await fs.open(path, "r");
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (cause instanceof FormatError) throw cause;
    throw new FormatError({
      format: "file",
      where: path,
      expected: "a readable file",
      got: String(code),
      cause,
    });
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw notAFile(path);
    return {
      name: path,
      size: stat.size,
      async read(offset, length) {
        checkRange({ name: path, size: stat.size }, offset, length);
        const bytes = new Uint8Array(length);
        let done = 0;
        while (done < length) {
          const want = Math.min(READ_CHUNK, length - done);
          const { bytesRead } = await handle.read(bytes, done, want, offset + done);
          if (bytesRead === 0) {
            // The file shrank after it was opened.
            checkRange({ name: path, size: offset + done }, offset, length);
          }
          done += bytesRead;
        }
        return bytes;
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

const notAFile = (path: string): FormatError =>
  new FormatError({
    format: "file",
    where: path,
    expected: "a regular file",
    got: "a folder, device or link to one",
  });

const isSource = (input: object): input is ByteSource =>
  typeof (input as ByteSource).read === "function" && typeof (input as ByteSource).size === "number";

function pathOf(input: string | URL): string {
  if (typeof input === "string") return input;
  if (input.protocol !== "file:") {
    throw new FormatError({
      format: "file",
      where: "open",
      expected: "a path or a file: or https: URL",
      got: quoteName(input.href),
    });
  }
  return requireBuiltin("node:url", "open").fileURLToPath(input);
}

/** The address, if an input is one on the web. */
function webAddress(input: unknown): URL | undefined {
  if (typeof input === "string") return /^https?:\/\//i.test(input) ? new URL(input) : undefined;
  return input instanceof URL && /^https?:$/.test(input.protocol) ? input : undefined;
}

/** For messages; of an address without its query, where secrets stand. */
function nameOf(input: string | URL): string {
  const url = webAddress(input);
  return url === undefined ? pathOf(input) : `${url.origin}${url.pathname}`;
}

async function openIfPresent(input: ByteInput, name?: string): Promise<ByteSource | undefined> {
  const url = webAddress(input);
  if (url !== undefined) return (await import("./url-source.js")).openUrlIfPresent(url);
  if (typeof input === "string" || input instanceof URL) return fileSource(pathOf(input));
  if (input instanceof Uint8Array) return bytesSource(name ?? "bytes", input);
  if (input instanceof ArrayBuffer) return bytesSource(name ?? "bytes", new Uint8Array(input));
  if (typeof Blob !== "undefined" && input instanceof Blob) {
    return blobSource(name ?? ("name" in input ? String(input.name) : "blob"), input);
  }
  if (typeof input === "object" && input !== null && isSource(input)) return input;
  throw new FormatError({
    format: "file",
    where: name ?? "open",
    expected: "a path, URL, Blob, ArrayBuffer, Uint8Array or ByteSource",
    got: typeof input,
  });
}

/**
 * Opens a file for random access. Close it when done; bytes and blobs need no closing.
 *
 * @throws FormatError if nothing is there, or it is no regular file.
 */
export async function openSource(input: ByteInput, name?: string): Promise<ByteSource> {
  const source = await openIfPresent(input, name);
  if (source === undefined) {
    throw new FormatError({
      format: "file",
      where: nameOf(input as string | URL),
      expected: "a file",
      got: "nothing of that name",
      hint: "check the path",
    });
  }
  return source;
}

/**
 * Opens a folder. Names asked of it are checked by {@link checkFilePath}, since they may come from an index file, and a
 * symbolic link may not lead out of it, except into the `blobs` folder of the Hugging Face cache that the folder
 * belongs to (`<cache>/snapshots/<revision>` holds nothing but links into `<cache>/blobs`).
 */
export async function openFolder(input: FolderInput): Promise<Folder> {
  const url = webAddress(input);
  if (url !== undefined) return (await import("./url-source.js")).openUrlFolder(url);
  if (typeof input === "string" || input instanceof URL) return diskFolder(pathOf(input));
  if (typeof (input as Folder).open === "function") return input as Folder;
  const files =
    input instanceof Map
      ? (input as ReadonlyMap<string, ByteInput>)
      : new Map(Object.entries(input as Record<string, ByteInput>));
  return {
    name: "files",
    async open(fileName) {
      const file = files.get(checkFilePath(fileName, "files"));
      return file === undefined ? undefined : openIfPresent(file, fileName);
    },
  };
}

async function diskFolder(path: string): Promise<Folder> {
  const { promises: fs } = requireBuiltin("node:fs", "openFolder");
  const { join, dirname, basename, sep } = requireBuiltin("node:path", "openFolder");
  let real: string;
  try {
    if (!(await fs.stat(path)).isDirectory()) {
      throw new FormatError({ format: "folder", where: path, expected: "a folder", got: "a file" });
    }
    real = await fs.realpath(path);
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw new FormatError({
      format: "folder",
      where: path,
      expected: "a folder",
      got:
        (cause as { code?: string }).code === "ENOENT"
          ? "nothing of that name"
          : String((cause as { code?: string }).code),
      hint: "check the path",
      cause,
    });
  }
  const allowed = [`${real}${sep}`];
  if (basename(dirname(real)) === "snapshots") allowed.push(`${join(dirname(dirname(real)), "blobs")}${sep}`);
  return {
    name: path,
    async open(fileName) {
      const target = join(path, checkFilePath(fileName, path));
      let realTarget: string;
      try {
        realTarget = await fs.realpath(target);
      } catch (cause) {
        const code = (cause as { code?: string }).code;
        if (code === "ENOENT" || code === "ENOTDIR") return undefined;
        throw new FormatError({
          format: "file",
          where: target,
          expected: "a readable file",
          got: String(code),
          cause,
        });
      }
      if (!allowed.some((prefix) => realTarget.startsWith(prefix))) {
        throw new FormatError({
          format: "file",
          where: target,
          expected: "a file inside the folder",
          got: "a link that leads out of it",
          hint: "replace the link by the file",
        });
      }
      return fileSource(realTarget);
    },
  };
}

/** All bytes of a small file, refused above `maxBytes` before anything is read. Undefined if it is not there. */
export async function readSmallFile(
  folder: Folder,
  fileName: string,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const source = await folder.open(fileName);
  if (source === undefined) return undefined;
  try {
    if (source.size > maxBytes) {
      throw new FormatError({
        format: "file",
        where: source.name,
        expected: `at most ${maxBytes} bytes`,
        got: `${source.size} bytes`,
      });
    }
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}
