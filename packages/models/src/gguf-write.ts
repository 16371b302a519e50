import { type AtomicWriteOptions, type FileContent, writeFileAtomic } from "./atomic-write.js";
import { FormatError, quoteName } from "./format-error.js";
import {
  ALIGNMENT_KEY,
  alignUp,
  DEFAULT_ALIGNMENT,
  GGUF_MAGIC,
  GGUF_TENSOR_TYPES,
  GGUF_VALUE_TYPES,
  type GgufScalarType,
  type GgufTensorType,
  type GgufValue,
  ggufSizeBytes,
  MAX_DIMENSIONS,
  MAX_KEY_BYTES,
  MAX_NAME_BYTES,
  SCALAR_BYTES,
} from "./gguf-types.js";

/** A tensor to write, as its type stores it; see `quantizeGguf`. */
export interface GgufTensorToWrite {
  type: GgufTensorType;
  /** Slowest axis first: a matrix is [out, in]. */
  shape: readonly number[];
  /** The bytes, or a function that makes them when their turn comes, so that one tensor at a time is in memory. */
  data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

export interface GgufWriteOptions {
  /** In this order; `general.architecture` should come first. An alignment other than 32 stands under `general.alignment`. */
  metadata?: ReadonlyMap<string, GgufValue> | Readonly<Record<string, GgufValue>>;
  /** Default: 3. */
  version?: 2 | 3;
  /** Zeros behind the last tensor up to the alignment. Default: true. */
  padsEnd?: boolean;
}

type Tensors = ReadonlyMap<string, GgufTensorToWrite> | Readonly<Record<string, GgufTensorToWrite>>;

const entriesOf = <V>(input: ReadonlyMap<string, V> | Readonly<Record<string, V>>): [string, V][] =>
  input instanceof Map ? [...input] : Object.entries(input as Readonly<Record<string, V>>);

function refuse(expected: string, got: string): never {
  throw new FormatError({ format: "gguf", where: "writeGguf", expected, got });
}

/**
 * The pieces of a GGUF file, one after the other: the header, then each tensor with its padding. What `openGguf` reads comes
 * out byte by byte as it was, given its metadata, tensors, version and end.
 *
 * @throws FormatError at once for what no file can hold.
 */
export function ggufChunks(tensors: Tensors, options: GgufWriteOptions = {}): AsyncIterable<Uint8Array> {
  const { metadata = {}, version = 3, padsEnd = true } = options;
  const alignment = alignmentOf(entriesOf(metadata));
  const planned = entriesOf(tensors).map(([name, tensor]) => ({ name, tensor, size: sizeOf(name, tensor) }));
  const out = new Writer();
  out.u32(GGUF_MAGIC);
  out.u32(version);
  out.u64(planned.length);
  out.u64(entriesOf(metadata).length);
  for (const [key, value] of entriesOf(metadata)) {
    out.text(key, `key ${quoteName(key)}`, 1, MAX_KEY_BYTES);
    out.value(value, `value of ${quoteName(key)}`);
  }
  let offset = 0;
  for (const { name, tensor, size } of planned) {
    out.text(name, `name ${quoteName(name)}`, 1, MAX_NAME_BYTES);
    out.u32(tensor.shape.length);
    for (const length of tensor.shape.toReversed()) out.u64(length);
    out.u32(GGUF_TENSOR_TYPES[tensor.type][0]);
    out.u64(offset);
    offset = alignUp(offset + size, alignment);
  }
  const head = out.bytes();
  return chunks(head, planned, alignment, padsEnd);
}

async function* chunks(
  head: Uint8Array,
  planned: readonly { name: string; tensor: GgufTensorToWrite; size: number }[],
  alignment: number,
  padsEnd: boolean,
): AsyncGenerator<Uint8Array> {
  yield head;
  const padding = (size: number): Uint8Array => new Uint8Array(alignUp(size, alignment) - size);
  if (planned.length > 0 || padsEnd) yield padding(head.length);
  for (const [i, { name, tensor, size }] of planned.entries()) {
    const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
    if (data.byteLength !== size) {
      refuse(
        `${size} bytes for tensor ${quoteName(name)}, ${tensor.type} [${tensor.shape.join(", ")}]`,
        `${data.byteLength}`,
      );
    }
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (padsEnd || i < planned.length - 1) yield padding(size);
  }
}

/**
 * Writes a GGUF file (Node), a tensor at a time; it appears whole or not at all.
 *
 * @throws FormatError for what no file can hold, WriteError where writing fails.
 *
 * @example
 * ```ts
 * const w = quantizeGguf("Q8_0", values);
 * await writeGguf("w.gguf", { w: { type: "Q8_0", shape: [64, 32], data: w } });
 * ```
 */
export async function writeGguf(
  path: string,
  tensors: Tensors,
  { layer, onPoint, signal, ...options }: GgufWriteOptions & AtomicWriteOptions = {},
): Promise<void> {
  const content: FileContent = ggufChunks(tensors, options);
  await writeFileAtomic(path, content, {
    ...(layer === undefined ? {} : { layer }),
    ...(onPoint === undefined ? {} : { onPoint }),
    ...(signal === undefined ? {} : { signal }),
  });
}

function alignmentOf(metadata: readonly [string, GgufValue][]): number {
  const entry = metadata.find(([key]) => key === ALIGNMENT_KEY)?.[1];
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const value = entry.type === "u32" ? entry.value : 0;
  if (value < 1 || (value & (value - 1)) !== 0 || value > 1 << 16) {
    refuse(
      `${ALIGNMENT_KEY} to be a u32, a power of two up to 65536`,
      `${String(entry.value)} of type ${entry.type}`,
    );
  }
  return value;
}

function sizeOf(name: string, { type, shape }: GgufTensorToWrite): number {
  if (!Object.hasOwn(GGUF_TENSOR_TYPES, type))
    refuse(`${quoteName(name)} to have a known type`, String(type));
  const whole = shape.every((length) => Number.isSafeInteger(length) && length > 0);
  const size = whole && shape.length <= MAX_DIMENSIONS ? ggufSizeBytes(type, shape) : undefined;
  if (size !== undefined) return size;
  const block = GGUF_TENSOR_TYPES[type][1];
  return refuse(
    `${quoteName(name)} to have up to ${MAX_DIMENSIONS} dimensions above 0, the last a multiple of ${block}`,
    `${type} [${shape.join(", ")}]`,
  );
}

const RANGES: Partial<Record<GgufScalarType, readonly [number, number]>> = {
  u8: [0, 255],
  i8: [-128, 127],
  u16: [0, 65_535],
  i16: [-32_768, 32_767],
  u32: [0, 2 ** 32 - 1],
  i32: [-(2 ** 31), 2 ** 31 - 1],
};

/** A header that grows. */
class Writer {
  private view = new DataView(new ArrayBuffer(1 << 16));
  private at = 0;

  bytes(): Uint8Array {
    return new Uint8Array(this.view.buffer, 0, this.at);
  }

  /** Makes room for `count` bytes and gives the place of the first. */
  private room(count: number): number {
    const end = this.at + count;
    if (end > this.view.byteLength) {
      const wider = new Uint8Array(Math.max(end, this.view.byteLength * 2));
      wider.set(this.bytes());
      this.view = new DataView(wider.buffer);
    }
    const start = this.at;
    this.at = end;
    return start;
  }

  u32(value: number): void {
    const at = this.room(4);
    this.view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.room(8);
    this.view.setBigUint64(at, BigInt(value), true);
  }

  text(text: string, what: string, least = 0, most = Infinity): void {
    if (/\p{Surrogate}/u.test(text)) refuse(`${what} to be of whole Unicode characters`, quoteName(text));
    const bytes = new TextEncoder().encode(text);
    if (bytes.length < least || bytes.length > most) {
      refuse(`${what} to have ${least} to ${most} bytes`, `${bytes.length}`);
    }
    this.u64(bytes.length);
    const at = this.room(bytes.length);
    new Uint8Array(this.view.buffer).set(bytes, at);
  }

  value(entry: GgufValue, what: string): void {
    this.u32(GGUF_VALUE_TYPES[entry.type]);
    if (entry.type !== "array") {
      this.scalar(entry.type, entry.value, what);
      return;
    }
    this.u32(GGUF_VALUE_TYPES[entry.of]);
    this.u64(entry.value.length);
    for (let i = 0; i < entry.value.length; i++) {
      this.scalar(entry.of, entry.value[i] as number | bigint | boolean | string, `${what}, element ${i}`);
    }
  }

  private scalar(type: GgufScalarType, value: number | bigint | boolean | string, what: string): void {
    if (type === "string" && typeof value === "string") {
      this.text(value, what);
      return;
    }
    if (!fits(type, value))
      refuse(`${what} to be a ${type}`, typeof value === "string" ? quoteName(value) : `${value}`);
    const at = this.room(SCALAR_BYTES[type]);
    const { view } = this;
    const number = Number(value);
    if (type === "u8" || type === "bool") view.setUint8(at, number);
    else if (type === "i8") view.setInt8(at, number);
    else if (type === "u16") view.setUint16(at, number, true);
    else if (type === "i16") view.setInt16(at, number, true);
    else if (type === "u32") view.setUint32(at, number, true);
    else if (type === "i32") view.setInt32(at, number, true);
    else if (type === "f32") view.setFloat32(at, number, true);
    else if (type === "f64") view.setFloat64(at, number, true);
    else if (type === "u64") view.setBigUint64(at, value as bigint, true);
    else view.setBigInt64(at, value as bigint, true);
  }
}

function fits(type: GgufScalarType, value: number | bigint | boolean | string): boolean {
  if (type === "bool") return typeof value === "boolean";
  if (type === "u64") return typeof value === "bigint" && BigInt.asUintN(64, value) === value;
  if (type === "i64") return typeof value === "bigint" && BigInt.asIntN(64, value) === value;
  if (typeof value !== "number") return false;
  const range = RANGES[type];
  if (range !== undefined) return Number.isInteger(value) && value >= range[0] && value <= range[1];
  return !Number.isNaN(value); // the bits of a NaN would not be kept
}
