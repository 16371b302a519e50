import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ggufChunks,
  type GgufFile,
  type GgufTensorToWrite,
  type GgufValue,
  type GgufWritableType,
  openGguf,
  quantizeGguf,
  writeGguf,
} from "@lowrank/models";
import { afterAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { golden } from "../test/golden-files.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-gguf-"));
afterAll(() => rmSync(folder, { recursive: true }));

const tensorsOf = (file: GgufFile) =>
  new Map<string, GgufTensorToWrite>(
    [...file.tensors].map(([name, { type, shape, bytes }]) => [name, { type, shape, data: bytes }]),
  );

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of chunks) parts.push(part);
  return Buffer.concat(parts);
}

const copy = async (file: GgufFile): Promise<Buffer> => collect(ggufChunks(tensorsOf(file), file));

test("what is read is written again byte by byte", async () => {
  const bytes = readFileSync(golden("gguf/types.gguf"));
  const file = await openGguf(bytes);
  expect((await copy(file)).equals(bytes)).toBe(true);
  // A file of version 2 that ends with its last tensor and has another alignment.
  const metadata = new Map<string, GgufValue>([["general.alignment", { type: "u32", value: 128 }]]);
  const tensors = { a: { type: "I8", shape: [3], data: Int8Array.of(1, 2, 3) } } as const;
  const other = await collect(
    ggufChunks({ ...tensors, b: tensors.a }, { metadata, version: 2, padsEnd: false }),
  );
  const read = await openGguf(other);
  expect([read.version, read.alignment, read.padsEnd, other.length % 128]).toEqual([2, 128, false, 3]);
  expect((await copy(read)).equals(other)).toBe(true);
  for (const padsEnd of [true, false]) {
    const empty = await collect(ggufChunks({}, { padsEnd }));
    expect((await copy(await openGguf(empty))).equals(empty)).toBe(true);
  }
});

test("numbers are quantized to the bytes of the gguf package", async () => {
  const file = await openGguf(golden("gguf/types.gguf"));
  const x = await file.tensors.get("x")!.array();
  for (const type of ["F32", "F16", "BF16", "Q8_0", "Q4_0"] as GgufWritableType[]) {
    const want = await file.tensors.get(type === "F32" ? "x" : `x.${type}`)!.bytes();
    expect(Buffer.from(quantizeGguf(type, x)).equals(want), type).toBe(true);
  }
  await file.close();
  expect(() => quantizeGguf("Q8_0", new Float32Array(33))).toThrow(
    "a multiple of 32 numbers for Q8_0, got 33",
  );
});

test("a file appears whole or not at all, and is read back", async () => {
  const path = join(folder, "a.gguf");
  const values = Float32Array.from({ length: 64 }, (_, i) => i - 31.5);
  const tensors = { w: { type: "Q8_0", shape: [2, 32], data: () => quantizeGguf("Q8_0", values) } } as const;
  await writeGguf(path, tensors, { metadata: { "general.architecture": { type: "string", value: "x" } } });
  const file = await openGguf(path);
  const got = await file.tensors.get("w")!.array();
  for (const [i, v] of values.entries()) expect(Math.abs(got[i]! - v)).toBeLessThan(31.5 / 127);
  await file.close();
  const broken = { w: { ...tensors.w, data: () => new Uint8Array(3) } };
  await expect(writeGguf(path, broken)).rejects.toThrow('68 bytes for tensor "w", Q8_0 [2, 32], got 3');
  expect(readdirSync(folder)).toEqual(["a.gguf"]);
  expect((await openGguf(readFileSync(path))).metadata.size).toBe(1);
});

describe("what no file can hold is refused before a byte is written", () => {
  const write =
    (metadata: Record<string, unknown>, tensors: Record<string, unknown> = {}) =>
    () =>
      ggufChunks(tensors as Record<string, GgufTensorToWrite>, {
        metadata: metadata as Record<string, GgufValue>,
      });
  const tensor = { type: "F32", shape: [1], data: new Float32Array(1) };
  test.each([
    [write({ a: { type: "u8", value: 256 } }), 'value of "a" to be a u8, got 256'],
    [write({ a: { type: "i64", value: 1 } }), "to be a i64"],
    [write({ a: { type: "u64", value: -1n } }), "to be a u64"],
    [write({ a: { type: "f32", value: Number.NaN } }), "to be a f32"],
    [write({ a: { type: "string", value: "\ud800" } }), "whole Unicode characters"],
    [write({ a: { type: "array", of: "bool", value: [true, 1] } }), 'value of "a", element 1 to be a bool'],
    [write({ "": { type: "u8", value: 1 } }), "to have 1 to 65535 bytes, got 0"],
    [write({ "general.alignment": { type: "u32", value: 48 } }), "a power of two up to 65536, got 48"],
    [write({}, { ["x".repeat(64)]: tensor }), "to have 1 to 63 bytes, got 64"],
    [write({}, { x: { ...tensor, shape: [1, 1, 1, 1, 1] } }), "up to 4 dimensions above 0"],
    [write({}, { x: { ...tensor, shape: [0] } }), "up to 4 dimensions above 0"],
    [write({}, { x: { ...tensor, type: "Q4_0", shape: [33] } }), "the last a multiple of 32, got Q4_0 [33]"],
    [write({}, { x: { ...tensor, type: "Q9" } }), '"x" to have a known type, got Q9'],
  ])("%#", (run, message) => {
    expect(run).toThrow(message);
  });
});

describe.skipIf(noTestModels !== null)("a real file", () => {
  test("is written again byte by byte", async () => {
    const path = testModel("SmolLM2-135M-Instruct.Q4_1.gguf");
    const file = await openGguf(path);
    const bytes = readFileSync(path);
    let at = 0;
    for await (const chunk of ggufChunks(tensorsOf(file), file)) {
      if (!bytes.subarray(at, at + chunk.length).equals(chunk)) throw new Error(`differs behind byte ${at}`);
      at += chunk.length;
    }
    expect(at).toBe(bytes.length);
    await file.close();
  });
});
