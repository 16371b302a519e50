import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { add, cast, evaluate, matmul, mul, relu, slice, type Tensor } from "@lowrank/tensor";
import type { WebGpuBackend } from "../src/index.js";
import { drawn, expectClose, numbers, product, start } from "./kernels-harness.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

let backend: WebGpuBackend;

/** Both families of variants. */
const kinds = [
  ["registers", true],
  ["workgroup memory", false],
] as const;

const T = (x: Tensor, yes: boolean): Tensor => (yes ? x.T : x);

/** [M, K, N], and which operands are turned: tiles that fit, edges, odd lengths, narrow and low results, cut depths. */
const shapes = [
  [64, 32, 64, "nn nt tn tt"],
  [36, 18, 70, "nn tt"],
  [29, 44, 31, "nt tn"],
  [1, 300, 40, "nn nt"],
  [3, 64, 50, "nt"],
  [100, 260, 8, "nn tn"],
  [90, 8, 100, "nn"],
  [20, 2100, 24, "nt"],
  [130, 20, 1, "nn"],
] as const;

describe.skipIf(noGpu).each(kinds)("matmul with %s", { timeout: 300_000 }, (_, software) => {
  beforeAll(async () => void (backend = await start({ software })));
  afterAll(() => backend.dispose());

  test.each(shapes)("%i x %i x %i, %s", async (M, K, N, turns) => {
    for (const turn of turns.split(" ")) {
      const [ta, tb] = [turn[0] === "t", turn[1] === "t"];
      const a = drawn(ta ? [K, M] : [M, K], 1);
      const b = drawn(tb ? [N, K] : [K, N], 2);
      const [x, y] = [T(a, ta), T(b, tb)];
      const wanted = product(await numbers(x), await numbers(y), M, N, K);
      expectClose(await numbers(matmul(x, y)), wanted, K);
    }
  });

  test("a batch with one operand shared, or both of their own, and views that begin anywhere", async () => {
    const [M, K, N] = [20, 24, 28];
    const a = drawn([3, 2, M, K], 3);
    const b = drawn([2, K, N], 4);
    const wide = drawn([K + 1, N + 3], 5);
    const inner = slice(wide, [
      [1, K + 1],
      [3, N + 3],
    ]);
    const [av, bv, iv] = [await numbers(a), await numbers(b), await numbers(inner)];
    const own = await numbers(matmul(a, b));
    const shared = await numbers(matmul(a, inner));
    const rows = await numbers(
      matmul(
        slice(a, [
          [0, 3],
          [0, 2],
          [0, 1],
        ]),
        b,
      ),
    );
    for (let m = 0; m < 6; m++) {
      const left = av.subarray(m * M * K, (m + 1) * M * K);
      const right = bv.subarray((m % 2) * K * N, ((m % 2) + 1) * K * N);
      expectClose(own.subarray(m * M * N, (m + 1) * M * N), product(left, right, M, N, K), K);
      expectClose(shared.subarray(m * M * N, (m + 1) * M * N), product(left, iv, M, N, K), K);
      expectClose(rows.subarray(m * N, (m + 1) * N), product(left, right, 1, N, K), K);
    }
  });

  test("halves in, halves out", async () => {
    for (const dtype of ["f16", "bf16"] as const) {
      for (const N of dtype === "f16" ? [24, 26] : [24]) {
        const [a, b] = [cast(drawn([20, 36], 6), dtype), cast(drawn([36, N], 7), dtype)];
        const wanted = product(await numbers(cast(a, "f32")), await numbers(cast(b, "f32")), 20, N, 36);
        const step = dtype === "f16" ? 2 ** -10 : 2 ** -7;
        expectClose(await numbers(cast(matmul(a, b), "f32")), wanted, 36, step);
        expectClose(await numbers(matmul(cast(a, "f32"), b)), wanted, 36);
      }
    }
  });

  test("what follows by elements is done where the product is stored", async () => {
    for (const [M, K, N] of [
      [40, 20, 36],
      [2, 600, 64],
      [24, 1100, 32],
    ] as const) {
      const [a, b, bias, c] = [drawn([M, K], 8), drawn([K, N], 9), drawn([N], 10), drawn([M, N], 11)];
      const wanted = product(await numbers(a), await numbers(b), M, N, K);
      const [bv, cv] = [await numbers(bias), await numbers(c)];
      const finished = wanted.map((v, i) => Math.max(v + bv[i % N]!, 0) * 0.5 + cv[i]!);
      const y = relu(matmul(a, b).add(bias)).mul(0.5).add(c);
      expectClose(await numbers(y), finished, K);
    }
  });
});

test.skipIf(noGpu)("a product with its epilogue is one dispatch", async () => {
  backend = await start({ software: true });
  const [a, b, bias] = [drawn([40, 20], 8), drawn([20, 36], 9), drawn([36], 10)];
  await evaluate(a, b, bias);
  const before = backend.pipelines;
  await evaluate(mul(add(matmul(a, b), bias), 3));
  expect(backend.pipelines - before).toBe(1);
  backend.dispose();
});
