import { beforeAll, expect, test } from "vitest";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import {
  arange,
  eye,
  full,
  iota,
  linspace,
  ones,
  onesLike,
  scalar,
  tensor,
  zeros,
  zerosLike,
} from "./create.js";

beforeAll(() => setDefaultBackend(reference()));

test("nested arrays give shape and dtype", async () => {
  expect(
    tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]).shape,
  ).toEqual([2, 3]);
  expect(tensor([[true], [false]]).dtype).toBe("bool");
  expect(tensor(7).shape).toEqual([]);
  expect(tensor([]).shape).toEqual([0]);
  expect(tensor([[], []]).shape).toEqual([2, 0]);
  expect(await tensor([1, 2, 3, 4], { shape: [2, 2], dtype: "i32" }).toArray()).toEqual([
    [1, 2],
    [3, 4],
  ]);
});

test("ragged rows and wrong sizes are refused with what was found", () => {
  expect(() => tensor([[1, 2], [3]])).toThrow(
    "tensor: expected rows of equal length (2) at depth 1, got an array of 1",
  );
  expect(() => tensor([1, [2]])).toThrow("tensor: expected numbers at depth 1, got an array of 1");
  expect(() => tensor(new Float32Array(6), { shape: [4] })).toThrow(
    "tensor: expected a shape of 6 elements, got [4], which has 4",
  );
});

test("typed arrays keep their dtype and their memory", async () => {
  const data = new Float32Array([1, 2, 3]);
  expect(await tensor(data).data()).toBe(data);
  expect(tensor(new Uint8Array(2)).dtype).toBe("u8");
  expect(tensor(new Float64Array(2)).dtype).toBe("f64");
  expect(() => tensor(new Uint16Array(2))).toThrow(/expected a dtype for a Uint16Array/);
  expect(await tensor(Uint16Array.of(0x3c00, 0xc000), { dtype: "f16" }).toArray()).toEqual([1, -2]);
  expect(await tensor(new Float32Array([1.5, -1.5]), { dtype: "bf16" }).toArray()).toEqual([1.5, -1.5]);
  expect(await tensor(Uint8Array.of(0, 7), { dtype: "bool" }).toArray()).toEqual([0, 1]);
});

test("ranges", async () => {
  expect(await arange(4).toArray()).toEqual([0, 1, 2, 3]);
  expect(arange(4).dtype).toBe("i32");
  expect(await arange(2, 10, 3).toArray()).toEqual([2, 5, 8]);
  expect(await arange(3, 0, -1).toArray()).toEqual([3, 2, 1]);
  expect(await arange(0, 1, 0.25).toArray()).toEqual([0, 0.25, 0.5, 0.75]);
  expect(await arange(5, 2).toArray()).toEqual([]);
  expect(() => arange(0, 1, 0)).toThrow(/a step that is not 0/);
  expect(await linspace(-1, 1, 5).toArray()).toEqual([-1, -0.5, 0, 0.5, 1]);
  expect(await linspace(2, 9, 1).toArray()).toEqual([2]);
  expect((await linspace(0, 0.3, 4).data())[3]).toBe(Math.fround(0.3)); // the end is hit exactly
});

test("constants", async () => {
  expect(await eye(2, 3).toArray()).toEqual([
    [1, 0, 0],
    [0, 1, 0],
  ]);
  expect(await full([2], 2.5).toArray()).toEqual([2.5, 2.5]);
  expect(zeros([2], { dtype: "u8" }).dtype).toBe("u8");
  expect(await onesLike(tensor([[4, 5]], { dtype: "i32" })).toArray()).toEqual([[1, 1]]);
  expect(zerosLike(ones([3]), { dtype: "f64" }).dtype).toBe("f64");
  expect(await scalar(1 / 3).item()).toBe(Math.fround(1 / 3));
  expect(await iota([2, 2], { dtype: "f32" }).toArray()).toEqual([
    [0, 1],
    [2, 3],
  ]);
  expect(() => iota([300], { dtype: "u8" })).toThrow(
    "iota: expected indices that u8 can hold, got shape [300]",
  );
});
