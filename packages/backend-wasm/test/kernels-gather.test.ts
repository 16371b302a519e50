import { type DType, roundTo } from "@lowrank/tensor/backend";
import { afterAll, beforeAll, describe, test } from "vitest";
import { dense, expectClose, Machines, Numbers, sizeOf, stepOf } from "./kernel-case.js";

let machines: Machines;
beforeAll(async () => {
  machines = await Machines.create();
});
afterAll(() => machines.dispose());

const numbers = new Numbers(3);
const DTYPES: readonly DType[] = ["f32", "f16", "bf16", "f64", "i32", "u32", "i8", "u8", "bool"];
const SUMMABLE = DTYPES.filter((dtype) => dtype !== "bool");

/** Integers of all sizes, so that their sums wrap. */
function values(count: number, dtype: DType): number[] {
  if (dtype === "bool") return numbers.integers(count, 2);
  if (dtype === "u8") return numbers.integers(count, 256);
  if (dtype === "i8") return numbers.integers(count, 256).map((v) => v - 128);
  if (dtype === "u32") return numbers.integers(count, 2 ** 32);
  if (dtype === "i32") return numbers.integers(count, 2 ** 32).map((v) => v - 2 ** 31);
  return numbers.list(count, dtype);
}

/** A sum as the dtype keeps it. */
function wrapped(dtype: DType, sum: number): number {
  if (dtype === "i32") return Number(BigInt.asIntN(32, BigInt(sum)));
  if (dtype === "u32") return Number(BigInt.asUintN(32, BigInt(sum)));
  if (dtype === "i8") return (sum << 24) >> 24;
  return dtype === "u8" ? sum & 255 : roundTo(dtype, sum);
}

/** Indices of which some lie outside 0 .. n-1. */
const indicesInto = (n: number, count: number): number[] => numbers.integers(count, n + 2).map((i) => i - 1);

// [A.., n, B..] as outer, n, inner, with the number of indices
const SHAPES = [
  [1, 5, 8, 12],
  [1, 50, 1, 70],
  [3, 4, 5, 7],
  [2, 1, 3, 4],
  [1, 300, 64, 900],
  [4, 3, 1, 2],
  [2, 3, 4, 0],
  [2, 0, 4, 3],
  [1, 20, 700, 30],
] as const;

describe("take and scatterAdd", () => {
  for (const dtype of DTYPES) {
    test(`take ${dtype}`, () => {
      for (const [outer, n, inner, count] of SHAPES) {
        const x = values(outer * n * inner, dtype);
        const indices = indicesInto(n, count);
        const [y] = machines.run(
          "take",
          { axis: 1 },
          [dense(dtype, [outer, n, inner], x), dense("i32", [count], indices)],
          [{ dtype, dims: [outer, count, inner] }],
        );
        const want = Array.from({ length: outer * count * inner }, (_, at) => {
          const [a, i, b] = [Math.floor(at / (count * inner)), Math.floor(at / inner) % count, at % inner];
          const j = indices[i]!;
          return j >= 0 && j < n ? x[(a * n + j) * inner + b]! : 0;
        });
        expectClose(`take [${outer}, ${n}, ${inner}] at ${count}`, y!, want, 0);
      }
    });
  }

  for (const dtype of SUMMABLE) {
    test(`scatterAdd ${dtype}`, () => {
      for (const [outer, size, inner, count] of SHAPES) {
        const updates = values(outer * count * inner, dtype);
        const indices = indicesInto(size, count);
        const [y] = machines.run(
          "scatterAdd",
          { axis: 1, size },
          [dense("i32", [count], indices), dense(dtype, [outer, count, inner], updates)],
          [{ dtype, dims: [outer, size, inner] }],
        );
        const want = new Float64Array(outer * size * inner);
        for (let a = 0; a < outer; a++)
          for (let i = 0; i < count; i++) {
            const j = indices[i]!;
            if (j < 0 || j >= size) continue;
            for (let b = 0; b < inner; b++)
              want[(a * size + j) * inner + b]! += updates[(a * count + i) * inner + b]!;
          }
        want.set(want.map((sum) => wrapped(dtype, sum)));
        expectClose(
          `scatterAdd [${outer}, ${size}, ${inner}] of ${count}`,
          y!,
          want,
          stepOf(dtype),
          10 * stepOf(dtype === "f64" ? "f64" : "f32"),
        );
      }
    });
  }
});

describe("takeAlongAxis and scatterAddAlongAxis", () => {
  for (const dtype of DTYPES) {
    test(`takeAlongAxis ${dtype}`, () => {
      for (const [outer, n, inner, m] of SHAPES) {
        const x = values(outer * n * inner, dtype);
        const indices = indicesInto(n, outer * m * inner);
        const [y] = machines.run(
          "takeAlongAxis",
          { axis: 1 },
          [dense(dtype, [outer, n, inner], x), dense("i32", [outer, m, inner], indices)],
          [{ dtype, dims: [outer, m, inner] }],
        );
        const want = indices.map((j, at) => {
          const [a, b] = [Math.floor(at / (m * inner)), at % inner];
          return j >= 0 && j < n ? x[(a * n + j) * inner + b]! : 0;
        });
        expectClose(`takeAlongAxis [${outer}, ${n}, ${inner}] at ${m}`, y!, want, 0);
      }
    });
  }

  for (const dtype of SUMMABLE) {
    test(`scatterAddAlongAxis ${dtype}`, () => {
      for (const [outer, size, inner, m] of SHAPES) {
        const dims = [outer, m, inner];
        const updates = values(sizeOf(dims), dtype);
        const indices = indicesInto(size, sizeOf(dims));
        const [y] = machines.run(
          "scatterAddAlongAxis",
          { axis: 1, size },
          [dense("i32", dims, indices), dense(dtype, dims, updates)],
          [{ dtype, dims: [outer, size, inner] }],
        );
        const want = new Float64Array(outer * size * inner);
        updates.forEach((v, at) => {
          const [a, b, j] = [Math.floor(at / (m * inner)), at % inner, indices[at]!];
          if (j >= 0 && j < size) want[(a * size + j) * inner + b]! += v;
        });
        want.set(want.map((sum) => wrapped(dtype, sum)));
        expectClose(
          `scatterAddAlongAxis [${outer}, ${size}, ${inner}] of ${m}`,
          y!,
          want,
          stepOf(dtype),
          10 * stepOf(dtype === "f64" ? "f64" : "f32"),
        );
      }
    });
  }
});

const SPECIAL = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1, 1];

/** Rows with ties and, for floats, with NaN, infinities and both zeros. */
function sortable(rows: number, n: number, dtype: DType): number[] {
  const float = stepOf(dtype) > 0;
  const few = float ? [] : values(5, dtype);
  return Array.from({ length: rows * n }, () => {
    const [pick] = numbers.integers(1, 12);
    if (float && pick! < SPECIAL.length) return SPECIAL[pick!]!;
    return few[pick! % 5] ?? values(1, dtype)[0]!;
  });
}

function order(row: readonly number[], descending: boolean): number[] {
  return row
    .map((_, i) => i)
    .sort((i, j) => {
      const [a, b] = [row[i]!, row[j]!];
      if (Number.isNaN(a) || Number.isNaN(b))
        return Number(Number.isNaN(a)) - Number(Number.isNaN(b)) || i - j;
      return (descending ? Number(b > a) - Number(b < a) : Number(a > b) - Number(a < b)) || i - j;
    });
}

describe("sorting", () => {
  for (const dtype of DTYPES) {
    for (const descending of [false, true]) {
      test(`sort and topK of ${dtype}, ${descending ? "descending" : "ascending"}`, () => {
        for (const [rows, n, k] of [
          [1, 1, 1],
          [3, 2, 1],
          [5, 30, 30],
          [4, 49, 7],
          [3, 1500, 200],
          [2, 700, 13],
          [0, 3, 2],
          [2, 0, 0],
          [2, 5, 0],
        ] as const) {
          const x = sortable(rows, n, dtype);
          const sorted = Array.from({ length: rows }, (_, r) =>
            order(x.slice(r * n, (r + 1) * n), descending),
          );
          for (const keep of [n, k]) {
            const dims = [rows, keep];
            const arg = keep === n ? { descending } : { k, largest: descending };
            const [got, indices] = machines.run(
              keep === n ? "sort" : "topK",
              arg,
              [dense(dtype, [rows, n], x)],
              [
                { dtype, dims },
                { dtype: "i32", dims },
              ],
            );
            const want = sorted.flatMap((row) => row.slice(0, keep));
            expectClose(`indices of ${keep} of [${rows}, ${n}]`, indices!, want, 0);
            expectClose(
              "values",
              got!,
              want.map((i, at) => x[Math.floor(at / keep) * n + i]!),
              0,
            );
          }
        }
      });
    }

    test(`argmax, argmin and cumsum of ${dtype}`, () => {
      for (const [rows, n] of [
        [1, 1],
        [4, 3],
        [7, 8],
        [3, 61],
        [200, 300],
      ] as const) {
        const x = sortable(rows, n, dtype);
        for (const [name, descending] of [
          ["argmax", true],
          ["argmin", false],
        ] as const) {
          const [got] = machines.run(
            name,
            null,
            [dense(dtype, [rows, n], x)],
            [{ dtype: "i32", dims: [rows] }],
          );
          const want = Array.from({ length: rows }, (_, r) => {
            const row = x.slice(r * n, (r + 1) * n);
            const nan = row.findIndex(Number.isNaN);
            return nan >= 0 ? nan : order(row, descending)[0]!;
          });
          expectClose(`${name} [${rows}, ${n}]`, got!, want, 0);
        }
        if (dtype === "bool") continue; // summed as i32
        const y = values(rows * n, dtype);
        for (const reverse of [false, true]) {
          const [got] = machines.run(
            "cumsum",
            { reverse },
            [dense(dtype, [rows, n], y)],
            [{ dtype, dims: [rows, n] }],
          );
          const want = new Float64Array(rows * n);
          for (let r = 0; r < rows; r++) {
            let sum = 0;
            for (let i = 0; i < n; i++) {
              const at = r * n + (reverse ? n - 1 - i : i);
              want[at] = wrapped(dtype, (sum += y[at]!));
            }
          }
          expectClose(`cumsum [${rows}, ${n}]`, got!, want, stepOf(dtype), 1e-12);
        }
      }
    });
  }
});
