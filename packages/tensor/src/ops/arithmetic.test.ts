import { beforeAll, describe, expect, test } from "vitest";
import "../evaluate.js";
import { gradients } from "../autograd.js";
import { setDefaultBackend } from "../default-backend.js";
import { reference } from "../reference/backend.js";
import type { Tensor } from "../tensor.js";
import { add, clamp, div, hypot, maximum, mul, neg, pow, remainder, sub, truncDivide } from "./arithmetic.js";
import { arange, ones, scalar, tensor, zeros } from "./create.js";

beforeAll(() => setDefaultBackend(reference()));

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

describe("arithmetic", () => {
  test("broadcasts operands from the right", async () => {
    const sum = add(tensor([[1], [2]]), tensor([10, 20, 30]));
    expect(await sum.toArray()).toEqual([
      [11, 21, 31],
      [12, 22, 32],
    ]);
  });

  test("a number takes the tensor's dtype, and makes integers floats when it has a fraction", () => {
    expect(add(tensor([1], { dtype: "f16" }), 0.5).dtype).toBe("f16");
    expect(add(tensor([1], { dtype: "i32" }), 2).dtype).toBe("i32");
    expect(mul(tensor([1], { dtype: "i32" }), 0.5).dtype).toBe("f32");
    expect(add(tensor([1], { dtype: "u8" }), 300).dtype).toBe("i32");
    expect(add(tensor([true]), tensor([true])).dtype).toBe("i32");
  });

  test("integers wrap, and are divided towards zero", async () => {
    const big = tensor(Int32Array.of(2147483647, -2147483648));
    expect(await numbers(add(big, 1))).toEqual([-2147483648, -2147483647]);
    expect(await numbers(mul(big, big))).toEqual([1, 0]);
    expect(await numbers(sub(tensor(Uint8Array.of(3)), tensor(Uint8Array.of(5))))).toEqual([254]);
    const a = tensor(Int32Array.of(7, -7, 7));
    expect(await numbers(truncDivide(a, tensor(Int32Array.of(2, 2, 0))))).toEqual([3, -3, 0]);
    expect(await numbers(div(a, tensor(Int32Array.of(2, 2, 4))))).toEqual([3.5, -3.5, 1.75]);
  });

  test("the remainder has the sign of the divisor", async () => {
    expect(await numbers(remainder(tensor([7, -7, 7, -7]), tensor([3, 3, -3, -3])))).toEqual([1, 2, -2, -1]);
  });

  test("operands that do not broadcast are refused with both shapes", () => {
    expect(() => add(zeros([2, 3]), zeros([4]))).toThrow(
      /add: expected shapes that broadcast.*\[2, 3\] and \[4\]/,
    );
  });

  test("the gradient of a stretched operand is summed to its shape", async () => {
    const bias = tensor([1, 2, 3]);
    const [g] = gradients(mul(ones([4, 3]), bias).sum(), [bias]);
    expect(await numbers(g!)).toEqual([4, 4, 4]);
    const s = scalar(3);
    const [gs] = gradients(mul(arange(5, null, 1, { dtype: "f32" }), s).sum(), [s]);
    expect(await gs!.item()).toBe(10);
  });
});

describe("gradients at the edges", () => {
  test("pow at a base of 0 is finite where the power is differentiable", async () => {
    const x = tensor([0, 0, 0, 2]);
    const e = tensor([0, 1, 2, 3]);
    const [dx, de] = gradients(pow(x, e).sum(), [x, e]);
    expect(await numbers(dx!)).toEqual([0, 1, 0, 12]);
    const exponents = await numbers(de!);
    expect(exponents.slice(0, 3)).toEqual([0, 0, 0]);
    expect(exponents[3]).toBeCloseTo(8 * Math.log(2), 5);
    const [second] = gradients(gradients(pow(x, 2).sum(), [x])[0]!.sum(), [x]);
    expect(await numbers(second!)).toEqual([2, 2, 2, 2]);
  });

  test("equal operands of maximum share the gradient equally", async () => {
    const [a, b] = [tensor([1, 2, 3]), tensor([2, 2, 2])];
    const [da, db] = gradients(maximum(a, b).sum(), [a, b]);
    expect(await numbers(da!)).toEqual([0, 0.5, 1]);
    expect(await numbers(db!)).toEqual([1, 0.5, 0]);
  });

  test("hypot has gradient 0 at the origin and does not overflow", async () => {
    const [a, b] = [tensor([0, 3, 3e30]), tensor([0, 4, 4e30])];
    const h = hypot(a, b);
    const [da] = gradients(h.sum(), [a]);
    const lengths = await numbers(h);
    expect(lengths[0]).toBe(0);
    expect(lengths[1]).toBeCloseTo(5, 5);
    expect(lengths[2]! / 5e30).toBeCloseTo(1, 5);
    const slopes = await numbers(da!);
    expect(slopes[0]).toBe(0);
    expect(slopes[1]).toBeCloseTo(0.6, 5);
  });

  test("clamp lets no gradient through outside of its bounds", async () => {
    const x = tensor([-2, 0.5, 3]);
    const y = clamp(x, { min: -1, max: 1 });
    const [dx] = gradients(y.sum(), [x]);
    expect(await numbers(y)).toEqual([-1, 0.5, 1]);
    expect(await numbers(dx!)).toEqual([0, 1, 0]);
    expect(await numbers(neg(tensor([true, false])))).toEqual([-1, 0]);
  });
});
