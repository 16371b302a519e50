import { readFileSync } from "node:fs";
import { openGguf, openSafetensors } from "@lowrank/models";
import { expect, test } from "vitest";
import { golden } from "../test/golden-files.js";
import { ggufCodes } from "./gguf-codes.js";
import { type BlockTypeName, isBlockType } from "./gguf-blocks.js";
import { halfToNumber, numberToHalf } from "./gguf-half.js";

const PATH = golden("gguf/types.gguf");
const bits = (x: ArrayBufferView) => new Uint32Array(x.buffer, x.byteOffset, x.byteLength / 4);

test("every type of tensor dequantizes to the bits of the gguf package", async () => {
  const file = await openGguf(PATH);
  const want = await openSafetensors(golden("gguf/types.safetensors"));
  expect([...file.tensors.keys()].sort()).toEqual([...want.tensors.keys()].sort());
  for (const [name, entry] of file.tensors) {
    const expected = want.tensors.get(name)!;
    expect(entry.shape, name).toEqual(expected.shape);
    expect(bits(await entry.array()), name).toEqual(bits(await expected.array()));
  }
  await file.close();
  await want.close();
  await expect(file.tensors.get("x")!.bytes()).rejects.toThrow("got a closed one");
});

// w = scale · q + min, with q from the planes of codes
test("codes, scales and mins stand for the same numbers", async () => {
  const file = await openGguf(PATH);
  let seen = 0;
  for (const [name, entry] of file.tensors) {
    if (!isBlockType(entry.type)) continue;
    seen++;
    const want = await entry.array();
    const {
      bits: width,
      groupSize,
      codes,
      scales,
      mins,
    } = ggufCodes(entry.type as BlockTypeName, await entry.bytes());
    const ofCode = (i: number) => (width === 8 ? codes[i]! : ((codes[i >> 1]! >> (4 * (i % 2))) & 15) - 8);
    let worst = 0;
    for (const [i, w] of want.entries()) {
      const g = Math.floor(i / groupSize);
      const scale = scales instanceof Uint16Array ? halfToNumber(scales[g]!) : scales[g]!;
      const got = Math.fround(Math.fround(scale * ofCode(i)) + (mins?.[g] ?? 0));
      worst = Math.max(worst, Math.abs(got - w) / (Math.abs(scale) * 16 + Math.abs(mins?.[g] ?? 0) + 1e-30));
    }
    // Mins of 4 bits are moved to the code −8, which rounds once.
    expect(worst, name).toBeLessThanOrEqual(width === 4 && mins !== null ? 2 ** -23 : 0);
  }
  expect(seen).toBe(13);
  await file.close();
});

test("metadata of every type keeps its value", async () => {
  const { metadata, version, alignment, padsEnd, close } = await openGguf(readFileSync(PATH));
  const value = (key: string) => metadata.get(`test.${key}`)!.value;
  expect({ version, alignment, padsEnd }).toEqual({ version: 3, alignment: 32, padsEnd: true });
  expect(metadata.get("general.architecture")).toEqual({ type: "string", value: "test" });
  expect(value("uint8")).toBe(255);
  expect(value("int8")).toBe(-128);
  expect(value("uint16")).toBe(65535);
  expect(value("int16")).toBe(-32768);
  expect(value("uint32")).toBe(2 ** 32 - 1);
  expect(value("int32")).toBe(-(2 ** 31));
  expect(value("float32")).toBe(Math.fround(0.1));
  expect(value("bool")).toBe(true);
  expect(value("string")).toBe("naïve.ünïcode 😀");
  expect(value("uint64")).toBe(2n ** 64n - 1n);
  expect(value("int64")).toBe(-(2n ** 63n));
  expect(value("float64")).toBe(1e300);
  expect(metadata.get("test.strings")).toEqual({ type: "array", of: "string", value: ["", "a", "\ufeffb"] });
  expect(metadata.get("test.integers")).toEqual({ type: "array", of: "i32", value: Int32Array.of(-1, 2, 3) });
  expect(metadata.get("test.floats")).toEqual({
    type: "array",
    of: "f32",
    value: Float32Array.of(0.5, -0.25),
  });
  expect(metadata.get("test.bools")).toEqual({ type: "array", of: "bool", value: [true, false] });
  expect(metadata.get("test.longs")).toEqual({
    type: "array",
    of: "u64",
    value: BigUint64Array.of(2n ** 63n, 1n),
  });
  await close();
});

test("half precision goes back and forth without loss", () => {
  for (let h = 0; h < 0x7c00; h++) {
    if (numberToHalf(halfToNumber(h)) !== h || numberToHalf(-halfToNumber(h)) !== (h | 0x8000))
      throw new Error(`${h}`);
  }
  // 1 + 2^-11 lies in the middle and goes to the even one, a little more goes up.
  expect(numberToHalf(1 + 2 ** -11)).toBe(0x3c00);
  expect(numberToHalf(1 + 3 * 2 ** -11)).toBe(0x3c02);
  expect(numberToHalf(Math.fround(1 + 2 ** -11 + 2 ** -20))).toBe(0x3c01);
  expect([65504, 65519, 65520, Infinity].map(numberToHalf)).toEqual([0x7bff, 0x7bff, 0x7c00, 0x7c00]);
  expect([2 ** -25, 2 ** -25 * 1.5, 2 ** -24 * 1.5].map(numberToHalf)).toEqual([0, 1, 2]);
});
