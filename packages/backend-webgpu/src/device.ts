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
/** The sizes among them: drivers promise more than they can give. */
const SIZES: readonly string[] = ["maxBufferSize", "maxStorageBufferBindingSize"];
const MODEST_BYTES = 1 << 30;

/** Features that kernels use where they are. */
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

export interface AdapterOptions {
  /** Which adapter to prefer where there are several. Default: "high-performance". */
  powerPreference?: GPUPowerPreference;
  /** Take the browser's software adapter. Default: false. */
  forceFallbackAdapter?: boolean;
}

/**
 * A device with the adapter's limits and features, or with fewer where the adapter does not keep what it promises.
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
  let cause: unknown;
  for (const rung of LADDER) {
    const adapter = await gpu.requestAdapter({ powerPreference, forceFallbackAdapter });
    if (!adapter) {
      throw new DeviceError({
        where: "webgpu",
        expected: "a GPU adapter",
        got: "none: no usable driver, or the GPU is on the block list of this browser",
        hint: "update the GPU's driver, or use wasm() of @lowrank/backend-wasm",
      });
    }
    try {
      return await adapter.requestDevice({ ...rung(adapter), label: "lowrank" });
    } catch (error) {
      cause ??= error; // the next rung asks for less
    }
  }
  throw new DeviceError({
    where: "webgpu",
    expected: "a device of the adapter",
    got: String(cause),
    hint: "close other pages that use the GPU, or restart the browser",
    cause,
  });
}

function limitsOf(adapter: GPUAdapter, mostBytes: number): Record<string, number> {
  return Object.fromEntries(
    WANTED.map((name) => [
      name,
      SIZES.includes(name) ? Math.min(mostBytes, adapter.limits[name]) : adapter.limits[name],
    ]),
  );
}

const featuresOf = (adapter: GPUAdapter): GPUFeatureName[] => FEATURES.filter((f) => adapter.features.has(f));

/** What is asked of an adapter, one after the other: all it has, buffers of 1 GiB, what every device has, no features. */
const LADDER: readonly ((adapter: GPUAdapter) => GPUDeviceDescriptor)[] = [
  (a) => ({ requiredFeatures: featuresOf(a), requiredLimits: limitsOf(a, Number.POSITIVE_INFINITY) }),
  (a) => ({ requiredFeatures: featuresOf(a), requiredLimits: limitsOf(a, MODEST_BYTES) }),
  (a) => ({ requiredFeatures: featuresOf(a) }),
  () => ({}),
];
