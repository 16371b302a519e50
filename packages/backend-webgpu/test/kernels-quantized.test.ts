import { dequantize, gradients, quantizedMatmul, tensor } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WebGpuBackend } from "../src/index.js";
import { drawn, expectClose, numbers, product, start } from "./kernels-harness.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

describe.skipIf(noGpu).each([
  ["registers", true],
  ["workgroup memory", false],
] as const)("quantizedMatmul with %s", { timeout: 300_000 }, (_, software) => {
  let backend: WebGpuBackend;
  beforeAll(async () => void (backend = await start({ software })));
  afterAll(() => backend.dispose());

  test.each([
    [8, 32, true],
    [8, 64, false],
    [4, 8, false],
    [4, 32, true],
  ] as const)("%i bits in groups of %i, mins: %s", async (bits, groupSize, hasMins) => {
    const [out, inner] = [36, 64];
    const spread = (i: number): number => (i * 37 + (i >> 4) * 11) % 256;
    const length = (out * inner * bits) / 8;
    const weight =
      bits === 8
        ? tensor(
            Int8Array.from({ length }, (_, i) => spread(i) - 128),
            { shape: [out, inner] },
          )
        : tensor(
            Uint8Array.from({ length }, (_, i) => spread(i)),
            { shape: [out, inner / 2] },
          );
    const scales = drawn([out, inner / groupSize], 2).mul(0.02);
    const mins = hasMins ? drawn([out, inner / groupSize], 3) : undefined;
    const format = { bits, groupSize, ...(mins && { mins }) };
    const w = await numbers(dequantize(weight, scales, format));
    for (const rows of [1, 40]) {
      const [x, dy] = [drawn([rows, inner], 4), drawn([rows, out], 5)];
      const y = quantizedMatmul(x, weight, scales, format);
      const [dx] = gradients(y, [x], dy);
      const wT = new Float64Array(inner * out).map((_, i) => w[(i % out) * inner + Math.floor(i / out)]!);
      const before = backend.pipelines;
      expectClose(await numbers(y), product(await numbers(x), wT, rows, out, inner), inner, 3e-6);
      expect(backend.pipelines).toBeGreaterThan(before);
      expectClose(await numbers(dx!), product(await numbers(dy), w, rows, inner, out), out, 3e-6);
    }
  });
});
