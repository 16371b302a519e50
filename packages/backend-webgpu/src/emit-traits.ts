/** What kernels want to know of a device to choose between variants of one result. */
export interface Traits {
  /** The GPU is a CPU in disguise: workgroup memory and barriers cost there, and caches are large. */
  readonly software: boolean;
  readonly subgroups: boolean;
  /** Bytes of workgroup memory that one workgroup may have. */
  readonly workgroupBytes: number;
  /** Storage buffers that one shader may bind. */
  readonly buffers: number;
}

export function traitsOf(device: GPUDevice): Traits {
  const { features, limits } = device;
  return {
    software: isSoftware(device),
    subgroups: features.has("subgroups"),
    workgroupBytes: limits.maxComputeWorkgroupStorageSize,
    buffers: limits.maxStorageBuffersPerShaderStage,
  };
}

function isSoftware(device: GPUDevice): boolean {
  const info = (device as { adapterInfo?: GPUAdapterInfo }).adapterInfo; // older browsers have none
  return (
    info?.isFallbackAdapter === true || /swiftshader|llvmpipe/i.test(`${info?.architecture} ${info?.device}`)
  );
}
