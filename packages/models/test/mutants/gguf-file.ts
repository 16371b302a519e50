import {
  GGUF_TENSOR_TYPES,
  GGUF_VALUE_TYPES,
  type GgufScalarType,
  type GgufTensorType,
  type GgufValue,
} from "../../src/gguf-types.js";
import type { GgufFile } from "../../src/gguf.js";
import { pick, upTo } from "./random.js";

/** A file as it is written: every count, length, offset and type a number of its own that a mutant can bend. */
export interface Described {
  magic: number;
  version: number;
  tensorCount: bigint;
  entryCount: bigint;
  entries: { keyLength: bigint; key: Uint8Array; type: number; value: Uint8Array }[];
  tensors: {
    nameLength: bigint;
    name: Uint8Array;
    dimensions: number;
    sizes: bigint[];
    type: number;
    offset: bigint;
  }[];
  alignment: number;
  /** What stands between the header and the data, and between tensors. */
  fill: number;
  data: Uint8Array[];
  padsEnd: boolean;
  tail: Uint8Array;
}

class Writer {
  private readonly bytes: number[] = [];
  u32(value: number): this {
    for (let i = 0; i < 4; i++) this.bytes.push((value >>> (8 * i)) & 255);
    return this;
  }
  u64(value: bigint): this {
    for (let i = 0n; i < 8n; i++) this.bytes.push(Number((BigInt.asUintN(64, value) >> (8n * i)) & 255n));
    return this;
  }
  raw(bytes: ArrayLike<number>): this {
    for (let i = 0; i < bytes.length; i++) this.bytes.push(bytes[i]!);
    return this;
  }
  pad(alignment: number, fill: number): this {
    while (this.bytes.length % alignment !== 0) this.bytes.push(fill);
    return this;
  }
  get length(): number {
    return this.bytes.length;
  }
  done(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const stringBytes = (text: string): Uint8Array => {
  const bytes = utf8(text);
  return new Writer().u64(BigInt(bytes.length)).raw(bytes).done();
};

export function encodeDescribed(file: Described): Uint8Array {
  const w = new Writer().u32(file.magic).u32(file.version).u64(file.tensorCount).u64(file.entryCount);
  for (const e of file.entries) w.u64(e.keyLength).raw(e.key).u32(e.type).raw(e.value);
  for (const t of file.tensors) {
    w.u64(t.nameLength).raw(t.name).u32(t.dimensions);
    for (const size of t.sizes) w.u64(size);
    w.u32(t.type).u64(t.offset);
  }
  const last = file.data.length - 1;
  if (file.data.length > 0 || file.padsEnd) w.pad(file.alignment, file.fill);
  file.data.forEach((data, i) => {
    w.raw(data);
    if (i < last || file.padsEnd) w.pad(file.alignment, file.fill);
  });
  return w.raw(file.tail).done();
}

/** The bytes of a scalar, little-endian. */
function scalarBytes(type: GgufScalarType, value: unknown): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  switch (type) {
    case "string":
      return stringBytes(value as string);
    case "bool":
      return Uint8Array.of(value ? 1 : 0);
    case "u64":
    case "i64":
      view.setBigUint64(0, BigInt.asUintN(64, value as bigint), true);
      return new Uint8Array(view.buffer);
    case "f32":
      view.setFloat32(0, value as number, true);
      return new Uint8Array(view.buffer, 0, 4);
    case "f64":
      view.setFloat64(0, value as number, true);
      return new Uint8Array(view.buffer);
    default: {
      view.setBigInt64(0, BigInt(value as number), true);
      return new Uint8Array(view.buffer, 0, Number(type.slice(1)) / 8);
    }
  }
}

/** A file of metadata alone. */
export const describeEntries = (entries: readonly (readonly [string, GgufValue])[]): Described => ({
  magic: 0x46554747,
  version: 3,
  tensorCount: 0n,
  entryCount: BigInt(entries.length),
  entries: entries.map(([name, value]) => {
    const key = utf8(name);
    return {
      keyLength: BigInt(key.length),
      key,
      type: GGUF_VALUE_TYPES[value.type],
      value: valueBytes(value),
    };
  }),
  tensors: [],
  alignment: 32,
  fill: 0,
  data: [],
  padsEnd: false,
  tail: new Uint8Array(),
});

/** An opened file as it is written, to be held against the bytes that it was read from. */
export async function describeOpened(file: GgufFile): Promise<Described> {
  const entries = [...file.metadata].map(([key, value]) => {
    const bytes = utf8(key);
    return {
      keyLength: BigInt(bytes.length),
      key: bytes,
      type: GGUF_VALUE_TYPES[value.type],
      value: valueBytes(value),
    };
  });
  const data: Uint8Array[] = [];
  let offset = 0;
  const tensors: Described["tensors"] = [];
  for (const [name, { type, shape, bytes }] of file.tensors) {
    const content = await bytes();
    const label = utf8(name);
    tensors.push({
      nameLength: BigInt(label.length),
      name: label,
      dimensions: shape.length,
      sizes: [...shape].reverse().map(BigInt),
      type: GGUF_TENSOR_TYPES[type][0],
      offset: BigInt(offset),
    });
    data.push(content);
    offset = Math.ceil((offset + content.length) / file.alignment) * file.alignment;
  }
  return {
    magic: 0x46554747,
    version: file.version,
    tensorCount: BigInt(tensors.length),
    entryCount: BigInt(entries.length),
    entries,
    tensors,
    alignment: file.alignment,
    fill: 0,
    data,
    padsEnd: file.padsEnd,
    tail: new Uint8Array(),
  };
}

function valueBytes(value: GgufValue): Uint8Array {
  if (value.type !== "array") return scalarBytes(value.type, value.value);
  const items = Array.from(value.value as ArrayLike<unknown>);
  const w = new Writer().u32(GGUF_VALUE_TYPES[value.of]).u64(BigInt(items.length));
  for (const item of items) w.raw(scalarBytes(value.of, item));
  return w.done();
}

const SCALARS = Object.keys(GGUF_VALUE_TYPES).filter((name) => name !== "array") as GgufScalarType[];

function randomScalar(type: GgufScalarType, random: () => number): unknown {
  if (type === "string") return pick(random, ["", "llama", "é", "\u{1f600}", "a\0b"]);
  if (type === "bool") return random() < 0.5;
  if (type === "u64" || type === "i64") return BigInt(upTo(random, 1000));
  return type.startsWith("f") ? random() * 8 - 4 : upTo(random, 100);
}

const TYPES = Object.keys(GGUF_TENSOR_TYPES) as GgufTensorType[];

/** A valid file with a few entries of metadata and up to four tensors. */
export function describeGguf(random: () => number): Described {
  const alignment = random() < 0.3 ? pick(random, [1, 8, 64]) : 32;
  const entries: Described["entries"] = [];
  const entry = (key: string, value: GgufValue): void => {
    const bytes = utf8(key);
    entries.push({
      keyLength: BigInt(bytes.length),
      key: bytes,
      type: GGUF_VALUE_TYPES[value.type],
      value: valueBytes(value),
    });
  };
  if (alignment !== 32) entry("general.alignment", { type: "u32", value: alignment });
  for (let i = upTo(random, 5); i > 0; i--) {
    const of = pick(random, SCALARS);
    const scalar = { type: of, value: randomScalar(of, random) } as GgufValue;
    const items = Array.from({ length: upTo(random, 4) }, () => randomScalar(of, random));
    entry(
      `test.${i}`,
      random() < 0.6 ? scalar : ({ type: "array", of, value: items } as unknown as GgufValue),
    );
  }
  const tensors: Described["tensors"] = [];
  const data: Uint8Array[] = [];
  let offset = 0;
  for (let i = upTo(random, 5); i > 0; i--) {
    const [id, elements, bytes] = GGUF_TENSOR_TYPES[pick(random, TYPES)];
    const sizes = [
      elements * (1 + upTo(random, 2)),
      ...Array.from({ length: upTo(random, 4) }, () => 1 + upTo(random, 3)),
    ];
    const sizeBytes = (sizes.reduce((a, b) => a * b) / elements) * bytes;
    const name = utf8(`blk.${i}.weight`);
    tensors.push({
      nameLength: BigInt(name.length),
      name,
      dimensions: sizes.length,
      sizes: sizes.map(BigInt),
      type: id,
      offset: BigInt(offset),
    });
    data.push(new Uint8Array(sizeBytes).fill(upTo(random, 256)));
    offset = Math.ceil((offset + sizeBytes) / alignment) * alignment;
  }
  return {
    magic: 0x46554747,
    version: random() < 0.2 ? 2 : 3,
    tensorCount: BigInt(tensors.length),
    entryCount: BigInt(entries.length),
    entries,
    tensors,
    alignment,
    fill: 0,
    data,
    padsEnd: random() < 0.7,
    tail: new Uint8Array(),
  };
}

const HUGE = [
  0n,
  1n,
  2n,
  31n,
  255n,
  65_536n,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 32n,
  1n << 53n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
  (1n << 64n) - 8n,
];

/** One change; lengths and offsets that it is not about stay right. */
export function mutateGguf(file: Described, random: () => number): undefined {
  const entry = file.entries.length > 0 ? pick(random, file.entries) : undefined;
  const tensor = file.tensors.length > 0 ? pick(random, file.tensors) : undefined;
  const near = (value: bigint): bigint =>
    random() < 0.5 ? pick(random, HUGE) : value + pick(random, [-1n, 1n, 8n, 32n]);
  switch (upTo(random, 18)) {
    case 0:
      file.tensorCount = near(file.tensorCount);
      return;
    case 1:
      file.entryCount = near(file.entryCount);
      return;
    case 2:
      if (entry) entry.keyLength = near(entry.keyLength);
      return;
    case 3:
      if (entry) entry.type = pick(random, [0, 4, 6, 7, 8, 9, 10, 12, 13, 255, 0xffffffff]);
      return;
    case 4: // a length or count within the value, or its first bytes
      if (entry && entry.value.length >= 12) {
        entry.value = entry.value.slice();
        new DataView(entry.value.buffer).setBigUint64(
          pick(random, [0, 4]),
          BigInt.asUintN(64, near(3n)),
          true,
        );
      }
      return;
    case 5:
      if (entry) file.entries.push(entry); // a key twice
      file.entryCount = BigInt(file.entries.length);
      return;
    case 6:
      if (entry) Object.assign(entry, { key: Uint8Array.of(0xff, 0xfe), keyLength: 2n }); // no UTF-8
      return;
    case 7:
      if (tensor) tensor.nameLength = near(tensor.nameLength);
      return;
    case 8:
      if (tensor) tensor.dimensions = Number(BigInt.asUintN(32, near(BigInt(tensor.dimensions))));
      return;
    case 9:
      if (tensor) tensor.sizes[upTo(random, tensor.sizes.length)] = near(tensor.sizes[0] ?? 1n);
      return;
    case 10:
      if (tensor) tensor.type = pick(random, [0, 1, 2, 4, 5, 8, 14, 30, 31, 36, 40, 255, 0xffffffff]);
      return;
    case 11:
      if (tensor) tensor.offset = near(tensor.offset);
      return;
    case 12:
      if (tensor) {
        file.tensors.push(tensor);
        file.tensorCount = BigInt(file.tensors.length);
      }
      return;
    case 13:
      if (tensor) {
        tensor.sizes.push(1n); // five dimensions, if it had four
        tensor.dimensions = tensor.sizes.length;
      }
      return;
    case 14:
      file.fill = 1;
      return;
    case 15:
      file.version = pick(random, [0, 1, 2, 3, 4, 0x03000000]);
      return;
    case 16:
      file.tail = new Uint8Array(1 + upTo(random, 40));
      return;
    default:
      if (random() < 0.5 && file.data.length > 0)
        file.data[upTo(random, file.data.length)] = new Uint8Array(upTo(random, 64));
      else file.alignment = pick(random, [1, 16, 32, 64, 3]);
  }
}
