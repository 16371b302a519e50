import { expect, test } from "vitest";
import { draw, expectClose, numbers } from "../../test/check-gradients.js";
import { tensor } from "./create.js";
import { dequantize } from "./dequantize.js";
import { matmul } from "./matmul.js";
import { transpose } from "./movement.js";
import { quantizedMatmul } from "./quantized-matmul.js";

const f64 = (values: number[], shape: number[]) => tensor(values, { dtype: "f64", shape });
const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => i + from);

test("8 bits are signed, each group has its scale and its min", () => {
  const weight = tensor(range(16, -8), { dtype: "i8", shape: [1, 16] });
  const [scales, mins] = [f64([2, 0.5], [1, 2]), f64([0, 10], [1, 2])];
  const w = dequantize(weight, scales, { bits: 8, groupSize: 8, mins, dtype: "f64" });
  expectClose(numbers(w), [...range(8, -8).map((q) => 2 * q), ...range(8).map((q) => q / 2 + 10)]);
});

test("of two codes of 4 bits in a byte the first is low, and 8 stands for 0", () => {
  const weight = tensor([0x08, 0xf1, 0x80, 0x7f], { dtype: "u8", shape: [1, 4] });
  const w = dequantize(weight, f64([1], [1, 1]), { bits: 4, groupSize: 8, dtype: "f64" });
  expectClose(numbers(w), [0, -8, -7, 7, -8, 0, 7, -1]);
});

test("the product is that with the dequantized weight, over any leading axes", () => {
  const weight = tensor(range(48, 80), { dtype: "u8", shape: [3, 16] });
  const scales = draw([3, 2], 1);
  const x = draw([2, 3, 32], 2);
  const options = { bits: 4, groupSize: 16 } as const;
  const y = quantizedMatmul(x, weight, scales, options);
  expect(y.shape).toEqual([2, 3, 3]);
  expect(y.dtype).toBe("f64");
  const w = dequantize(weight, scales, { ...options, dtype: "f64" });
  expectClose(numbers(y), numbers(matmul(x, transpose(w))));
});

// |x - step · round(x / step)| ≤ step / 2 with step = max |x| / largest
test("rounded activations are off by at most half a step of their block", () => {
  const eye = Array.from({ length: 64 * 64 }, (_, i) => Number(i % 65 === 0));
  const weight = tensor(eye, { dtype: "i8", shape: [64, 64] });
  const scales = f64(new Array(128).fill(1), [64, 2]);
  const x = [...range(31).map((i) => Math.sin(i)), 50, ...range(32).map((i) => Math.cos(i) / 100)];
  for (const [activations, largest] of [
    ["int8", 127],
    ["int16", 32767],
  ] as const) {
    const y = numbers(quantizedMatmul(f64(x, [64]), weight, scales, { bits: 8, activations }));
    const errors = y.map((v, i) => Math.abs(v - x[i]!) * largest);
    expect(Math.max(...errors.slice(0, 32))).toBeLessThanOrEqual(25.001);
    expect(Math.max(...errors.slice(32))).toBeLessThanOrEqual(0.00501);
    expect(Math.max(...errors)).toBeGreaterThan(10);
    expect(y[31]).toBeCloseTo(50, 12);
  }
});

test("a block of zeros stays zero in integers", () => {
  const weight = tensor(range(32), { dtype: "i8", shape: [1, 32] });
  const x = tensor(new Float32Array(32), { shape: [1, 32] });
  const y = quantizedMatmul(x, weight, tensor([[1]]), { bits: 8, activations: "int8" });
  expect(numbers(y)).toEqual([0]);
});

test("errors say what does not fit", () => {
  const x = tensor(new Float32Array(32), { shape: [1, 32] });
  const i8 = tensor(new Int8Array(64), { shape: [2, 32] });
  const u8 = tensor(new Uint8Array(32), { shape: [2, 16] });
  const scales = tensor([[1], [1]]);
  expect(() => quantizedMatmul(x, u8, scales, { bits: 8 })).toThrow(
    "quantizedMatmul: expected weight of dtype i8 for 8 bits, got u8; codes of 8 bits are signed",
  );
  expect(() => quantizedMatmul(x, i8, scales, { bits: 4 })).toThrow("weight of dtype u8 for 4 bits");
  expect(() => quantizedMatmul(x, i8, scales, { bits: 2 as 4 })).toThrow("bits to be 8 or 4, got 2");
  expect(() => quantizedMatmul(x, u8, scales, { bits: 4, groupSize: 12 })).toThrow(
    "groupSize to be in = 32 or a multiple of 8 that divides it, got 12",
  );
  expect(() => quantizedMatmul(x, u8, scales, { bits: 4, groupSize: 16 })).toThrow(
    "scales of shape [2, 2], one per 16 of the 32 columns of each row, got [2, 1]",
  );
  expect(() => quantizedMatmul(x, u8, scales, { bits: 4, mins: tensor([1]) })).toThrow(
    "mins of shape [2, 1]",
  );
  expect(() => quantizedMatmul(tensor([1, 2]), u8, scales, { bits: 4 })).toThrow(
    "x of shape [..., 32] for a weight of 2 rows and 32 columns, got [1, 2]",
  );
  expect(() => quantizedMatmul(tensor(1), u8, scales, { bits: 4 })).toThrow("got a scalar");
  expect(() =>
    quantizedMatmul(x, u8, tensor(new Float32Array(8), { shape: [2, 4] }), {
      bits: 4,
      groupSize: 8,
      activations: "int8",
    }),
  ).toThrow("groupSize to be a multiple of 32 for activations in int8, got 8");
  expect(() => dequantize(i8, tensor([[1, 2]]), { bits: 8 })).toThrow(
    "dequantize: expected scales of shape [2, 1]",
  );
});
