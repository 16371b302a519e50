export { wasm } from "./backend.js";
export type { WasmBackend, WasmOptions } from "./backend.js";
export {
  type ChromeTrace,
  type ChromeTraceEvent,
  chromeTrace,
  formatProfile,
  type ProfileRow,
  type ProfileSpan,
  type ProfileTimeline,
} from "@lowrank/tensor/backend";
