import { FormatError, quoteName } from "./format-error.js";
import { scanJson } from "./json-scan.js";
import { CONVERT, findPickle, isPickle, PICKLE } from "./pickle.js";
import { checkFileName } from "./safe-name.js";
import { typedArray, type SafetensorsDType, type TensorArray } from "./safetensors-dtype.js";
import { LENGTH_BYTES, parseHeader, readHeaderLength } from "./safetensors-header.js";
import {
  openFolder,
  openSource,
  readSmallFile,
  type ByteInput,
  type ByteSource,
  type Folder,
  type FolderInput,
} from "./source.js";

/** One tensor of a file; its data stay on disk until they are asked for. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
  /** The data as stored, little-endian. */
  bytes(): Promise<Uint8Array>;
  /** The data as numbers; F16 and BF16 as their bits in a Uint16Array, see {@link typedArray}. */
  array(): Promise<TensorArray>;
}

/** The tensors of one file, or of a checkpoint in several. */
export interface TensorArchive {
  /** For messages: the path. */
  readonly name: string;
  /** Tensors by name, in the order of the header. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  /** `__metadata__` of the file, empty if it has none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Releases the file. Tensors cannot be read afterwards. */
  close(): Promise<void>;
}

/** A single safetensors file. */
export interface SafetensorsFile extends TensorArchive {
  /** The header as stored, with its padding, so that the file can be written again byte by byte. */
  readonly header: Uint8Array;
}

/**
 * Opens a safetensors file and reads its header; each tensor is read when asked for, so that memory holds one at a time.
 *
 * The layout is `length of header (u64) · header (JSON) · data`. A file is accepted only if its tensors cover the data
 * exactly; see {@link parseHeader} for the rules. Names of tensors are keys of a Map and nothing else.
 *
 * Format: https://github.com/huggingface/safetensors, "Format".
 *
 * @throws FormatError with the byte offset; the file is closed again.
 *
 * @example
 * ```ts
 * const file = await openSafetensors("model.safetensors");
 * const weight = await file.tensors.get("lm_head.weight")?.array();
 * await file.close();
 * ```
 */
export async function openSafetensors(input: ByteInput, name?: string): Promise<SafetensorsFile> {
  const source = await openSource(input, name);
  try {
    return await readArchive(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readArchive(source: ByteSource): Promise<SafetensorsFile> {
  const prefix = await source.read(0, Math.min(LENGTH_BYTES, source.size));
  if (isPickle(prefix)) {
    const expected = "a safetensors file";
    throw new FormatError({
      format: "safetensors",
      where: source.name,
      offset: 0,
      expected,
      got: PICKLE,
      hint: CONVERT,
    });
  }
  const headerLength = readHeaderLength(prefix, source.size, source.name);
  const header = await source.read(LENGTH_BYTES, headerLength);
  const dataStart = LENGTH_BYTES + headerLength;
  const parsed = parseHeader(header, source.size - dataStart, source.name);
  let closed = false;
  const tensors = new Map<string, SafetensorsEntry>();
  for (const [name, { dtype, shape, begin, end }] of parsed.tensors) {
    const bytes = async () => {
      if (closed)
        throw new Error(
          `${source.name}: expected an open file to read ${quoteName(name)} from, got a closed one`,
        );
      return source.read(dataStart + begin, end - begin);
    };
    const array = async () => typedArray(dtype, await bytes());
    tensors.set(name, { name, dtype, shape, sizeBytes: end - begin, bytes, array });
  }
  return {
    name: source.name,
    tensors,
    metadata: parsed.metadata ?? new Map(),
    header,
    async close() {
      closed = true;
      await source.close();
    },
  };
}

const MAX_INDEX_BYTES = 100_000_000;

/**
 * Opens the weights of a model folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
 *
 * A shard is one plain file name in the same folder. Every tensor of the index must be in its shard, and no shard may
 * hold one that the index does not give to it.
 *
 * @param stem File name without its ending. Default: `model`.
 * @throws FormatError; all files are closed again.
 */
export async function openCheckpoint(input: FolderInput, stem = "model"): Promise<TensorArchive> {
  const folder = await openFolder(input);
  const single = await folder.open(`${stem}.safetensors`);
  if (single !== undefined) return openSafetensors(single);
  const indexName = `${stem}.safetensors.index.json`;
  const index = await readSmallFile(folder, indexName, MAX_INDEX_BYTES);
  if (index === undefined) {
    const pickle = await findPickle(folder, stem);
    throw new FormatError({
      format: "safetensors",
      where: folder.name,
      expected: `${stem}.safetensors or ${indexName}`,
      got: pickle === undefined ? "neither" : `${quoteName(pickle)}, ${PICKLE}`,
      hint: pickle === undefined ? "check that this is the folder of a model" : CONVERT,
    });
  }
  return openShards(folder, indexName, index);
}

async function openShards(folder: Folder, indexName: string, bytes: Uint8Array): Promise<TensorArchive> {
  const where = `${folder.name}/${indexName}`;
  const refuse = (expected: string, got: string): never => {
    throw new FormatError({ format: "safetensors index", where, expected, got });
  };
  const root = scanJson(bytes, { where, format: "safetensors index", maxDepth: 8 });
  const weightMap = root instanceof Map ? root.get("weight_map") : undefined;
  if (!(weightMap instanceof Map)) return refuse("an object with a weight_map", "something else");
  const shardOf = new Map<string, string>();
  for (const [name, shard] of weightMap) {
    if (typeof shard !== "string")
      return refuse(`a file name for tensor ${quoteName(name)}`, "something else");
    shardOf.set(name, checkFileName(shard, where, "safetensors index"));
  }
  const open = new Map<string, SafetensorsFile>();
  const close = async () => {
    for (const shard of open.values()) await shard.close();
  };
  try {
    const tensors = new Map<string, SafetensorsEntry>();
    for (const shardName of new Set(shardOf.values())) {
      const source = await folder.open(shardName);
      if (source === undefined) return refuse(`shard ${quoteName(shardName)} in the folder`, "no such file");
      const shard = await openSafetensors(source);
      open.set(shardName, shard);
      for (const name of shard.tensors.keys()) {
        if (shardOf.get(name) !== shardName)
          refuse(`tensor ${quoteName(name)} of ${quoteName(shardName)} to be listed`, "not");
      }
    }
    for (const [name, shardName] of shardOf) {
      const entry = open.get(shardName)?.tensors.get(name);
      if (entry === undefined)
        return refuse(`tensor ${quoteName(name)} in ${quoteName(shardName)}`, "no such tensor");
      tensors.set(name, entry);
    }
    return { name: where, tensors, metadata: new Map(), close };
  } catch (error) {
    await close();
    throw error;
  }
}
