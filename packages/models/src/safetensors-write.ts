import { writeFileAtomic, type AtomicWriteOptions } from "./atomic-write.js";
import { FormatError, quoteName } from "./format-error.js";
import {
  isSafetensorsDType,
  layoutRank,
  tensorSizeBytes,
  type SafetensorsDType,
} from "./safetensors-dtype.js";
import { LENGTH_BYTES, MAX_HEADER_BYTES, parseHeader } from "./safetensors-header.js";
import type { SafetensorsFile } from "./safetensors.js";

/** A tensor to write. */
export interface TensorToWrite {
  dtype: SafetensorsDType;
  shape: readonly number[];
  /**
   * The data, little-endian and row-major: bytes or any typed array, or a function that fetches them when their turn
   * comes, so that one tensor at a time is in memory.
   */
  data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

export type TensorsToWrite =
  | ReadonlyMap<string, TensorToWrite>
  | Readonly<Record<string, TensorToWrite>>
  | Iterable<readonly [string, TensorToWrite]>;

export interface WriteSafetensorsOptions {
  /** Strings for `__metadata__`; left out if there are none. Written in the order of their keys. */
  metadata?: ReadonlyMap<string, string> | Readonly<Record<string, string>>;
  /**
   * A file whose header is kept byte by byte. Its names, dtypes and shapes must be those of the tensors; the result is
   * equal to that file if the data are.
   */
  like?: Pick<SafetensorsFile, "header" | "name">;
}

interface Plan {
  /** Length prefix and header. */
  head: Uint8Array;
  /** Tensors in the order of their data. */
  order: readonly (readonly [string, TensorToWrite, number])[];
  sizeBytes: number;
}

const asMap = <V>(
  input: ReadonlyMap<string, V> | Readonly<Record<string, V>> | Iterable<readonly [string, V]>,
) => {
  const entries =
    Symbol.iterator in input ? (input as Iterable<readonly [string, V]>) : Object.entries(input);
  const map = new Map<string, V>();
  for (const [name, value] of entries) {
    if (map.has(name)) refuse("every name once", `${quoteName(name)} again`);
    map.set(name, value);
  }
  return map;
};

function refuse(expected: string, got: string): never {
  throw new FormatError({ format: "safetensors", where: "writeSafetensors", expected, got });
}

/** Order of Unicode code points, that of the reference writer, where JavaScript's is of UTF-16 units. */
function compareCodePoints(a: string, b: string): number {
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = (left[i] as string).codePointAt(0)! - (right[i] as string).codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function plan(input: TensorsToWrite, { metadata, like }: WriteSafetensorsOptions): Plan {
  const tensors = asMap(input);
  const sized = [...tensors].map(([name, tensor]) => {
    if (name === "__metadata__") refuse("a tensor name", "the reserved name __metadata__");
    if (/\p{Surrogate}/u.test(name)) refuse("names of whole Unicode characters", quoteName(name));
    if (!isSafetensorsDType(tensor.dtype))
      refuse(`${quoteName(name)} to have a known dtype`, String(tensor.dtype));
    const size = tensorSizeBytes(tensor.dtype, tensor.shape);
    if (size === undefined) {
      return refuse(
        `${quoteName(name)} to have a size in whole bytes`,
        `${tensor.dtype} [${tensor.shape.join(", ")}]`,
      );
    }
    return [name, tensor, size] as const;
  });
  const total = sized.reduce((sum, [, , size]) => sum + size, 0);
  if (like !== undefined) return planLike(sized, total, like);

  // Widest types first, so that every tensor begins at a multiple of its element size; then by name.
  const order = sized.sort(
    ([a, x], [b, y]) => layoutRank(y.dtype) - layoutRank(x.dtype) || compareCodePoints(a, b),
  );
  const parts: string[] = [];
  const notes = [...asMap<string>(metadata ?? {})].sort(([a], [b]) => compareCodePoints(a, b));
  if (notes.length > 0) {
    const members = notes.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    parts.push(`"__metadata__":{${members.join(",")}}`);
  }
  let at = 0;
  for (const [name, { dtype, shape }, size] of order) {
    parts.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${at},${at + size}]}`,
    );
    at += size;
  }
  const json = new TextEncoder().encode(`{${parts.join(",")}}`);
  const header = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20); // data begin at a multiple of 8
  header.set(json);
  if (header.length > MAX_HEADER_BYTES)
    refuse(`a header of at most ${MAX_HEADER_BYTES} bytes`, `${header.length}`);
  return { head: withLength(header), order, sizeBytes: total };
}

function planLike(
  sized: readonly (readonly [string, TensorToWrite, number])[],
  total: number,
  like: Pick<SafetensorsFile, "header" | "name">,
): Plan {
  const { tensors } = parseHeader(like.header, total, like.name);
  if (tensors.size !== sized.length) refuse(`the ${tensors.size} tensors of ${like.name}`, `${sized.length}`);
  for (const [name, { dtype, shape }] of sized) {
    const model = tensors.get(name);
    if (model?.dtype !== dtype || model.shape.join() !== shape.join()) {
      refuse(
        `${quoteName(name)} as in ${like.name}`,
        model === undefined
          ? "a new name"
          : `${dtype} [${shape.join(", ")}] for ${model.dtype} [${model.shape.join(", ")}]`,
      );
    }
  }
  const order = [...sized].sort(([a], [b]) => {
    const x = tensors.get(a)!;
    const y = tensors.get(b)!;
    return x.begin - y.begin || x.end - y.end;
  });
  return { head: withLength(like.header), order, sizeBytes: total };
}

function withLength(header: Uint8Array): Uint8Array {
  const head = new Uint8Array(LENGTH_BYTES + header.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(header.length), true);
  head.set(header, LENGTH_BYTES);
  return head;
}

async function* chunks({ head, order }: Plan): AsyncGenerator<Uint8Array> {
  yield head;
  for (const [name, { data }, size] of order) {
    const view = typeof data === "function" ? await data() : data;
    if (view.byteLength !== size) refuse(`${size} bytes for ${quoteName(name)}`, `${view.byteLength}`);
    yield new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  }
}

/**
 * The bytes of a safetensors file, one tensor after the other. The same tensors and metadata give the same bytes
 * whatever their order: by element size, then by name, as the reference writer lays them out.
 *
 * @throws FormatError if data do not fit shape and dtype.
 */
export function safetensorsChunks(
  tensors: TensorsToWrite,
  options: WriteSafetensorsOptions = {},
): AsyncGenerator<Uint8Array> {
  return chunks(plan(tensors, options));
}

/** The whole file in memory: for browsers and small files. */
export async function encodeSafetensors(
  tensors: TensorsToWrite,
  options: WriteSafetensorsOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const layout = plan(tensors, options);
  const file = new Uint8Array(layout.head.length + layout.sizeBytes);
  let at = 0;
  for await (const chunk of chunks(layout)) {
    file.set(chunk, at);
    at += chunk.length;
  }
  return file;
}

/**
 * Writes a safetensors file (Node). The file appears whole or not at all; an earlier one of that name stays until then.
 * See {@link writeFileAtomic}.
 */
export async function writeSafetensors(
  path: string,
  tensors: TensorsToWrite,
  options: WriteSafetensorsOptions & AtomicWriteOptions = {},
): Promise<void> {
  await writeFileAtomic(path, safetensorsChunks(tensors, options), options);
}
