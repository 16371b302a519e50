import { beforeAll, expect, test } from "vitest";
import { gradients } from "../autograd.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import type { Tensor } from "../tensor.js";
import { tensor } from "./create.js";
import {
  and,
  cast,
  eq,
  isfinite,
  isnan,
  lt,
  ne,
  not,
  or,
  shiftLeft,
  shiftRight,
  where,
  xor,
} from "./logic.js";
import { log, sqrt } from "./math.js";

beforeAll(() => setDefaultBackend(reference()));

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const nan = Number.NaN;
const inf = Number.POSITIVE_INFINITY;

test("NaN equals nothing, not itself either", async () => {
  const x = tensor([nan, 1]);
  expect(await numbers(eq(x, x))).toEqual([0, 1]);
  expect(await numbers(ne(x, x))).toEqual([1, 0]);
  expect(await numbers(lt(x, 2))).toEqual([0, 1]);
  expect(await numbers(isnan(x))).toEqual([1, 0]);
  expect(await numbers(isfinite(tensor([nan, inf, -inf, 3])))).toEqual([0, 0, 0, 1]);
});

test("bits of bools and integers", async () => {
  const [a, b] = [tensor([true, true, false]), tensor([true, false, false])];
  expect(await numbers(and(a, b))).toEqual([1, 0, 0]);
  expect(await numbers(or(a, b))).toEqual([1, 1, 0]);
  expect(await numbers(xor(a, b))).toEqual([0, 1, 0]);
  expect(await numbers(not(a))).toEqual([0, 0, 1]);
  const i = tensor(Int32Array.of(5, -8));
  expect(await numbers(not(i))).toEqual([-6, 7]);
  expect(await numbers(shiftLeft(i, 1))).toEqual([10, -16]);
  expect(await numbers(shiftRight(i, 1))).toEqual([2, -4]);
  expect(await numbers(shiftRight(tensor(Uint32Array.of(0xffffffff)), 28))).toEqual([15]);
  expect(await numbers(xor(tensor(Uint32Array.of(0xffffffff)), 1))).toEqual([0xfffffffe]);
  expect(() => and(tensor([1]), tensor([1]))).toThrow("and: expected bool or integer operands, got f32");
});

test("floats become integers by truncation within the range; integers keep their low bits", async () => {
  expect(await numbers(cast(tensor([2.9, -2.9, 1e10, -1e10, nan]), "i32"))).toEqual([
    2, -2, 2147483647, -2147483648, 0,
  ]);
  expect(await numbers(cast(tensor([-1.5, 3e9, 300]), "u8"))).toEqual([0, 255, 255]);
  expect(await numbers(cast(tensor([-5, 3e9, 1e12]), "u32"))).toEqual([0, 3e9, 4294967295]);
  expect(await numbers(cast(tensor(Int32Array.of(300, -1)), "u8"))).toEqual([44, 255]);
  expect(await numbers(cast(tensor(Int32Array.of(-1)), "u32"))).toEqual([4294967295]);
  expect(await numbers(cast(tensor([0.5, 0, nan]), "bool"))).toEqual([1, 0, 1]);
  expect(await numbers(cast(tensor([65504, 65520, 2049]), "f16"))).toEqual([65504, inf, 2048]);
});

test("where broadcasts its three operands and takes numbers", async () => {
  const picked = where(tensor([[true], [false]]), tensor([1, 2]), 0);
  expect(await picked.toArray()).toEqual([
    [1, 2],
    [0, 0],
  ]);
});

// The derivative of the branch not taken is infinite or NaN at 0 and below.
test("the branch not taken gives no gradient, whatever is in it", async () => {
  const x = tensor([-1, 0, 4]);
  const positive = lt(0, x);
  const safe = where(positive, x, 1);
  const [dx] = gradients(where(positive, sqrt(safe).add(log(safe)), 0).sum(), [x]);
  expect(await numbers(dx!)).toEqual([0, 0, 0.5]);
});
