import { quoteName } from "./format-error.js";
import type { GgufCursor } from "./gguf-cursor.js";
import {
  ALIGNMENT_KEY,
  alignUp,
  DEFAULT_ALIGNMENT,
  GGUF_MAGIC,
  GGUF_TENSOR_TYPES,
  GGUF_VALUE_TYPES,
  type GgufArray,
  type GgufScalarType,
  type GgufTensorType,
  type GgufValue,
  ggufSizeBytes,
  MAX_DIMENSIONS,
  MAX_KEY_BYTES,
  MAX_NAME_BYTES,
  SCALAR_BYTES,
  tensorTypeOf,
} from "./gguf-types.js";

/** What the table of a file says of one tensor. */
export interface GgufSpan {
  readonly type: GgufTensorType;
  /** Slowest axis first: a matrix is [out, in]. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
  /** Zeros behind the data, up to the next tensor or the end of the file. */
  readonly padding: number;
}

export interface GgufHeader {
  readonly version: 2 | 3;
  readonly alignment: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufSpan>;
  /** Whether the last tensor is followed by zeros up to a multiple of the alignment. */
  readonly padsEnd: boolean;
}

const TYPE_NAMES = /* @__PURE__ */ Object.keys(GGUF_VALUE_TYPES) as (keyof typeof GGUF_VALUE_TYPES)[];
const LEAST_ENTRY_BYTES = 14; // a key of one byte with its length, a type, a value of one byte
const LEAST_TENSOR_BYTES = 25; // a name of one byte with its length, no dimensions, a type, an offset

/**
 * Reads a header and checks that its tensors follow each other, each where the one before ends plus padding, up to the
 * end of the file.
 *
 * @throws FormatError with the byte offset, before anything is allocated for a number that the file cannot hold.
 */
export async function readGgufHeader(cursor: GgufCursor, fileSize: number): Promise<GgufHeader> {
  await cursor.fetch(24, "a header");
  const magic = cursor.u32();
  if (magic !== GGUF_MAGIC) cursor.refuse('"GGUF" at the start', `0x${magic.toString(16)}`, 0);
  const version = cursor.u32();
  if (version !== 2 && version !== 3) {
    const swapped = version > 0xffff;
    cursor.refuse(
      "GGUF version 2 or 3, little-endian",
      swapped ? "a big-endian file" : `version ${version}`,
      4,
    );
  }
  const tensorCount = countOf(cursor, cursor.u64(), LEAST_TENSOR_BYTES, "tensors", 8);
  const entryCount = countOf(cursor, cursor.u64(), LEAST_ENTRY_BYTES, "entries of metadata", 16);

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    const start = cursor.offset;
    const key = await readString(cursor, "a key", 1, MAX_KEY_BYTES);
    if (metadata.has(key)) cursor.refuse("every key once", `${quoteName(key)} again`, start);
    metadata.set(key, await readValue(cursor, `value of ${quoteName(key)}`));
  }
  const alignment = alignmentOf(cursor, metadata.get(ALIGNMENT_KEY));

  const table = new Map<string, Omit<GgufSpan, "padding"> & { place: number }>();
  for (let i = 0; i < tensorCount; i++) {
    const start = cursor.offset;
    const name = await readString(cursor, "the name of a tensor", 1, MAX_NAME_BYTES);
    if (table.has(name)) cursor.refuse("every tensor once", `${quoteName(name)} again`, start);
    table.set(name, await readTensor(cursor, `tensor ${quoteName(name)}`));
  }

  const end = cursor.offset;
  const dataStart = alignUp(end, alignment);
  const hasData = tensorCount > 0 || fileSize > end;
  if (hasData) await expectZeros(cursor, dataStart - end);
  return { version, alignment, metadata, ...layOut(cursor, table, dataStart, alignment, fileSize) };
}

type Table = ReadonlyMap<string, Omit<GgufSpan, "padding"> & { place: number }>;

/** Checks that tensors cover the data in the order of the table. */
function layOut(
  cursor: GgufCursor,
  table: Table,
  dataStart: number,
  alignment: number,
  fileSize: number,
): Pick<GgufHeader, "tensors" | "padsEnd"> {
  const tensors = new Map<string, GgufSpan>();
  let end = 0; // of the tensor before, from the start of the data
  let padsEnd = true;
  const last = [...table.keys()].at(-1);
  for (const [name, { place, offset, sizeBytes, type, shape }] of table) {
    const begin = alignUp(end, alignment);
    if (offset !== begin) {
      cursor.refuse(
        `tensor ${quoteName(name)} to begin at ${begin}, behind the one before`,
        `${offset}, ${offset < begin ? "an overlap" : "a hole"}`,
        place,
      );
    }
    end = begin + sizeBytes;
    if (!Number.isSafeInteger(end) || dataStart + end > fileSize) {
      cursor.refuse(
        `${sizeBytes} bytes for tensor ${quoteName(name)}`,
        `${Math.max(0, fileSize - dataStart - begin)}, the file is cut short`,
        place,
      );
    }
    let padding = alignUp(end, alignment) - end;
    if (name === last && padding > 0 && fileSize === dataStart + end) {
      padding = 0;
      padsEnd = false;
    }
    tensors.set(name, { type, shape, offset: dataStart + begin, sizeBytes, padding });
  }
  const whole =
    table.size === 0 ? [cursor.offset, dataStart] : [dataStart + end, dataStart + alignUp(end, alignment)];
  if (!whole.includes(fileSize)) {
    const over = fileSize - whole[0]!;
    cursor.refuse("nothing behind the last tensor but its padding", `${over} bytes`, whole[0]!);
  }
  if (table.size === 0) padsEnd = fileSize === dataStart;
  return { tensors, padsEnd };
}

function countOf(cursor: GgufCursor, count: bigint, least: number, what: string, offset: number): number {
  if (count > BigInt(Math.floor(cursor.left / least))) {
    cursor.refuse(`as many ${what} as fit into the ${cursor.left} bytes that follow`, `${count}`, offset);
  }
  return Number(count);
}

async function readString(cursor: GgufCursor, what: string, least = 0, most = Infinity): Promise<string> {
  if (!cursor.has(8)) await cursor.fetch(8, `the length of ${what}`);
  const start = cursor.offset;
  const length = cursor.u64();
  if (length > BigInt(cursor.left)) {
    cursor.refuse(`${what} within the ${cursor.left} bytes that follow`, `a length of ${length}`, start);
  }
  const count = Number(length);
  if (count < least || count > most) cursor.refuse(`${what} of ${least} to ${most} bytes`, `${count}`, start);
  if (!cursor.has(count)) await cursor.fetch(count, what);
  try {
    return UTF8.decode(cursor.take(count));
  } catch {
    return cursor.refuse(`${what} in UTF-8`, "other bytes", start + 8);
  }
}

const UTF8 = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

async function readType(cursor: GgufCursor, what: string): Promise<keyof typeof GGUF_VALUE_TYPES> {
  if (!cursor.has(4)) await cursor.fetch(4, `the type of the ${what}`);
  const id = cursor.u32();
  const name = TYPE_NAMES[id];
  return name ?? cursor.refuse(`a type of the ${what} from 0 to 12`, `${id}`, cursor.offset - 4);
}

async function readValue(cursor: GgufCursor, what: string): Promise<GgufValue> {
  const type = await readType(cursor, what);
  if (type === "array") return readArray(cursor, what);
  if (type === "string") return { type, value: await readString(cursor, `the ${what}`) };
  const size = SCALAR_BYTES[type];
  if (!cursor.has(size)) await cursor.fetch(size, `the ${what}`);
  const view = cursor.next(size);
  switch (type) {
    case "u8":
      return { type, value: view.getUint8(0) };
    case "i8":
      return { type, value: view.getInt8(0) };
    case "u16":
      return { type, value: view.getUint16(0, true) };
    case "i16":
      return { type, value: view.getInt16(0, true) };
    case "u32":
      return { type, value: view.getUint32(0, true) };
    case "i32":
      return { type, value: view.getInt32(0, true) };
    case "u64":
      return { type, value: view.getBigUint64(0, true) };
    case "i64":
      return { type, value: view.getBigInt64(0, true) };
    case "bool":
      return { type, value: readBool(cursor, view.getUint8(0), what) };
    case "f32":
    case "f64": {
      const value = type === "f32" ? view.getFloat32(0, true) : view.getFloat64(0, true);
      // The bits of a NaN are not kept by a number, so it could not be written again as it was.
      if (Number.isNaN(value)) cursor.refuse(`the ${what} to be a number`, "NaN", cursor.offset - size);
      return { type, value };
    }
  }
}

function readBool(cursor: GgufCursor, byte: number, what: string): boolean {
  if (byte > 1) cursor.refuse(`the ${what} to be 0 or 1, a bool`, `${byte}`, cursor.offset - 1);
  return byte === 1;
}

async function readArray(cursor: GgufCursor, what: string): Promise<GgufArray> {
  const of = await readType(cursor, what);
  if (of === "array")
    cursor.refuse(`the ${what} to be an array of values`, "one of arrays", cursor.offset - 4);
  if (!cursor.has(8)) await cursor.fetch(8, `the length of the ${what}`);
  const raw = cursor.u64();
  const count = countOf(cursor, raw, SCALAR_BYTES[of], `elements of the ${what}`, cursor.offset - 8);
  if (of === "string") {
    const value: string[] = [];
    for (let i = 0; i < count; i++) value.push(await readString(cursor, `a string of the ${what}`));
    return { type: "array", of, value };
  }
  const sizeBytes = count * SCALAR_BYTES[of];
  if (!cursor.has(sizeBytes)) await cursor.fetch(sizeBytes, `the ${what}`);
  const start = cursor.offset;
  const bytes = new Uint8Array(cursor.take(sizeBytes)); // a copy: aligned, and the piece at hand can go
  if (of === "bool") {
    const wrong = bytes.findIndex((byte) => byte > 1);
    if (wrong >= 0) cursor.refuse(`the ${what} to hold 0 or 1, bools`, `${bytes[wrong]}`, start + wrong);
    return { type: "array", of, value: Array.from(bytes, (byte) => byte === 1) };
  }
  if (of === "u64") return { type: "array", of, value: new BigUint64Array(bytes.buffer) };
  if (of === "i64") return { type: "array", of, value: new BigInt64Array(bytes.buffer) };
  const value = new NUMBER_ARRAYS[of](bytes.buffer);
  const wrong = value.findIndex(Number.isNaN);
  if (wrong >= 0) cursor.refuse(`the ${what} to hold numbers`, "NaN", start + wrong * SCALAR_BYTES[of]);
  return { type: "array", of, value };
}

const NUMBER_ARRAYS = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
} satisfies Partial<Record<GgufScalarType, unknown>>;

function alignmentOf(cursor: GgufCursor, entry: GgufValue | undefined): number {
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const value = entry.type === "u32" ? entry.value : 0;
  if (value === 0 || (value & (value - 1)) !== 0 || value > 1 << 16) {
    const got = entry.type === "u32" ? `${value}` : `a value of type ${entry.type}`;
    cursor.refuse(`${ALIGNMENT_KEY} to be a u32, a power of two up to 65536`, got);
  }
  return value;
}

async function readTensor(
  cursor: GgufCursor,
  what: string,
): Promise<Omit<GgufSpan, "padding"> & { place: number }> {
  if (!cursor.has(4)) await cursor.fetch(4, `the dimensions of ${what}`);
  const place = cursor.offset;
  const dimensions = cursor.u32();
  if (dimensions > MAX_DIMENSIONS) {
    cursor.refuse(`${what} to have at most ${MAX_DIMENSIONS} dimensions`, `${dimensions}`, place);
  }
  const rest = dimensions * 8 + 12;
  if (!cursor.has(rest)) await cursor.fetch(rest, what);
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) {
    const size = cursor.u64();
    if (size < 1n || size > BigInt(Number.MAX_SAFE_INTEGER)) {
      cursor.refuse(`${what} to have dimensions from 1 to 2^53 - 1`, `${size}`, cursor.offset - 8);
    }
    shape.unshift(Number(size)); // the file has the fastest axis first
  }
  const id = cursor.u32();
  const type = tensorTypeOf(id);
  if (type === undefined) return cursor.refuse(`${what} to have a known type`, `${id}`, cursor.offset - 4);
  const offset = cursor.u64();
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) {
    cursor.refuse(`${what} to have an offset below 2^53`, `${offset}`, cursor.offset - 8);
  }
  const sizeBytes = ggufSizeBytes(type, shape);
  if (sizeBytes === undefined) {
    const block = GGUF_TENSOR_TYPES[type][1];
    const wish =
      block === 1 ? "a size below 2^53 bytes" : `rows of whole blocks of ${block} and a size below 2^53`;
    return cursor.refuse(`${what} to have ${wish}`, `${type} [${shape.join(", ")}]`, place);
  }
  return { type, shape, offset: Number(offset), sizeBytes, place };
}

async function expectZeros(cursor: GgufCursor, count: number): Promise<void> {
  if (count === 0) return;
  if (!cursor.has(count)) await cursor.fetch(count, "padding");
  const start = cursor.offset;
  const wrong = cursor.take(count).findIndex((byte) => byte !== 0);
  if (wrong >= 0) cursor.refuse("padding of zeros behind the header", "another byte", start + wrong);
}
