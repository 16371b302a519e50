import { DeviceError } from "@lowrank/tensor/backend";

/** Limits that are asked for up to what the adapter has; everything else stays at the guaranteed values. */
const WANTED = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxStorageBuffersPerShaderStage",
] as const;

/** Features that kernels use where they are. */
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

export interface AdapterOptions {
  /** Which adapter to prefer where there are several. Default: "high-performance". */
  powerPreference?: GPUPowerPreference;
  /** Take the browser's software adapter. Default: false. */
  forceFallbackAdapter?: boolean;
}

/**
 * A device with the adapter's limits and features.
 *
 * @throws DeviceError where there is no WebGPU, no adapter, or no device, with what to do
 */
export async function requestDevice(gpu: GPU | undefined, options: AdapterOptions = {}): Promise<GPUDevice> {
  if (!gpu) {
    throw new DeviceError({
      where: "webgpu",
      expected: "navigator.gpu",
      got: "an environment without WebGPU",
      hint: "use a current Chrome, Edge, Safari or Firefox over https; in Node use @lowrank/backend-dawn; or wasm() of @lowrank/backend-wasm",
    });
  }
  const { powerPreference = "high-performance", forceFallbackAdapter = false } = options;
  const adapter = await gpu.requestAdapter({ powerPreference, forceFallbackAdapter });
  if (!adapter) {
    throw new DeviceError({
      where: "webgpu",
      expected: "a GPU adapter",
      got: "none: no usable driver, or the GPU is on the block list of this browser",
      hint: "update the GPU's driver, or use wasm() of @lowrank/backend-wasm",
    });
  }
  const requiredLimits: Record<string, number> = {};
  for (const name of WANTED) requiredLimits[name] = adapter.limits[name];
  const requiredFeatures = FEATURES.filter((f) => adapter.features.has(f)) as GPUFeatureName[];
  try {
    return await adapter.requestDevice({ requiredLimits, requiredFeatures, label: "lowrank" });
  } catch (cause) {
    throw new DeviceError({
      where: "webgpu",
      expected: "a device of the adapter",
      got: String(cause),
      hint: "close other pages that use the GPU, or restart the browser",
      cause,
    });
  }
}
