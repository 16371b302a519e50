import { expect, test } from "vitest";
import { requestDevice, webgpu } from "../src/index.js";

const GIB = 2 ** 30;

/** An adapter that gives a device only for what `accepts` takes; it notes what it was asked for. */
function gpuThat(accepts: (asked: GPUDeviceDescriptor) => boolean): {
  gpu: GPU;
  asked: GPUDeviceDescriptor[];
} {
  const asked: GPUDeviceDescriptor[] = [];
  const adapter = {
    features: new Set(["shader-f16", "timestamp-query", "texture-compression-bc"]),
    limits: {
      maxBufferSize: 4 * GIB,
      maxStorageBufferBindingSize: 2 * GIB,
      maxComputeWorkgroupStorageSize: 32768,
      maxComputeInvocationsPerWorkgroup: 1024,
      maxComputeWorkgroupSizeX: 1024,
      maxStorageBuffersPerShaderStage: 10,
      maxTextureDimension2D: 16384,
    },
    async requestDevice(descriptor: GPUDeviceDescriptor) {
      asked.push(descriptor);
      if (!accepts(descriptor)) throw new Error("no");
      return { descriptor } as unknown as GPUDevice;
    },
  };
  return { gpu: { requestAdapter: async () => adapter } as unknown as GPU, asked };
}

test("a device is asked for with what the adapter has of what kernels use", async () => {
  const { gpu, asked } = gpuThat(() => true);
  await requestDevice(gpu);
  expect(asked).toHaveLength(1);
  expect(asked[0]!.requiredFeatures).toEqual(["shader-f16", "timestamp-query"]);
  expect(asked[0]!.requiredLimits).toMatchObject({
    maxBufferSize: 4 * GIB,
    maxStorageBuffersPerShaderStage: 10,
  });
  expect(asked[0]!.requiredLimits).not.toHaveProperty("maxTextureDimension2D");
});

test("an adapter that does not keep what it promises is asked for less, down to what every device has", async () => {
  const sizeOf = (d: GPUDeviceDescriptor) => (d.requiredLimits?.["maxBufferSize"] as number | undefined) ?? 0;
  const modest = gpuThat((d) => sizeOf(d) <= GIB);
  await requestDevice(modest.gpu);
  expect(modest.asked.map(sizeOf)).toEqual([4 * GIB, GIB]);
  const bare = gpuThat((d) => !d.requiredFeatures && !d.requiredLimits);
  await requestDevice(bare.gpu);
  expect(bare.asked).toHaveLength(4);
});

test("no adapter, no device and no WebGPU are told apart, with what to do", async () => {
  const none = { requestAdapter: async () => null } as unknown as GPU;
  await expect(requestDevice(none)).rejects.toMatchObject({
    code: "LOWRANK_DEVICE",
    expected: "a GPU adapter",
  });
  await expect(requestDevice(gpuThat(() => false).gpu)).rejects.toMatchObject({
    expected: "a device of the adapter",
  });
  await expect(requestDevice(undefined)).rejects.toMatchObject({ expected: "navigator.gpu" });
});

test.each([
  [{ maxMemoryBytes: 5 }, "maxMemoryBytes"],
  [{ submitMs: 0 }, "submitMs"],
])("options are checked before a device is asked for: %j", async (options, name) => {
  await expect(webgpu(options)).rejects.toMatchObject({
    code: "LOWRANK_CONFIG",
    expected: expect.stringContaining(name),
  });
});
