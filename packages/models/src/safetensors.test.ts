import {
  mkdtempSync,
  mkdirSync,
  openSync,
  closeSync,
  ftruncateSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
  readdirSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { isFormatError, type FormatError } from "./format-error.js";
import { SAFETENSORS_BITS, tensorSizeBytes, typedArray, type SafetensorsDType } from "./safetensors-dtype.js";
import {
  encodeSafetensors,
  safetensorsChunks,
  writeSafetensors,
  type TensorToWrite,
} from "./safetensors-write.js";
import { openCheckpoint, openSafetensors } from "./safetensors.js";
import { randomNumbers } from "../test/safetensors-mutator.js";

const folder = mkdtempSync(join(tmpdir(), "safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));
const golden = (name: string) => fileURLToPath(new URL(`../test/goldens/${name}`, import.meta.url));

/** A file from the text of its header and its data. */
function file(header: string, data: number | Uint8Array = 0, length?: bigint): Uint8Array {
  const json = new TextEncoder().encode(header);
  const content = typeof data === "number" ? new Uint8Array(data) : data;
  const bytes = new Uint8Array(8 + json.length + content.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(content, 8 + json.length);
  return bytes;
}

async function refusal(bytes: Uint8Array): Promise<FormatError> {
  try {
    await openSafetensors(bytes, "bad.safetensors");
  } catch (error) {
    if (isFormatError(error)) return error;
    throw error;
  }
  throw new Error("expected a refusal");
}

const one = (body: string) => `{"a":{${body}}}`;
const F32 = '"dtype":"F32"';

describe("refuses", () => {
  const cases: [string, Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(), /at least 8 bytes, got 0/],
    ["seven bytes", new Uint8Array(7), /at least 8 bytes, got 7/],
    ["a header length of zero", file(""), /at least 2 bytes, got 0/],
    ["a header behind the end", file("{}", 0, 3n), /within the 2 bytes that follow, got a length of 3/],
    [
      "a header length of 2^64 - 1",
      file("{}", 0, (1n << 64n) - 1n),
      /at most 100000000 bytes, got 18446744073709551615/,
    ],
    ["a header above the limit", file("{}", 0, 100_000_001n), /at most 100000000 bytes/],
    ["a header that is a list", file("[]"), /begins with "{"/],
    ["a header that begins with a space", file(" {}"), /begins with "{"/],
    ["a header that ends in a line break", file("{}\n"), /ends in "}" and spaces/],
    ["a header that ends in zeros", file("{}\0\0"), /ends in "}" and spaces/],
    [
      "a file cut inside the data",
      file(one(`${F32},"shape":[2],"data_offsets":[0,8]`), 7),
      /8 bytes of data.+got 7, the file is cut short/,
    ],
    [
      "bytes behind the last tensor",
      file(one(`${F32},"shape":[1],"data_offsets":[0,4]`), 5),
      /nothing behind the last tensor, got 1 bytes/,
    ],
    ["data without tensors", file("{}", 1), /nothing behind/],
    [
      "a hole",
      file(
        `{"a":{${F32},"shape":[1],"data_offsets":[0,4]},"b":{${F32},"shape":[1],"data_offsets":[8,12]}}`,
        12,
      ),
      /"b" to begin at 4, where "a" ends, got 8, a hole/,
    ],
    ["a hole at the start", file(one(`${F32},"shape":[1],"data_offsets":[4,8]`), 8), /begin at 0.+a hole/],
    [
      "an overlap",
      file(
        `{"a":{${F32},"shape":[2],"data_offsets":[0,8]},"b":{${F32},"shape":[1],"data_offsets":[4,8]}}`,
        8,
      ),
      /an overlap/,
    ],
    [
      "two tensors on the same bytes",
      file(
        `{"a":{${F32},"shape":[1],"data_offsets":[0,4]},"b":{${F32},"shape":[1],"data_offsets":[0,4]}}`,
        4,
      ),
      /an overlap/,
    ],
    [
      "a span that runs backwards",
      file(one(`${F32},"shape":[0],"data_offsets":[4,0]`), 4),
      /end behind its begin 4, got 0/,
    ],
    [
      "a span that is not shape times size",
      file(one(`${F32},"shape":[2],"data_offsets":[0,4]`), 4),
      /F32 \[2\], to span 8 bytes, got 4/,
    ],
    [
      "a product beyond 64 bits",
      file(one(`${F32},"shape":[4294967296,4294967296],"data_offsets":[0,0]`)),
      /size in whole bytes/,
    ],
    [
      "a product that wraps to the span",
      file(one(`"dtype":"U8","shape":[4294967297,4294967296],"data_offsets":[0,4294967296]`)),
      /size in whole bytes/,
    ],
    [
      "a dimension beyond 2^53",
      file(one(`${F32},"shape":[9007199254740993],"data_offsets":[0,4]`), 4),
      /at most 2\^53 - 1/,
    ],
    ["a negative dimension", file(one(`${F32},"shape":[-1],"data_offsets":[0,4]`), 4), /not negative/],
    ["a dimension with a point", file(one(`${F32},"shape":[1.0],"data_offsets":[0,4]`), 4), /whole number/],
    [
      "65 dimensions",
      file(one(`${F32},"shape":[${Array(65).fill(1).join()}],"data_offsets":[0,4]`), 4),
      /at most 64 dimensions/,
    ],
    [
      "an unknown dtype",
      file(one(`"dtype":"F31","shape":[1],"data_offsets":[0,4]`), 4),
      /a known dtype, got "F31"/,
    ],
    [
      "a dtype in lower case",
      file(one(`"dtype":"f32","shape":[1],"data_offsets":[0,4]`), 4),
      /a known dtype, got "f32"/,
    ],
    [
      "a dtype named like a property of objects",
      file(one(`"dtype":"constructor","shape":[1],"data_offsets":[0,4]`), 4),
      /a known dtype/,
    ],
    ["half a byte of F4", file(one(`"dtype":"F4","shape":[1],"data_offsets":[0,1]`), 1), /whole bytes/],
    ["no dtype", file(one(`"shape":[1],"data_offsets":[0,4]`), 4), /a known dtype, got nothing/],
    ["no shape", file(one(`${F32},"data_offsets":[0,4]`), 4), /shape of whole numbers, got nothing/],
    ["no offsets", file(one(`${F32},"shape":[1]`), 4), /two data_offsets, got nothing/],
    ["three offsets", file(one(`${F32},"shape":[1],"data_offsets":[0,4,8]`), 4), /two data_offsets/],
    ["an unknown member", file(one(`${F32},"shape":[1],"data_offsets":[0,4],"x":1`), 4), /only, got "x"/],
    [
      "a name twice",
      file(
        `{"a":{${F32},"shape":[0],"data_offsets":[0,0]},"a":{${F32},"shape":[1],"data_offsets":[0,4]}}`,
        4,
      ),
      /every key once, got "a" again/,
    ],
    [
      "a member twice",
      file(one(`${F32},"dtype":"F64","shape":[1],"data_offsets":[0,8]`), 8),
      /every key once, got "dtype" again/,
    ],
    ["metadata that are no object", file(`{"__metadata__":[]}`), /__metadata__ to be an object/],
    ["metadata of numbers", file(`{"__metadata__":{"a":1}}`), /__metadata__ "a" to be a string/],
    ["too many levels", file(`{"a":${"[".repeat(60)}${"]".repeat(60)}}`), /at most 3 nested levels/],
    [
      "bad UTF-8 in a name",
      (() => {
        const b = file(`{"a":{${F32},"shape":[1],"data_offsets":[0,4]}}`, 4);
        b[10] = 0xff;
        return b;
      })(),
      /UTF-8/,
    ],
  ];
  test.each(cases)("%s", async (_name, bytes, message) => {
    const error = await refusal(bytes);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^bad\.safetensors: expected /);
    expect(error.code).toBe("LOWRANK_FORMAT");
    expect(error.format).toBe("safetensors");
  });
});

test("a name with terminal escapes is quoted in the message", async () => {
  const error = await refusal(file(`{"\\u001b[31m\\u202e":{"dtype":"F31","shape":[],"data_offsets":[0,0]}}`));
  expect(error.message).toContain("\\u001b[31m\\u202e");
  expect(error.message).not.toContain("\u001b");
});

test("refused from disk, the file is closed and nothing is written", async () => {
  const path = join(folder, "bad.safetensors");
  writeFileSync(path, file("{}", 1));
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 20; i++) await expect(openSafetensors(path)).rejects.toThrow(/nothing behind/);
  expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(before);
  rmSync(path);
});

test("a path that leads nowhere, to a folder or to a device is refused", async () => {
  await expect(openSafetensors(join(folder, "absent"))).rejects.toThrow(
    /expected a file, got nothing of that name/,
  );
  await expect(openSafetensors(folder)).rejects.toThrow(/regular file/);
  await expect(openSafetensors("/dev/zero")).rejects.toThrow(/regular file/);
});

test("a file that shrinks after it was opened gives an error, not zeros", async () => {
  const path = join(folder, "shrinks.safetensors");
  writeFileSync(path, file(one(`${F32},"shape":[4],"data_offsets":[0,16]`), 16));
  const opened = await openSafetensors(path);
  const fd = openSync(path, "r+");
  ftruncateSync(fd, 70);
  closeSync(fd);
  await expect(opened.tensors.get("a")?.bytes()).rejects.toThrow(/cut short/);
  await opened.close();
});

test("a tensor of a closed file cannot be read", async () => {
  const opened = await openSafetensors(file(one(`${F32},"shape":[1],"data_offsets":[0,4]`), 4));
  await opened.close();
  await expect(opened.tensors.get("a")?.bytes()).rejects.toThrow(/closed/);
});

test("a header of 5 GB of data is read without reading the data", async () => {
  const path = join(folder, "giant.safetensors");
  const elements = 1_280_000_000;
  const head = file(
    `{"a":{${F32},"shape":[${elements}],"data_offsets":[0,${elements * 4}]},"b":{"dtype":"U8","shape":[3],"data_offsets":[${elements * 4},${elements * 4 + 3}]}}`,
  );
  const fd = openSync(path, "w");
  writeSync(fd, head);
  ftruncateSync(fd, head.length + elements * 4); // sparse: no disk is used
  writeSync(fd, new Uint8Array([7, 8, 9]), 0, 3, head.length + elements * 4);
  closeSync(fd);
  const opened = await openSafetensors(path);
  expect(await opened.tensors.get("b")?.array()).toEqual(new Uint8Array([7, 8, 9]));
  await opened.close();
  rmSync(path);
});

const dtypes = Object.keys(SAFETENSORS_BITS) as SafetensorsDType[];
const tensor: fc.Arbitrary<TensorToWrite> = fc
  .record({
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
    seed: fc.nat(),
  })
  .map(({ dtype, shape, seed }) => {
    const fitting = tensorSizeBytes(dtype, shape) === undefined ? [...shape, 8] : shape;
    const random = randomNumbers(seed);
    return {
      dtype,
      shape: fitting,
      data: Uint8Array.from({ length: tensorSizeBytes(dtype, fitting) as number }, () =>
        Math.floor(random() * 256),
      ),
    };
  });
const name = fc
  .string({ unit: "binary", maxLength: 12 })
  .filter((text) => text !== "__metadata__" && !/\p{Surrogate}/u.test(text));

test("what is written is read back, in any order to the same bytes, and written again to the same bytes", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(name, tensor), { selector: ([key]) => key, maxLength: 8 }),
      fc.uniqueArray(fc.tuple(name, name), { selector: ([key]) => key, maxLength: 3 }),
      async (tensors, notes) => {
        const metadata = new Map(notes);
        const bytes = await encodeSafetensors(new Map(tensors), { metadata });
        expect(
          await encodeSafetensors([...tensors].reverse(), { metadata: new Map([...notes].reverse()) }),
        ).toEqual(bytes);
        const opened = await openSafetensors(bytes);
        expect([...opened.metadata].sort()).toEqual([...metadata].sort());
        expect(opened.tensors.size).toBe(tensors.length);
        for (const [key, { dtype, shape, data }] of tensors) {
          const entry = opened.tensors.get(key);
          expect(entry?.dtype).toBe(dtype);
          expect(entry?.shape).toEqual(shape);
          expect(await entry?.bytes()).toEqual(data);
        }
        const again = new Map<string, TensorToWrite>();
        for (const [key, { dtype, shape, bytes: read }] of opened.tensors)
          again.set(key, { dtype, shape, data: read });
        expect(await encodeSafetensors(again, { metadata: opened.metadata })).toEqual(bytes);
        // The data of every tensor lie at a multiple of its element size.
        for (const { dtype, sizeBytes, array } of opened.tensors.values()) {
          const width = Math.max(1, SAFETENSORS_BITS[dtype] / 8);
          if (sizeBytes > 0 && dtype !== "C64") expect((await array()).byteOffset % width).toBe(0);
        }
      },
    ),
    { seed: 3, numRuns: 300 },
  );
});

test("a file of the Python library is read, and written again to the same bytes", async () => {
  const bytes = new Uint8Array(readFileSync(golden("python.safetensors")));
  const opened = await openSafetensors(golden("python.safetensors"));
  expect(opened.metadata.get("format")).toBe("pt");
  expect(await opened.tensors.get("f32")?.array()).toEqual(new Float32Array([0.5, -1.25, 3, 4, 5, 6]));
  expect(opened.tensors.get("f32")?.shape).toEqual([2, 3]);
  expect(await opened.tensors.get("i64")?.array()).toEqual(new BigInt64Array([1n, -2n, 1n << 40n]));
  expect(await opened.tensors.get("u8")?.array()).toEqual(new Uint8Array([0, 127, 255]));
  expect(await opened.tensors.get("bool")?.array()).toEqual(new Uint8Array([1, 0]));
  expect(await opened.tensors.get("f16")?.array()).toEqual(new Uint16Array([0x3c00, 0xc100])); // 1, -2.5
  expect(await opened.tensors.get("bf16")?.array()).toEqual(new Uint16Array([0x3f80, 0xc020])); // 1, -2.5
  expect(await opened.tensors.get("empty")?.array()).toEqual(new Float32Array());
  expect(opened.tensors.get("scalar")?.shape).toEqual([]);
  const tensors = new Map<string, TensorToWrite>();
  for (const [key, { dtype, shape, bytes: read }] of opened.tensors)
    tensors.set(key, { dtype, shape, data: read });
  expect(await encodeSafetensors(tensors, { metadata: opened.metadata })).toEqual(bytes);
  const path = join(folder, "again.safetensors");
  await writeSafetensors(path, tensors, { metadata: opened.metadata });
  expect(new Uint8Array(readFileSync(path))).toEqual(bytes);
  await opened.close();
});

test("numbers that are not aligned in memory are copied", () => {
  const bytes = new Uint8Array(9);
  bytes.set(new Uint8Array(new Float64Array([1.5]).buffer), 1);
  expect(typedArray("F64", bytes.subarray(1))).toEqual(new Float64Array([1.5]));
});

test("the writer refuses data that do not fit, and leaves the earlier file", async () => {
  const path = join(folder, "kept.safetensors");
  const good = { a: { dtype: "F32", shape: [1], data: new Float32Array([1]) } } as const;
  await writeSafetensors(path, good);
  const before = readFileSync(path);
  const bad = { b: { dtype: "F32", shape: [2], data: () => new Float32Array(3) } } as const;
  await expect(writeSafetensors(path, bad)).rejects.toThrow(/expected 8 bytes for "b", got 12/);
  expect(readFileSync(path)).toEqual(before);
  expect(readdirSync(folder).filter((entry) => entry.startsWith("kept"))).toEqual(["kept.safetensors"]);
  const wrong = (tensors: Record<string, TensorToWrite>) => () => safetensorsChunks(tensors);
  expect(wrong({ __metadata__: good.a })).toThrow(/reserved name/);
  expect(wrong({ "\ud800": good.a })).toThrow(/whole Unicode/);
  expect(wrong({ a: { ...good.a, dtype: "F33" as "F32" } })).toThrow(/known dtype, got F33/);
  expect(wrong({ a: { ...good.a, shape: [0.5] } })).toThrow(/whole bytes/);
  expect(() =>
    safetensorsChunks([
      ["a", good.a],
      ["a", good.a],
    ]),
  ).toThrow(/every name once/);
});

describe("a checkpoint in shards", () => {
  const shard = (key: string) =>
    encodeSafetensors({ [key]: { dtype: "U8", shape: [1], data: new Uint8Array([key.charCodeAt(0)]) } });
  const index = (map: Record<string, unknown>) =>
    new TextEncoder().encode(JSON.stringify({ metadata: { total_size: 2 }, weight_map: map }));
  const INDEX = "model.safetensors.index.json";

  test("is read as one", async () => {
    const files = {
      [INDEX]: index({ a: "1.safetensors", b: "2.safetensors" }),
      "1.safetensors": await shard("a"),
      "2.safetensors": await shard("b"),
    };
    const archive = await openCheckpoint(files);
    expect([...archive.tensors.keys()]).toEqual(["a", "b"]);
    expect(await archive.tensors.get("b")?.array()).toEqual(new Uint8Array([98]));
    await archive.close();
  });

  test.each(["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth", "model.ckpt"])(
    "may not be a pickle, %s: it says why and how to convert it",
    async (name) => {
      const files = { "config.json": index({}), [name]: index({}) };
      await expect(openCheckpoint(files)).rejects.toMatchObject({
        code: "LOWRANK_FORMAT",
        expected: "model.safetensors or model.safetensors.index.json",
        got: `"${name}", a pickle file that runs code when it is read`,
        hint: expect.stringContaining("save_pretrained"),
      });
      await expect(
        openCheckpoint({ ...files, "model.safetensors": await shard("a") }),
      ).resolves.toBeDefined();
    },
  );

  test("a single file of torch.save is told by its first bytes", async () => {
    const zip = new Uint8Array([0x50, 0x4b, 3, 4, 0, 0, 8, 8, 0, 0, 0, 0]);
    await expect(openSafetensors(zip)).rejects.toThrow(
      /expected a safetensors file, got a pickle file that runs code/,
    );
  });

  test("is refused when index and shards disagree", async () => {
    const a = await shard("a");
    const open = (map: Record<string, unknown>) =>
      openCheckpoint({ [INDEX]: index(map), "1.safetensors": a });
    await expect(open({ a: "2.safetensors" })).rejects.toThrow(
      /shard "2.safetensors" in the folder, got no such file/,
    );
    await expect(open({ a: "1.safetensors", b: "1.safetensors" })).rejects.toThrow(
      /tensor "b" in "1.safetensors", got no such tensor/,
    );
    await expect(open({ b: "1.safetensors" })).rejects.toThrow(/tensor "a" of "1.safetensors" to be listed/);
    await expect(open({ a: 1 })).rejects.toThrow(/a file name for tensor "a"/);
    await expect(openCheckpoint({})).rejects.toThrow(
      /model.safetensors or model.safetensors.index.json, got neither/,
    );
    await expect(openCheckpoint({ [INDEX]: new TextEncoder().encode("[]") })).rejects.toThrow(/a weight_map/);
  });

  test.each([
    "../a",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:x",
    "\\\\host\\share",
    "nul",
    "COM1.safetensors",
    "a\0b",
    "..",
    ".",
    "",
    "a.",
    "a ",
    "x".repeat(300),
  ])("may not name the file %j", async (shardName) => {
    await expect(openCheckpoint({ [INDEX]: index({ a: shardName }) })).rejects.toThrow(
      /file name|name of a file/,
    );
  });

  test("may not be reached through a link out of its folder, but through one into the cache it belongs to", async () => {
    const cache = join(folder, "cache");
    const snapshot = join(cache, "snapshots", "abc");
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(cache, "blobs"));
    writeFileSync(join(cache, "blobs", "123"), await shard("a"));
    symlinkSync("../../blobs/123", join(snapshot, "model.safetensors"));
    expect((await openCheckpoint(snapshot)).tensors.size).toBe(1);
    const elsewhere = join(folder, "elsewhere");
    mkdirSync(elsewhere);
    symlinkSync("../cache/blobs/123", join(elsewhere, "model.safetensors"));
    await expect(openCheckpoint(elsewhere)).rejects.toThrow(/a link that leads out of it/);
  });
});
