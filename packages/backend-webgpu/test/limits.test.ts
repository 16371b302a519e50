import {
  type Assignment,
  any,
  argmax,
  cast,
  concat,
  crossEntropy,
  cumsum,
  evaluate,
  gradients,
  gt,
  layerNorm,
  matmul,
  type Parameter,
  parameter,
  rmsNorm,
  setDefaultBackend,
  softmax,
  take,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { difference, reference, runOn } from "@lowrank/tensor/testing";
import { dawn } from "@lowrank/backend-dawn";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type WebGpuBackend, webgpu } from "../src/index.js";
import { FaultyDevice } from "./faulty-device.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

/** A device that says it can bind no more than this, so that small tensors are large ones. */
const LIMIT = 32768;

describe.skipIf(noGpu !== null)("tensors above the limit of a binding", () => {
  let owner: Awaited<ReturnType<typeof dawn>>;
  let backend: WebGpuBackend;
  let largest = 0;
  beforeAll(async () => {
    owner = await dawn();
    const fault = new FaultyDevice(owner.device, {
      maxStorageBufferBindingSize: LIMIT,
      maxBufferSize: 1 << 24,
    });
    fault.hooks = {
      createBindGroup(real, descriptor) {
        for (const { resource } of descriptor.entries) {
          const { size, offset = 0 } = resource as GPUBufferBinding;
          largest = Math.max(largest, size!);
          expect(offset % 256).toBe(0);
        }
        return real.createBindGroup(descriptor);
      },
    };
    backend = await webgpu({ device: fault.device, validate: true });
  });
  afterAll(async () => {
    backend?.dispose();
    await owner?.dispose();
  });

  const wave = (...shape: number[]): Tensor =>
    tensor(
      Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(i * 1.7)),
      { shape },
    );
  const half = (...shape: number[]): Tensor => cast(wave(...shape), "f16");
  const ids = (count: number, below: number): Tensor =>
    tensor(Int32Array.from({ length: count }, (_, i) => (i * 7919) % below));
  /** The results and the gradients with respect to the inputs, given an arriving gradient that differs by element. */
  const withGradients = (f: (...x: Parameter[]) => Tensor, ...inputs: Tensor[]): Tensor[] => {
    const x = inputs.map((t) => parameter(t));
    const y = f(...x);
    return [y, ...gradients(y.mul(wave(...y.shape)).sum(), x)];
  };

  test.each<[string, () => (Tensor | Assignment)[]]>([
    [
      "a chain of element-wise ops with a row and a column",
      () => [wave(201, 123).mul(2).add(wave(123)).exp().sub(wave(201, 1))],
    ],
    [
      "a view that begins in the middle and runs back",
      () => [
        wave(30_001)
          .slice([[3, 29_000, 1]])
          .mul(2),
      ],
    ],
    ["halves and bytes", () => [half(333, 99).mul(3), gt(wave(200, 345), 0), cast(wave(40_007), "i8")]],
    [
      "sums over either axis and all",
      () => [wave(301, 61).sum(0), wave(301, 61).sum(1), wave(40_003).sum(), half(301, 161).mean(0)],
    ],
    [
      "largest values and a mask",
      () => [wave(301, 61).max(0), any(gt(wave(70_001), 2)), wave(301, 61).square().min()],
    ],
    [
      "a sum beside the values that are summed",
      () => {
        const e = wave(160, 96).exp();
        return [e, e.sum(0), e.sum(1)];
      },
    ],
    [
      "an update in place",
      () => {
        const p = parameter(wave(160, 96));
        return [p.assign(p.sub(wave(160, 96).mul(0.1)))];
      },
    ],
    ["a tall product", () => [matmul(wave(401, 64), wave(64, 32))]],
    [
      "a product with a large weight as layers have it",
      () => [matmul(wave(3, 48), wave(700, 48).T), matmul(wave(2, 5, 48), wave(904, 48).T)],
    ],
    ["a product along many rows of B", () => [matmul(wave(5, 600), wave(600, 40))]],
    [
      "a product of a turned matrix, as for the gradient of a weight",
      () => [matmul(wave(512, 40).T, wave(512, 56))],
    ],
    ["a large product with what follows it", () => [matmul(wave(192, 16), wave(16, 192)).mul(0.5).exp()]],
    [
      "a batch of products",
      () => [matmul(wave(9, 32, 40), wave(9, 40, 32)), matmul(wave(2, 9, 32, 40), wave(40, 32))],
    ],
    ["softmax and its gradient", () => withGradients((x) => softmax(x), wave(400, 37))],
    [
      "norms and their gradients",
      () => [
        ...withGradients((x, w) => rmsNorm(x, w), wave(400, 40), wave(40)),
        ...withGradients((x, w, b) => layerNorm(x, w, b), wave(400, 40), wave(40), wave(40)),
      ],
    ],
    [
      "cross-entropy and its gradient",
      () => withGradients((x) => crossEntropy(x, ids(300, 50)), wave(300, 50)),
    ],
    [
      "rows of a large table and the gradient of the table",
      () => withGradients((x) => take(x, ids(77, 900)), wave(900, 24)),
    ],
    ["many rows of a table", () => [take(wave(50, 32), ids(600, 50))]],
  ])("%s", async (_, build) => {
    largest = 0;
    const expected = await runOn(reference(), build);
    const got = await runOn(backend, build);
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThanOrEqual(LIMIT);
    for (const [i, result] of expected.entries()) {
      const long = { rtol: 1e-4, atol: 1e-4 };
      expect(difference(got[i]!, result, { ...long }), `result ${i}`).toBeNull();
    }
  });

  test.each<[string, () => Tensor, RegExp]>([
    [
      "cumsum",
      () => cumsum(wave(10_001), 0),
      /^cumsum of 10001 on webgpu: expected to see at most 32768 bytes .* got 400\d\d bytes in shape \[10001\] of f32; split/,
    ],
    ["argmax", () => argmax(wave(2, 9001), 1), /^argmax of 2×9001 on webgpu/],
    ["a view that turns", () => wave(101, 203).T.add(1), /^add over 203×101 on webgpu/],
    [
      "a row that is too large by itself",
      () => softmax(wave(2, 9001)),
      /^softmax of 2×9001 on webgpu: .* 72016 bytes in shape \[2, 9001\]/,
    ],
    ["concat", () => concat([wave(6000), wave(6000)], 0), /^concat of 6000, 6000 on webgpu/],
    [
      "more than the largest buffer",
      () => wave(3).reshape([3, 1]).add(wave(1, 2_000_000)),
      /at most 16777216 bytes.* in shape \[3, 2000000\] of f32/,
    ],
    [
      "more temporaries than the largest buffer",
      () => softmax(wave(50_000, 1).mul(wave(1, 100))).sum(),
      /at most 16777216 bytes of temporaries/,
    ],
    [
      "more than 2^31 elements",
      () =>
        zeros([3, 2 ** 30])
          .add(1)
          .sum(),
      /a result of at most 2147483648 elements.* 3221225472 in shape \[3, 1073741824\]/,
    ],
  ])("what can not be split is refused before anything runs: %s", async (_, build, message) => {
    setDefaultBackend(backend);
    const { ownedBytes } = backend.memory();
    await expect(evaluate(build())).rejects.toThrow(message);
    expect(backend.memory().ownedBytes).toBeLessThanOrEqual(ownedBytes);
    expect([...(await tensor([1]).add(1).data())]).toEqual([2]);
  });

  test("more workgroups than one dimension has lie in two", async () => {
    const many = await webgpu({
      device: new FaultyDevice(owner.device, { maxComputeWorkgroupsPerDimension: 7 }).device,
    });
    const build = (): Tensor[] => [
      wave(123, 457).mul(2),
      softmax(wave(100, 9)),
      matmul(wave(300, 4), wave(4, 300)),
    ];
    const expected = await runOn(reference(), build);
    const got = await runOn(many, build);
    for (const [i, result] of expected.entries()) {
      expect(difference(got[i]!, result, { rtol: 1e-5, atol: 1e-5 })).toBeNull();
    }
    many.dispose();
  });

  test("tensors without elements", async () => {
    const build = (): Tensor[] => [
      wave(0, 5).add(1),
      wave(0, 5).sum(),
      wave(0, 5).sum(0),
      matmul(wave(3, 0), wave(0, 2)),
      softmax(wave(0, 4)),
      concat([wave(0, 2), wave(1, 2)], 0),
    ];
    const expected = await runOn(reference(), build);
    const got = await runOn(backend, build);
    for (const [i, result] of expected.entries())
      expect(Array.from(got[i]!.data)).toEqual(Array.from(result.data));
  });
});
