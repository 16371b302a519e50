import { FormatError, quoteName } from "./format-error.js";
import { scanJson, type JsonObject, type JsonValue } from "./json-scan.js";
import { isSafetensorsDType, tensorSizeBytes, type SafetensorsDType } from "./safetensors-dtype.js";

/** What a header says of one tensor. Offsets count from the end of the header. */
export interface TensorSpan {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** Tensors by name, in the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorSpan>;
  /** `__metadata__`, or undefined where the header has none. */
  readonly metadata: ReadonlyMap<string, string> | undefined;
}

/** Bytes before the header: its length as a 64-bit integer. */
export const LENGTH_BYTES = 8;
/** The reference reader's limit; a published index of 497,000 tensors has 60 MB. */
export const MAX_HEADER_BYTES = 100_000_000;
/** More dimensions than any tensor library takes. */
const MAX_DIMENSIONS = 64;

/**
 * Checks the eight bytes of the length against the size of the file, and gives the length of the header.
 *
 * @throws FormatError before anything is allocated.
 */
export function readHeaderLength(prefix: Uint8Array, fileSize: number, where: string): number {
  const refuse = (expected: string, got: string): never => {
    throw new FormatError({ format: "safetensors", where, offset: 0, expected, got });
  };
  if (fileSize < LENGTH_BYTES) refuse("at least 8 bytes", `${fileSize}`);
  const length = new DataView(prefix.buffer, prefix.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) refuse(`a header of at most ${MAX_HEADER_BYTES} bytes`, `${length}`);
  if (length > BigInt(fileSize - LENGTH_BYTES)) {
    refuse(`a header within the ${fileSize - LENGTH_BYTES} bytes that follow`, `a length of ${length}`);
  }
  if (length < 2n) refuse("a header of at least 2 bytes", `${length}`);
  return Number(length);
}

/**
 * Reads a header and checks that its tensors cover the data exactly: shape times element size is the span of each,
 * the spans follow each other without hole or overlap, and nothing lies behind the last.
 *
 * @param dataSize Bytes between the end of the header and the end of the file.
 * @throws FormatError with the offset in the file where one can be named.
 */
export function parseHeader(bytes: Uint8Array, dataSize: number, where: string): SafetensorsHeader {
  const refuse = (expected: string, got: string, offset?: number): never => {
    throw new FormatError({
      format: "safetensors",
      where,
      expected,
      got,
      ...(offset === undefined ? {} : { offset }),
    });
  };
  if (bytes[0] !== 0x7b) refuse('a header that begins with "{"', "another byte", LENGTH_BYTES);
  let end = bytes.length;
  while (bytes[end - 1] === 0x20) end--; // padding is of spaces only
  if (bytes[end - 1] !== 0x7d)
    refuse('a header that ends in "}" and spaces', "another byte", LENGTH_BYTES + end - 1);
  const root = scanJson(bytes.subarray(0, end), {
    where,
    format: "safetensors",
    offset: LENGTH_BYTES,
    maxDepth: 3,
    numbers: "natural",
  }) as JsonObject;

  let metadata: Map<string, string> | undefined;
  const tensors = new Map<string, TensorSpan>();
  for (const [name, value] of root) {
    if (name === "__metadata__") metadata = readMetadata(value, refuse);
    else tensors.set(name, readSpan(name, value, refuse));
  }

  // With spans in order, cover is exact if each begins where the one before ends.
  const order = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  let before = "the start of the data";
  for (const [name, span] of order) {
    if (span.begin !== at) {
      refuse(
        `tensor ${quoteName(name)} to begin at ${at}, where ${before} ends`,
        `${span.begin}, ${span.begin < at ? "an overlap" : "a hole"}`,
      );
    }
    at = span.end;
    before = quoteName(name);
  }
  if (at > dataSize) {
    refuse(
      `${at} bytes of data for the tensors of the header`,
      `${dataSize}, the file is cut short`,
      LENGTH_BYTES + bytes.length + dataSize,
    );
  }
  if (at < dataSize) {
    refuse(`nothing behind the last tensor`, `${dataSize - at} bytes`, LENGTH_BYTES + bytes.length + at);
  }
  return { tensors, metadata };
}

type Refuse = (expected: string, got: string, offset?: number) => never;

function readMetadata(value: JsonValue, refuse: Refuse): Map<string, string> {
  if (!(value instanceof Map)) return refuse("__metadata__ to be an object", kindOf(value));
  for (const [key, entry] of value) {
    if (typeof entry !== "string") refuse(`__metadata__ ${quoteName(key)} to be a string`, kindOf(entry));
  }
  return value as Map<string, string>;
}

function readSpan(name: string, value: JsonValue, refuse: Refuse): TensorSpan {
  const label = `tensor ${quoteName(name)}`;
  if (!(value instanceof Map)) return refuse(`${label} to be an object`, kindOf(value));
  for (const key of value.keys()) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") {
      refuse(`${label} to have dtype, shape and data_offsets only`, quoteName(key));
    }
  }
  const dtype = value.get("dtype");
  const shape = value.get("shape");
  const offsets = value.get("data_offsets");
  if (!isSafetensorsDType(dtype)) {
    return refuse(
      `${label} to have a known dtype`,
      typeof dtype === "string" ? quoteName(dtype) : kindOf(dtype),
    );
  }
  if (!isNumbers(shape)) return refuse(`${label} to have a shape of whole numbers`, kindOf(shape));
  if (shape.length > MAX_DIMENSIONS) {
    return refuse(`${label} to have at most ${MAX_DIMENSIONS} dimensions`, `${shape.length}`);
  }
  if (!isNumbers(offsets) || offsets.length !== 2)
    return refuse(`${label} to have two data_offsets`, kindOf(offsets));
  const [begin, end] = offsets as [number, number];
  if (end < begin) return refuse(`${label} to end behind its begin ${begin}`, `${end}`);
  const sizeBytes = tensorSizeBytes(dtype, shape);
  if (sizeBytes === undefined) {
    return refuse(`${label} to have a size in whole bytes below 2^50`, `${dtype} [${shape.join(", ")}]`);
  }
  if (sizeBytes !== end - begin) {
    return refuse(
      `${label}, ${dtype} [${shape.join(", ")}], to span ${sizeBytes} bytes`,
      `${end - begin} (${begin} to ${end})`,
    );
  }
  return { dtype, shape, begin, end };
}

const isNumbers = (value: JsonValue | undefined): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === "number");

function kindOf(value: JsonValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (value instanceof Map) return "an object";
  return Array.isArray(value) ? "a list of something else" : `a ${typeof value}`;
}
