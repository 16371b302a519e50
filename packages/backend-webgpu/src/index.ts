export { type WebGpuBackend, type WebGpuOptions, webgpu } from "./backend.js";
export { type AdapterOptions, requestDevice } from "./device.js";
export type { KernelTime } from "./profiler.js";
