import { matmul, normal, tensor, type Tensor, key, zeros } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { quantizeWeight } from "./quantize-weight.js";

const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

describe.each([4, 8] as const)("%s bits", (bits) => {
  const W = normal([6, 32], { key: key(1) });

  test("are at most half a scale off, and the largest of a group is met", async () => {
    const coded = await quantizeWeight(W, { bits, groupSize: 8 });
    const [w, q, scales] = [await read(W), await read(coded.dense()), await read(coded.scales)];
    for (const [i, x] of w.entries())
      expect(Math.abs(x - q[i]!)).toBeLessThanOrEqual(0.5001 * scales[Math.floor(i / 8)]!);
    const peak = (v: number[], g: number): number =>
      Math.max(...v.slice(8 * g, 8 * g + 8).map(bits === 8 ? Math.abs : Number));
    for (let g = 0; g < 24; g++) expect(peak(q, g)).toBeCloseTo(peak(w, g), 5);
    expect(coded.sizeBytes).toBe((6 * 32 * bits) / 8 + 4 * 24 * (bits === 8 ? 1 : 2));
  });

  test("of numbers that codes can have give those numbers", async () => {
    const first = (await quantizeWeight(W, { bits, groupSize: 16 })).dense();
    const again = (await quantizeWeight(first, { bits, groupSize: 16 })).dense();
    const [a, b] = [await read(first), await read(again)];
    for (const [i, x] of a.entries()) expect(b[i]).toBeCloseTo(x, 5);
  });

  test("multiply as the matrix that they stand for, and zeros stay zeros", async () => {
    const coded = await quantizeWeight(W, { bits });
    const x = normal([3, 32], { key: key(2) });
    const [y, want] = [await read(coded.product(x)), await read(matmul(x, coded.dense().T))];
    for (const [i, v] of want.entries()) expect(y[i]).toBeCloseTo(v, 4);
    expect(await read((await quantizeWeight(zeros([2, 32]), { bits })).dense())).toEqual(
      new Array(64).fill(0),
    );
  });
});

test("halves go to the even code", async () => {
  // scale 1 and min 0 for 4 bits
  const W = tensor([0, 15, 0.5, 1.5, 2.5, 3.5, 4, 5], { shape: [1, 8], dtype: "f32" });
  const coded = await quantizeWeight(W, { bits: 4, groupSize: 8 });
  expect(await read(coded.dense())).toEqual([0, 15, 0, 2, 2, 4, 4, 5]);
});

test("a group that does not divide the row is refused", async () => {
  await expect(quantizeWeight(zeros([2, 24]), { bits: 4 })).rejects.toThrow(
    /a groupSize that divides in, got \[2, 24\] and 32/,
  );
});
