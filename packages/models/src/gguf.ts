import { FormatError, quoteName } from "./format-error.js";
import { GgufCursor } from "./gguf-cursor.js";
import { dequantizeGguf } from "./gguf-dequantize.js";
import { type GgufHeader, readGgufHeader } from "./gguf-header.js";
import type { GgufTensorType } from "./gguf-types.js";
import { type ByteInput, type ByteSource, openSource } from "./source.js";

/** One tensor of a file; its data stay on disk until they are asked for. */
export interface GgufEntry {
  readonly name: string;
  readonly type: GgufTensorType;
  /** Slowest axis first, as everywhere here: a matrix is [out, in]. */
  readonly shape: readonly number[];
  readonly sizeBytes: number;
  /** The data as stored. */
  bytes(): Promise<Uint8Array>;
  /** The numbers in f32, see {@link dequantizeGguf}. */
  array(): Promise<Float32Array<ArrayBuffer>>;
}

/** An open GGUF file. */
export interface GgufFile extends Pick<GgufHeader, "version" | "alignment" | "metadata" | "padsEnd"> {
  /** For messages: the path. */
  readonly name: string;
  /** Tensors by name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, GgufEntry>;
  /** Releases the file. Tensors cannot be read afterwards. */
  close(): Promise<void>;
}

/**
 * Opens a GGUF file (version 2 or 3) and reads its header; each tensor is read when asked for, so that memory holds one
 * at a time.
 *
 * Every count, length and offset is compared with the bytes that are there before anything is allocated. Keys and names
 * may stand once, in UTF-8; the data of the tensors follow each other in the order of the table, each at a multiple of
 * the alignment, with zeros between them and nothing behind.
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * @throws FormatError with the byte offset; the file is closed again.
 *
 * @example
 * ```ts
 * const file = await openGguf("model.gguf");
 * const table = await file.tensors.get("token_embd.weight")?.array();
 * await file.close();
 * ```
 */
export async function openGguf(input: ByteInput, name?: string): Promise<GgufFile> {
  const source = await openSource(input, name);
  try {
    const header = await readGgufHeader(new GgufCursor(source), source.size);
    return fileOf(source, header);
  } catch (error) {
    await source.close();
    throw error;
  }
}

function fileOf(source: ByteSource, header: GgufHeader): GgufFile {
  let closed = false;
  const tensors = new Map<string, GgufEntry>();
  for (const [name, { type, shape, offset, sizeBytes, padding }] of header.tensors) {
    const bytes = async (): Promise<Uint8Array> => {
      if (closed) {
        throw new Error(
          `${source.name}: expected an open file to read ${quoteName(name)} from, got a closed one`,
        );
      }
      const data = await source.read(offset, sizeBytes + padding);
      const wrong = data.subarray(sizeBytes).findIndex((byte) => byte !== 0);
      if (wrong >= 0) {
        throw new FormatError({
          format: "gguf",
          where: source.name,
          offset: offset + sizeBytes + wrong,
          expected: `padding of zeros behind tensor ${quoteName(name)}`,
          got: "another byte",
        });
      }
      return data.subarray(0, sizeBytes);
    };
    const array = async () => dequantizeGguf(type, await bytes(), `${source.name}, ${quoteName(name)}`);
    tensors.set(name, { name, type, shape, sizeBytes, bytes, array });
  }
  const { version, alignment, metadata, padsEnd } = header;
  return {
    name: source.name,
    version,
    alignment,
    metadata,
    padsEnd,
    tensors,
    async close() {
      closed = true;
      await source.close();
    },
  };
}
