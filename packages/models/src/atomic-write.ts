import { hostFiles, withPoints, type FileLayer, type OnPoint } from "./file-layer.js";
import { FormatError, isFormatError, quoteName } from "./format-error.js";
import {
  encodeManifest,
  parseManifest,
  MANIFEST_NAME,
  type FileRecord,
  type FolderManifest,
} from "./manifest.js";
import { requireBuiltin } from "./node-builtin.js";
import { checkFileName } from "./safe-name.js";

/** What a file is to hold: text (UTF-8), bytes, or pieces that come one after the other. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

export interface AtomicWriteOptions {
  /** Where files live. Default: the host's file system. */
  layer?: FileLayer;
  /** Called around each operation, for tests that stop there. */
  onPoint?: OnPoint;
  /** Stops between two pieces; nothing is left behind. */
  signal?: AbortSignal;
}

export interface FolderWriteOptions extends AtomicWriteOptions {
  /** Fields for the manifest beside the list of files, such as the step. JSON. */
  manifest?: Readonly<Record<string, unknown>>;
  /** Replace a folder of that name. Default: false, an existing one is an error. */
  replace?: boolean;
}

/** Something could not be written. What was there before is unchanged, unless the message says otherwise. */
export class WriteError extends Error {
  readonly code = "LOWRANK_WRITE";
  /** The file or folder that was to be written. */
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  /** The error code of the system, such as `ENOSPC`. */
  readonly systemCode: string | undefined;

  constructor(where: string, cause: unknown, outcome = "what was there before is unchanged") {
    const systemCode = (cause as { code?: string } | undefined)?.code;
    const got = cause instanceof Error ? cause.message : String(cause);
    const full = systemCode === "ENOSPC" || systemCode === "EDQUOT";
    super(
      `${where}: expected to write it, got ${got}; ${full ? "free some space and try again; " : ""}${outcome}`,
      {
        cause,
      },
    );
    this.name = "WriteError";
    this.where = where;
    this.expected = "to write it";
    this.got = got;
    this.systemCode = systemCode;
  }
}

function temporaryName(target: string, ending: "tmp" | "old"): string {
  const random = globalThis.crypto.getRandomValues(new Uint8Array(6));
  return `${target}.${Array.from(random, (b) => b.toString(16).padStart(2, "0")).join("")}.${ending}`;
}

const parentOf = (path: string): string => requireBuiltin("node:path", "write").dirname(path);
const resolvePath = (path: string): string => requireBuiltin("node:path", "write").resolve(path);

async function* pieces(content: FileContent): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

/** Writes and syncs one new file and describes it. */
async function writeNew(
  layer: FileLayer,
  path: string,
  name: string,
  content: FileContent,
  signal: AbortSignal | undefined,
): Promise<FileRecord> {
  const hash = requireBuiltin("node:crypto", "write").createHash("sha256");
  let size = 0;
  const file = await layer.create(path);
  try {
    for await (const piece of pieces(content)) {
      signal?.throwIfAborted();
      hash.update(piece);
      size += piece.byteLength;
      await file.write(piece);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { name, size, sha256: hash.digest("hex") };
}

/** Makes the folders above a path that are missing, the topmost first, each synced into the one above it. */
async function makeParents(layer: FileLayer, target: string): Promise<void> {
  const missing: string[] = [];
  for (let folder = parentOf(target); !(await layer.exists(folder)); folder = parentOf(folder)) {
    missing.unshift(folder);
    if (parentOf(folder) === folder) break;
  }
  for (const folder of missing) {
    try {
      await layer.makeFolder(folder);
    } catch (error) {
      if ((error as { code?: string }).code !== "EEXIST") throw error; // another save made it meanwhile
    }
    await layer.syncFolder(parentOf(folder));
  }
}

/** Runs a save; on failure removes what it left and says what could not be written. */
async function guarded<T>(
  target: string,
  temporary: string,
  layer: FileLayer,
  signal: AbortSignal | undefined,
  save: () => Promise<T>,
): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await save();
  } catch (error) {
    // The first fault is the one to tell; a failure to clean up leaves a file that the next save ignores.
    await layer.remove(temporary).catch(() => undefined);
    const failedByContent =
      signal?.aborted || isFormatError(error) || (error as { code?: unknown })?.code === undefined;
    throw failedByContent || error instanceof WriteError ? error : new WriteError(target, error);
  }
}

/**
 * Writes a file so that it appears whole or not at all, whenever the process or the machine stops.
 *
 * A temporary file beside the target is written and synced, then renamed over it, then the folder is synced. An earlier
 * file of that name stays as it was until the rename. Folders above it that are missing are made.
 *
 * @throws WriteError, with the system's error as cause.
 */
export async function writeFileAtomic(
  path: string,
  content: FileContent,
  options: AtomicWriteOptions = {},
): Promise<FileRecord> {
  const target = resolvePath(path);
  const layer = withPoints(options.layer ?? hostFiles(), options.onPoint);
  const temporary = temporaryName(target, "tmp");
  const name = requireBuiltin("node:path", "write").basename(target);
  return guarded(path, temporary, layer, options.signal, async () => {
    await makeParents(layer, target);
    const record = await writeNew(layer, temporary, name, content, options.signal);
    await layer.rename(temporary, target);
    try {
      await layer.syncFolder(parentOf(target));
    } catch (cause) {
      throw new WriteError(path, cause, "the new file is in its place but may not survive a power cut");
    }
    return record;
  });
}

/**
 * Writes a folder of files so that it appears whole or not at all.
 *
 * Everything goes into a temporary folder beside the target: each file written and synced, then `manifest.json` with
 * the size and SHA-256 of each, then the folder itself synced. It is renamed to its name and the parent synced. Folders
 * above it that are missing are made. With
 * `replace` an earlier folder steps aside first; if the process dies in that instant, {@link recoverFolder} brings it
 * back.
 *
 * @param files Content by plain file name, written in this order.
 * @returns The manifest.
 * @throws WriteError, with the system's error as cause; FormatError for a name that no file may have.
 *
 * @example
 * ```ts
 * await writeFolderAtomic("runs/checkpoint-100", { "state.json": "{}" }, { manifest: { step: 100 } });
 * const { fields } = await verifyFolder("runs/checkpoint-100");
 * ```
 */
export async function writeFolderAtomic(
  path: string,
  files: Readonly<Record<string, FileContent>> | Iterable<readonly [string, FileContent]>,
  options: FolderWriteOptions = {},
): Promise<FolderManifest> {
  const target = resolvePath(path);
  const { join } = requireBuiltin("node:path", "write");
  const layer = withPoints(options.layer ?? hostFiles(), options.onPoint);
  const temporary = temporaryName(target, "tmp");
  const entries =
    Symbol.iterator in files
      ? [...(files as Iterable<readonly [string, FileContent]>)]
      : Object.entries(files);
  const taken = new Set([MANIFEST_NAME]);
  for (const [name] of entries) {
    checkFileName(name, path);
    // Names that differ in case only are one file under Windows and macOS.
    if (taken.has(name.toLowerCase())) {
      throw new FormatError({
        format: "folder",
        where: path,
        expected: "every name once",
        got: `${quoteName(name)} again`,
      });
    }
    taken.add(name.toLowerCase());
  }
  const earlier = await layer.exists(target);
  if (earlier && !options.replace) {
    throw new FormatError({
      format: "folder",
      where: path,
      expected: "a new name",
      got: "an existing one",
      hint: "choose another, or say that it may be replaced",
    });
  }
  return guarded(path, temporary, layer, options.signal, async () => {
    await makeParents(layer, target);
    await layer.makeFolder(temporary);
    const records: FileRecord[] = [];
    for (const [name, content] of entries) {
      records.push(await writeNew(layer, join(temporary, name), name, content, options.signal));
    }
    const { manifest, text } = encodeManifest(records, options.manifest ?? {});
    await writeNew(layer, join(temporary, MANIFEST_NAME), MANIFEST_NAME, text, options.signal);
    await layer.syncFolder(temporary);
    if (!earlier) {
      await layer.rename(temporary, target);
      await layer.syncFolder(parentOf(target));
      return manifest;
    }
    const aside = temporaryName(target, "old");
    await layer.rename(target, aside);
    let placed = false;
    try {
      await layer.rename(temporary, target);
      placed = true;
      await layer.syncFolder(parentOf(target));
    } catch (error) {
      if (placed) await layer.rename(target, temporary);
      await layer.rename(aside, target);
      throw error;
    }
    // If this fails the save has still succeeded; recoverFolder clears up.
    await layer.remove(aside).catch(() => undefined);
    return manifest;
  });
}

/**
 * Checks that a folder is what its manifest says: every file there, of its size and SHA-256.
 *
 * @throws FormatError naming the first file that is not.
 */
export async function verifyFolder(
  path: string,
  options: { layer?: FileLayer } = {},
): Promise<FolderManifest> {
  const layer = options.layer ?? hostFiles();
  const { join } = requireBuiltin("node:path", "verifyFolder");
  const { createHash } = requireBuiltin("node:crypto", "verifyFolder");
  const open = async <T>(
    name: string,
    use: (content: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> => {
    try {
      return await use(layer.read(join(path, name)));
    } catch (cause) {
      if (isFormatError(cause)) throw cause;
      const code = (cause as { code?: string }).code;
      throw new FormatError({
        format: "manifest",
        where: join(path, name),
        expected: "a readable file",
        got: code === "ENOENT" ? "nothing of that name" : String(code ?? cause),
        cause,
      });
    }
  };
  const manifest = await open(MANIFEST_NAME, (content) => parseManifest(content, join(path, MANIFEST_NAME)));
  for (const { name, size, sha256 } of manifest.files) {
    await open(name, async (content) => {
      const hash = createHash("sha256");
      let length = 0;
      for await (const piece of content) {
        hash.update(piece);
        length += piece.byteLength;
        if (length > size) break;
      }
      const refuse = (expected: string, got: string): never => {
        throw new FormatError({ format: "manifest", where: join(path, name), expected, got });
      };
      if (length !== size) refuse(`${size} bytes`, length > size ? "more" : `${length}`);
      const digest = hash.digest("hex");
      if (digest !== sha256) refuse(`SHA-256 ${sha256}`, digest);
    });
  }
  return manifest;
}

/**
 * Clears up beside a folder after a save that was cut off: removes temporary folders, and puts an earlier folder back
 * that had stepped aside for one that never came. To be called when no save of that folder is under way.
 *
 * @returns What was done, for a warning: `"restored"`, `"removed"` or `"nothing"`.
 */
export async function recoverFolder(
  path: string,
  options: { layer?: FileLayer } = {},
): Promise<"restored" | "removed" | "nothing"> {
  const layer = options.layer ?? hostFiles();
  const { join, basename } = requireBuiltin("node:path", "recoverFolder");
  const target = resolvePath(path);
  const parent = parentOf(target);
  if (!(await layer.exists(parent))) return "nothing";
  const base = `${basename(target)}.`;
  const leftovers = (await layer.list(parent)).filter(
    (name) => name.startsWith(base) && /^[0-9a-f]{12}\.(?:tmp|old)$/.test(name.slice(base.length)),
  );
  let done: "restored" | "removed" | "nothing" = "nothing";
  const old = leftovers.find((name) => name.endsWith(".old"));
  if (old !== undefined && !(await layer.exists(target))) {
    // The save died between its two renames: the new folder takes the name if it is whole, else the old one.
    let chosen = old;
    for (const name of leftovers.filter((other) => other.endsWith(".tmp"))) {
      const whole = verifyFolder(join(parent, name), { layer });
      if (
        await whole.then(
          () => true,
          () => false,
        )
      )
        chosen = name;
    }
    await layer.rename(join(parent, chosen), target);
    await layer.syncFolder(parent);
    leftovers.splice(leftovers.indexOf(chosen), 1);
    done = "restored";
  }
  for (const name of leftovers) {
    await layer.remove(join(parent, name));
    if (done === "nothing") done = "removed";
  }
  return done;
}
