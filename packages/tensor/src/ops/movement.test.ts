import { beforeAll, expect, test } from "vitest";
import { gradients } from "../autograd.js";
import { evaluate } from "../evaluate.js";
import { parameter } from "../parameter.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import { arange, ones, tensor } from "./create.js";
import { matmul, matmulOp } from "./matmul.js";
import {
  broadcastTo,
  expandDims,
  flatten,
  flip,
  moveaxis,
  permute,
  repeat,
  reshape,
  slice,
  squeeze,
  tile,
  transpose,
} from "./movement.js";
import { pad } from "./pad.js";

beforeAll(() => setDefaultBackend(reference()));

const grid = (...dims: number[]) => reshape(arange(dims.reduce((a, b) => a * b, 1)), dims);

test("slices follow NumPy's rules for negative numbers, clipping and steps", async () => {
  const x = arange(10);
  const rows = async (...ranges: Parameters<typeof slice>[1]) => slice(x, ranges).toArray();
  expect(await rows([2, 5])).toEqual([2, 3, 4]);
  expect(await rows([-3, null])).toEqual([7, 8, 9]);
  expect(await rows([null, null, -3])).toEqual([9, 6, 3, 0]);
  expect(await rows([8, 2, -2])).toEqual([8, 6, 4]);
  expect(await rows([5, 100])).toEqual([5, 6, 7, 8, 9]);
  expect(await rows([5, 2])).toEqual([]);
  expect(await rows(-1)).toBe(9);
  expect(await slice(grid(3, 4), [null, 1]).toArray()).toEqual([1, 5, 9]);
});

test("a slice outside of the tensor says what is allowed", () => {
  expect(() => slice(grid(3, 4), [3])).toThrow("slice: expected an index from -3 to 2 for axis 0, got 3");
  expect(() => slice(grid(3), [[0, 2, 0]])).toThrow(/step that is not 0/);
  expect(() => slice(grid(3), [null, null])).toThrow("slice: expected at most 1 ranges, got 2");
});

test("views compose", async () => {
  expect(await permute(grid(2, 3), [1, 0]).toArray()).toEqual([
    [0, 3],
    [1, 4],
    [2, 5],
  ]);
  expect(await flip(transpose(grid(2, 3)), 0).toArray()).toEqual([
    [2, 5],
    [1, 4],
    [0, 3],
  ]);
  expect(moveaxis(grid(2, 3, 4), 0, -1).shape).toEqual([3, 4, 2]);
  expect(squeeze(expandDims(grid(2, 3), [0, -1])).shape).toEqual([2, 3]);
  expect(flatten(grid(2, 3, 4), 1).shape).toEqual([2, 12]);
  expect(await broadcastTo(grid(2, 1), [2, 3]).toArray()).toEqual([
    [0, 0, 0],
    [1, 1, 1],
  ]);
  expect(await repeat(arange(2), 2, 0).toArray()).toEqual([0, 0, 1, 1]);
  expect(await tile(arange(2), [2, 2]).toArray()).toEqual([
    [0, 1, 0, 1],
    [0, 1, 0, 1],
  ]);
});

test("reshape works one -1 out and refuses another size", () => {
  expect(reshape(grid(2, 6), [3, -1]).shape).toEqual([3, 4]);
  expect(() => reshape(grid(2, 6), [5, -1])).toThrow("reshape: expected a shape of 12 elements, got [5, -1]");
});

test("pad puts zeros, or a value, around and between", async () => {
  expect(await pad(arange(1, 3), [[1, 2]], { interior: [1] }).toArray()).toEqual([0, 1, 0, 2, 0, 0]);
  expect(await pad(arange(1, 3), [[1, 0]], { value: -7 }).toArray()).toEqual([-7, 1, 2]);
});

test("the gradient of a backward slice with a step lands where it was read", async () => {
  const x = tensor([1, 2, 3, 4, 5, 6, 7]);
  const weights = tensor([10, 20, 30]);
  const [dx] = gradients(
    slice(x, [[5, null, -2]])
      .mul(weights)
      .sum(),
    [x],
  );
  expect(await dx!.toArray()).toEqual([0, 30, 0, 20, 0, 10, 0]);
});

test("the gradient of a transposed weight is one matrix product in the weight's layout", async () => {
  const [x, w] = [
    ones([2, 3]),
    tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]),
  ]; // w is [out, in]
  const [dw] = gradients(matmul(x, w.T).sum(), [w]);
  expect(dw!.node.op).toBe(matmulOp);
  expect(await dw!.toArray()).toEqual([
    [2, 2, 2],
    [2, 2, 2],
  ]);
});

test("an op that changes nothing still holds a parameter's value of now", async () => {
  const p = parameter(tensor([1, 2]));
  const before = [
    p.reshape([2]),
    p.astype("f32"),
    p.sum([]),
    p.permute([0]),
    p.slice([null]),
    pad(p, [[0, 0]]),
  ];
  await evaluate(...before, p.assign(p.mul(10)));
  for (const t of before) expect(await t.toArray()).toEqual([1, 2]);
  expect(await p.toArray()).toEqual([10, 20]);
  const late = p.reshape([2]);
  await evaluate(p.assign(p.mul(10)));
  await expect(late.data()).rejects.toMatchObject({ code: "LOWRANK_STALE" });
});
