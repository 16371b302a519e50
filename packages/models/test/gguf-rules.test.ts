import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openGguf } from "@lowrank/models";
import { afterAll, describe, expect, test } from "vitest";
import { isFormatError } from "../src/format-error.js";
import { GGUF_VALUE_TYPES, type GgufValue } from "../src/gguf-types.js";
import { describeEntries, type Described, encodeDescribed } from "./mutants/gguf-file.js";

const folder = mkdtempSync(join(tmpdir(), "gguf-rules-"));
afterAll(() => rmSync(folder, { recursive: true }));
const utf8 = (text: string) => new TextEncoder().encode(text);

/** Two entries and two tensors of F32, [2, 4] and [3]. */
function valid(): Described {
  const entries: [string, GgufValue][] = [
    ["general.architecture", { type: "string", value: "llama" }],
    ["test.list", { type: "array", of: "u32", value: [1, 2, 3] }],
  ];
  const tensor = (name: string, sizes: bigint[], offset: bigint) => ({
    nameLength: BigInt(name.length),
    name: utf8(name),
    dimensions: sizes.length,
    sizes,
    type: 0,
    offset,
  });
  return {
    ...describeEntries(entries),
    tensorCount: 2n,
    tensors: [tensor("a", [4n, 2n], 0n), tensor("b", [3n], 32n)],
    data: [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2)],
    padsEnd: true,
  };
}

async function refusal(bytes: Uint8Array): Promise<Error & { offset?: number; expected: string }> {
  try {
    await openGguf(bytes, "bad.gguf");
  } catch (error) {
    if (isFormatError(error)) return error;
    throw error;
  }
  throw new Error("expected a refusal, got a file");
}

test("the file that the cases bend is accepted", async () => {
  const file = await openGguf(encodeDescribed(valid()));
  expect([...file.tensors.keys()]).toEqual(["a", "b"]);
  expect(file.tensors.get("a")?.shape).toEqual([2, 4]);
  await file.close();
});

const last = 2n ** 64n - 1n;
/** A value of the metadata by its number of type and its bytes, whatever they say. */
const entry = (type: number, value: number[]) => (f: Described) =>
  Object.assign(f.entries[1]!, { type, value: Uint8Array.from(value) });
const u64 = (value: bigint) => Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));

const cases: [name: string, change: (file: Described) => unknown, message: RegExp][] = [
  ["another magic", (f) => (f.magic = 0x46554748), /"GGUF" at the start, got 0x46554748/],
  [
    "version 1, whose counts have 32 bits",
    (f) => (f.version = 1),
    /version 2 or 3, little-endian, got version 1/,
  ],
  ["a version to come", (f) => (f.version = 4), /got version 4/],
  ["the other byte order", (f) => (f.version = 0x03000000), /got a big-endian file/],
  ["more tensors than fit", (f) => (f.tensorCount = 1_000_000n), /as many tensors as fit into/],
  [
    "2^64 - 1 tensors",
    (f) => (f.tensorCount = last),
    /as many tensors as fit into .+ got 18446744073709551615/,
  ],
  ["2^64 - 1 entries", (f) => (f.entryCount = last), /as many entries of metadata as fit into/],
  ["one entry too many", (f) => f.entryCount++, /bad\.gguf: expected/],
  ["one entry too few", (f) => f.entryCount--, /bad\.gguf: expected/],
  [
    "a key that is longer than the file",
    (f) => (f.entries[0]!.keyLength = 1n << 40n),
    /a key within the \d+ bytes/,
  ],
  ["a key of 2^64 - 1 bytes", (f) => (f.entries[0]!.keyLength = last), /a length of 18446744073709551615/],
  [
    "an empty key",
    (f) => Object.assign(f.entries[0]!, { keyLength: 0n, key: new Uint8Array() }),
    /a key of 1 to 65535 bytes, got 0/,
  ],
  [
    "a key of 65,536 bytes",
    (f) => Object.assign(f.entries[0]!, { keyLength: 65_536n, key: new Uint8Array(65_536).fill(97) }),
    /a key of 1 to 65535 bytes, got 65536/,
  ],
  ["a key that is no UTF-8", (f) => f.entries[0]!.key.set([0xff], 0), /a key in UTF-8, got other bytes/],
  [
    "a key twice",
    (f) => Object.assign(f.entries[1]!, { key: f.entries[0]!.key, keyLength: f.entries[0]!.keyLength }),
    /every key once, got "general\.architecture" again/,
  ],
  [
    "a type that is none",
    (f) => (f.entries[0]!.type = 13),
    /a type of the value of "general\.architecture" from 0 to 12, got 13/,
  ],
  ["a bool of 2", entry(GGUF_VALUE_TYPES.bool, [2]), /to be 0 or 1, a bool, got 2/],
  ["a NaN", entry(GGUF_VALUE_TYPES.f32, [0, 0, 0xc0, 0x7f]), /to be a number, got NaN/],
  [
    "a string of 2^63 bytes",
    entry(GGUF_VALUE_TYPES.string, u64(1n << 63n)),
    /a length of 9223372036854775808/,
  ],
  ["a string that is no UTF-8", entry(GGUF_VALUE_TYPES.string, [...u64(2n), 0xc0, 0x80]), /in UTF-8/],
  [
    "an array of arrays",
    entry(GGUF_VALUE_TYPES.array, [9, 0, 0, 0, ...u64(1n)]),
    /an array of values, got one of arrays/,
  ],
  [
    "an array of 2^61 numbers, whose bytes would wrap to none",
    entry(GGUF_VALUE_TYPES.array, [4, 0, 0, 0, ...u64(1n << 62n)]),
    /as many elements of the value of "test\.list" as fit/,
  ],
  [
    "an array of a type that is none",
    entry(GGUF_VALUE_TYPES.array, [99, 0, 0, 0, ...u64(1n)]),
    /from 0 to 12, got 99/,
  ],
  [
    "an array with a bool of 7",
    entry(GGUF_VALUE_TYPES.array, [7, 0, 0, 0, ...u64(2n), 1, 7]),
    /to hold 0 or 1, bools, got 7/,
  ],
  [
    "an alignment of 3",
    (f) => Object.assign(f.entries[1]!, align(3)),
    /general\.alignment to be a u32, a power of two up to 65536, got 3/,
  ],
  ["an alignment of 0", (f) => Object.assign(f.entries[1]!, align(0)), /general\.alignment .+ got 0/],
  [
    "an alignment of another type",
    (f) => Object.assign(f.entries[1]!, align(32), { type: 5 }),
    /got a value of type i32/,
  ],
  ["a tensor twice", (f) => f.tensors[1]!.name.set(utf8("a")), /every tensor once, got "a" again/],
  [
    "a tensor without a name",
    (f) => Object.assign(f.tensors[0]!, { nameLength: 0n, name: new Uint8Array() }),
    /the name of a tensor of 1 to 63 bytes, got 0/,
  ],
  [
    "a name of 64 bytes, which ggml has no room for",
    (f) => Object.assign(f.tensors[0]!, { nameLength: 64n, name: new Uint8Array(64).fill(97) }),
    /1 to 63 bytes, got 64/,
  ],
  [
    "five dimensions",
    (f) => Object.assign(f.tensors[1]!, { dimensions: 5, sizes: [3n, 1n, 1n, 1n, 1n] }),
    /tensor "b" to have at most 4 dimensions, got 5/,
  ],
  [
    "2^32 - 1 dimensions",
    (f) => (f.tensors[1]!.dimensions = 0xffffffff),
    /at most 4 dimensions, got 4294967295/,
  ],
  ["a dimension of 0", (f) => (f.tensors[1]!.sizes[0] = 0n), /dimensions from 1 to 2\^53 - 1, got 0/],
  ["a dimension of 2^64 - 1", (f) => (f.tensors[1]!.sizes[0] = last), /dimensions from 1 to 2\^53 - 1/],
  [
    "dimensions whose product wraps to a small one",
    (f) => (f.tensors[0]!.sizes = [1n << 32n, 1n << 32n]),
    /to have a size below 2\^53 bytes/,
  ],
  ["a type that is none", (f) => (f.tensors[0]!.type = 4), /tensor "a" to have a known type, got 4/],
  ["rows of half a block", (f) => (f.tensors[0]!.type = 2), /rows of whole blocks of 32/],
  ["an offset of 2^64 - 32", (f) => (f.tensors[1]!.offset = last - 31n), /an offset below 2\^53/],
  [
    "tensors that overlap",
    (f) => (f.tensors[1]!.offset = 0n),
    /tensor "b" to begin at 32, .+ got 0, an overlap/,
  ],
  ["a hole between tensors", (f) => (f.tensors[1]!.offset = 64n), /got 64, a hole/],
  [
    "a tensor that is longer than the file",
    (f) => (f.tensors[1]!.sizes[0] = 1_000_000n),
    /4000000 bytes for tensor "b", got \d+, the file is cut short/,
  ],
  [
    "bytes behind the last tensor",
    (f) => (f.tail = new Uint8Array(40)),
    /nothing behind the last tensor but its padding/,
  ],
  ["padding that is not of zeros", (f) => (f.fill = 1), /padding of zeros/],
];

/** An entry that states the alignment. */
function align(value: number): object {
  const key = utf8("general.alignment");
  return { key, keyLength: BigInt(key.length), type: 4, value: Uint8Array.of(value, 0, 0, 0) };
}

describe("a GGUF file is refused for", () => {
  test.each(cases)("%s", async (_name, change, message) => {
    const file = valid();
    change(file);
    const error = await refusal(encodeDescribed(file));
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^bad\.gguf: expected .+ \(gguf, byte \d+\)/);
  });

  test("an end at any byte", async () => {
    const bytes = encodeDescribed({ ...valid(), padsEnd: false });
    for (let length = 0; length < bytes.length; length++) await refusal(bytes.subarray(0, length));
  });
});

test("what stands between tensors is looked at when the tensor before is read", async () => {
  const file = valid();
  file.tensors[0]!.sizes = [3n, 2n]; // 24 bytes, 8 of padding
  file.data[0] = new Uint8Array(32).fill(1);
  const opened = await openGguf(encodeDescribed(file));
  await expect(opened.tensors.get("a")!.bytes()).rejects.toThrow(/padding of zeros behind tensor "a"/);
  await opened.close();
});

test("a header that states 4 GB of strings is refused in a file of 64 bytes, and closed", async () => {
  const file = valid();
  entry(GGUF_VALUE_TYPES.array, [8, 0, 0, 0, ...u64(500_000_000n)])(file);
  const path = join(folder, "strings.gguf");
  writeFileSync(path, encodeDescribed(file));
  const before = [readdirSync("/proc/self/fd").length, process.memoryUsage().arrayBuffers] as const;
  const began = performance.now();
  for (let i = 0; i < 20; i++) await expect(openGguf(path)).rejects.toThrow(/as many elements of the value/);
  expect((performance.now() - began) / 20).toBeLessThan(100);
  expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before[0]);
  expect(process.memoryUsage().arrayBuffers - before[1]).toBeLessThan(8 << 20);
});

test("a file of 5 GB is opened without reading its data", async () => {
  const count = 1_280_000_000;
  const file = valid();
  file.tensors[1]!.sizes = [BigInt(count)];
  const head = encodeDescribed({ ...file, data: [file.data[0]!, new Uint8Array()], padsEnd: false });
  const path = join(folder, "giant.gguf");
  const fd = openSync(path, "w");
  writeSync(fd, head);
  ftruncateSync(fd, head.length + count * 4); // sparse: no disk is used
  closeSync(fd);
  const opened = await openGguf(path);
  expect(opened.tensors.get("b")?.sizeBytes).toBe(count * 4);
  expect(await opened.tensors.get("a")?.bytes()).toEqual(new Uint8Array(32).fill(1));
  await opened.close();
  rmSync(path);
});
