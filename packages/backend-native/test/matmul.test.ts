import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Backend,
  type DType,
  evaluate,
  flip,
  gradients,
  matmul,
  quantizedMatmul,
  setDefaultBackend,
  slice,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import type { NativeBackend } from "../src/index.js";
import { blas, noBlas } from "./blas.js";

let seed = 1;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};

type View = "rows" | "columns" | "part" | "flipped" | "shared";

/** A function that makes one batch of matrices, on whichever backend is the default when it is called. */
function operand(batch: number[], rows: number, columns: number, view: View, dtype: DType): () => Tensor {
  const [r, c] =
    view === "columns" ? [columns, rows] : view === "part" ? [rows + 3, columns + 5] : [rows, columns];
  const shape = [...(view === "shared" ? [] : batch), r, c];
  const numbers = Float64Array.from({ length: shape.reduce((x, y) => x * y, 1) }, random);
  return () => {
    const t = tensor(dtype === "f64" ? numbers : Float32Array.from(numbers), { shape }).astype(dtype);
    if (view === "columns") return t.T;
    if (view === "part") return slice(t, [...batch.map(() => null), [1, rows + 1], [2, columns + 2]]);
    return view === "flipped" ? flip(t, [-2]) : t;
  };
}

/** a aᵀ: aᵀ a of a matrix whose columns lie together. */
async function gram(on: Backend, make: () => Tensor): Promise<ArrayLike<number>> {
  setDefaultBackend(on);
  const a = make();
  return (await matmul(a, a.T).data()) as ArrayLike<number>;
}

const VIEWS: View[] = ["rows", "columns", "part", "flipped"];

describe.skipIf(noBlas)("products by the library", () => {
  const plain = reference();
  let backend: NativeBackend;
  beforeAll(async () => {
    backend = await blas({ threads: 2, always: true });
  });
  afterAll(() => backend.dispose());

  async function check(a: () => Tensor, b: () => Tensor, what: string): Promise<void> {
    const results: ArrayLike<number>[] = [];
    let dtype: DType = "f32";
    let K = 0;
    for (const on of [backend, plain]) {
      setDefaultBackend(on);
      const left = a();
      K = left.shape.at(-1)!;
      const product = matmul(left, b());
      dtype = product.dtype;
      results.push((await product.data()) as ArrayLike<number>);
    }
    const [got, want] = results as [ArrayLike<number>, ArrayLike<number>];
    expect(got.length).toBe(want.length);
    const tolerance = (K + 2) * (dtype === "f64" ? 2 ** -52 : 2 ** -23);
    const last =
      dtype === "f16" ? 2 ** -10 : dtype === "bf16" ? 2 ** -7 : dtype === "f32" ? 2 ** -23 : 2 ** -52;
    for (let i = 0; i < want.length; i++) {
      const error = Math.abs(got[i]! - want[i]!);
      if (!(error <= tolerance + last * Math.abs(want[i]!)))
        throw new Error(`${what}: element ${i}: got ${got[i]}, want ${want[i]}, tolerance ${tolerance}`);
    }
  }

  // biome-ignore format: M, K, N
  const SHAPES: [number, number, number][] = [
    [1, 1, 1], [1, 300, 400], [400, 300, 1], [2, 200, 200], [33, 65, 31], [64, 64, 64], [129, 257, 65], [500, 3, 500], [300, 700, 90],
  ];

  for (const [M, K, N] of SHAPES) {
    test(`[${M}, ${K}] by [${K}, ${N}] in every layout, f32 and f64`, async () => {
      for (const dtype of ["f32", "f64"] as const)
        for (const va of VIEWS)
          for (const vb of VIEWS)
            await check(
              operand([], M, K, va, dtype),
              operand([], K, N, vb, dtype),
              `${va} by ${vb} in ${dtype}`,
            );
    });
  }

  test("batches, their operands shared, in parts and turned", async () => {
    for (const dtype of ["f32", "f64"] as const)
      for (const [M, K, N] of [
        [1, 200, 300],
        [40, 50, 60],
        [130, 40, 50],
      ] as const)
        for (const va of [...VIEWS, "shared"] as const)
          for (const vb of [...VIEWS, "shared"] as const)
            await check(
              operand([3, 2], M, K, va, dtype),
              operand([3, 2], K, N, vb, dtype),
              `${va} by ${vb} in ${dtype}`,
            );
  });

  test("f16 and bf16 on either side, and results in them", async () => {
    for (const [M, K, N] of [
      [2, 5, 7],
      [33, 65, 31],
      [70, 40, 130],
    ] as const)
      for (const half of ["f16", "bf16"] as const)
        for (const va of VIEWS)
          for (const vb of VIEWS) {
            const what = `${va} by ${vb} in ${half}`;
            const [a, b] = [operand([], M, K, va, half), operand([], K, N, vb, half)];
            await check(a, b, what);
            await check(operand([], M, K, va, "f32"), b, what);
            await check(a, operand([], K, N, vb, "f32"), what);
          }
  });

  test("blocks of a matrix of halves or codes that is larger than one", async () => {
    // 8 MiB are 700 columns of 3,000 f32.
    for (const view of ["rows", "columns"] as const)
      await check(operand([], 40, 3000, "rows", "f32"), operand([], 3000, 1500, view, "bf16"), view);
    await check(operand([], 1500, 3000, "rows", "f16"), operand([], 3000, 40, "rows", "f32"), "left");
    const [K, N, groupSize] = [3072, 1536, 32];
    const numbers = (count: number): Float32Array => Float32Array.from({ length: count }, random);
    const scales = numbers((N * K) / groupSize);
    const bytes = {
      8: Int8Array.from({ length: N * K }, () => 127 * random()),
      4: new Uint8Array((N * K) / 2),
    };
    for (const i of bytes[4].keys()) bytes[4][i] = 128 + 127 * random();
    for (const bits of [8, 4] as const)
      for (const transposed of [false, true]) {
        const x = numbers(40 * (transposed ? N : K));
        const run = async (on: Backend): Promise<ArrayLike<number>> => {
          setDefaultBackend(on);
          const w = tensor(bytes[bits], { shape: [N, (K * bits) / 8] });
          const s = tensor(scales, { shape: [N, K / groupSize] });
          const input = tensor(x, { shape: [40, transposed ? N : K] });
          const y = (t: Tensor) => quantizedMatmul(t, w, s, { bits, groupSize });
          // x W is the gradient of x Wᵀ
          const other = tensor(new Float32Array(40 * K), { shape: [40, K] });
          return (await (transposed
            ? gradients(y(other), [other], input)[0]!
            : y(input)
          ).data()) as Float32Array;
        };
        const [got, want] = [await run(backend), await run(plain)];
        const largest = Array.from(want).reduce((most, v) => Math.max(most, Math.abs(v)), 0);
        for (let i = 0; i < want.length; i++)
          if (!(Math.abs(got[i]! - want[i]!) <= 1e-5 * largest))
            throw new Error(
              `${bits} bits, transposed ${transposed}, element ${i}: got ${got[i]}, want ${want[i]}`,
            );
      }
  });

  test("a matrix by its own transpose, either way round, in batches and in parts, is symmetric to the bit", async () => {
    // One part, a part and a bit, three parts; deep and shallow; batches of what does and does not lie together.
    const shapes = [
      [[], 2, 3],
      [[], 45, 300],
      [[], 515, 40],
      [[], 1100, 9],
      [[3], 70, 33],
      [[2, 3], 33, 70],
    ] as const;
    for (const dtype of ["f32", "f64"] as const)
      for (const [batch, n, K] of shapes)
        for (const view of ["rows", "columns", "part"] as const) {
          const what = `[${[...batch, n, K]}] ${view} in ${dtype}`;
          const make = operand([...batch], n, K, view, dtype);
          const [got, want] = [await gram(backend, make), await gram(plain, make)];
          expect(got.length).toBe(want.length);
          const tolerance = (K + 2) * (dtype === "f64" ? 2 ** -52 : 2 ** -23);
          for (let i = 0; i < want.length; i++) {
            const at = i % (n * n);
            const mirrored = got[i - at + (at % n) * n + Math.floor(at / n)];
            if (!(Math.abs(got[i]! - want[i]!) <= tolerance * Math.max(1, want[i]!)) || got[i] !== mirrored)
              throw new Error(
                `${what}: element ${i}: got ${got[i]}, mirrored ${mirrored}, want ${want[i]}, tolerance ${tolerance}`,
              );
          }
        }
  });

  test("operands that lie in one tensor, but are not each other's transpose", async () => {
    const numbers = Float32Array.from({ length: 2 * 60 * 60 }, random);
    const x = () => tensor(numbers, { shape: [2, 60, 60] });
    const part = (from: number, to: number) => slice(x(), [0, [from, to], null]);
    // biome-ignore format: a pair in each line
    const pairs: [string, () => Tensor, () => Tensor][] = [
      ["not turned", () => part(0, 60), () => part(0, 60)],
      ["other rows", () => part(0, 50), () => part(10, 60).T],
      ["more rows", () => part(0, 50), () => part(0, 60).T],
      ["from the end", () => part(0, 60), () => flip(part(0, 60), [-2]).T],
      ["the other matrix", x, () => flip(x(), [0]).T],
      ["one for all", x, () => part(0, 60).T],
    ];
    for (const [what, a, b] of pairs) await check(a, b, what);
  });

  test("the same bits on one thread and on three", async () => {
    const sizes = [
      [700, 500, 600],
      [1024, 1024, 64],
      [48, 2000, 3000],
      [1501, 333, 777],
    ] as const;
    const inputs = (["f32", "f64"] as const).flatMap((dtype) =>
      sizes.map(([M, K, N]) => [operand([], M, K, "rows", dtype), operand([], K, N, "columns", dtype)]),
    );
    const runs: ArrayLike<number>[][] = [];
    for (const threads of [1, 3]) {
      const one = await blas({ threads });
      setDefaultBackend(one);
      const products = inputs.map(([a, b]) => matmul(a!(), b!()));
      await evaluate(...products);
      runs.push(await Promise.all(products.map(async (p) => (await p.data()) as ArrayLike<number>)));
      one.dispose();
    }
    expect(runs[0]).toEqual(runs[1]);
  });
});
