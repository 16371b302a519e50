import { webgpu, type WebGpuBackend } from "@lowrank/backend-webgpu";
import { add, type DType, evaluate, mul, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { drawCase, opCases } from "@lowrank/tensor/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hold, instanceOf } from "../src/instance.js";
import { checkCase } from "./check-case.js";
import { noGpu } from "./gpu.js";

/** What every device of WebGPU has, and one that asks for nothing has no more than. */
const GUARANTEED = {
  maxBufferSize: 256 << 20,
  maxStorageBufferBindingSize: 128 << 20,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupStorageSize: 16 << 10,
} as const;

// Kernels depend on limits by the numbers of their buffers and threads, hardly by dtypes: two for each op.
const few = (dtypes: readonly DType[]): DType[] => {
  const [wide = [], narrow = []] = [
    ["f32", "i32", "u32"],
    ["f16", "u8", "bool"],
  ].map((wanted) => dtypes.filter((dtype) => wanted.includes(dtype)));
  return [...wide.slice(-1), ...narrow.slice(0, 1)];
};

describe.skipIf(noGpu)("a device with WebGPU's default limits and no features", { timeout: 300_000 }, () => {
  let device: GPUDevice;
  let backend: WebGpuBackend;
  beforeAll(async () => {
    const gpu = await instanceOf({});
    const adapter = await gpu.requestAdapter();
    device = await adapter!.requestDevice();
    hold(gpu, device);
    backend = await webgpu({ device });
  });
  afterAll(async () => {
    await backend.dispose();
    device.destroy();
  });

  test("has no more than is guaranteed", () => {
    const names = Object.keys(GUARANTEED) as (keyof typeof GUARANTEED)[];
    expect(Object.fromEntries(names.map((name) => [name, device.limits[name]]))).toEqual(GUARANTEED);
    expect(["shader-f16", "subgroups", "timestamp-query"].filter((f) => device.features.has(f))).toEqual([]);
  });

  for (const one of opCases()) {
    const dtypes = few(one.dtypes);
    test(`${one.op.name} in ${dtypes.join(", ")}`, async () => {
      for (const dtype of dtypes) await checkCase(backend, drawCase(one, dtype, 1));
    });
  }

  test("an expression of more tensors than a shader binds", async () => {
    setDefaultBackend(backend);
    const inputs = Array.from({ length: 20 }, (_, i) => tensor([i, i + 1, i + 2, i + 3, i + 4]));
    const sum = inputs.reduce<Tensor>(
      (total, x, i) => add(mul(total, 0.5), mul(x, i)),
      tensor([1, 1, 1, 1, 1]),
    );
    const wanted = [0, 1, 2, 3, 4].map((lane) =>
      inputs.reduce((total, _, i) => 0.5 * total + i * (i + lane), 1),
    );
    await evaluate(sum);
    expect([...(await sum.data())].map((x, i) => Math.abs(x / wanted[i]! - 1) < 1e-6)).not.toContain(false);
  });
});
