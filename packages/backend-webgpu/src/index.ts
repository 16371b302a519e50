export { type WebGpuBackend, type WebGpuOptions, webgpu } from "./backend.js";
export { type AdapterOptions, requestDevice } from "./device.js";
export type { TuneStore } from "./tuner.js";
export {
  type ChromeTrace,
  type ChromeTraceEvent,
  chromeTrace,
  formatProfile,
  type ProfileRow,
  type ProfileSpan,
  type ProfileTimeline,
} from "@lowrank/tensor/backend";
