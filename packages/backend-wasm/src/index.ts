export { wasm } from "./backend.js";
export type { WasmBackend, WasmOptions } from "./backend.js";
export type { ProfileRow, ProfileSpan, ProfileTimeline } from "./profile.js";
export { type ChromeTrace, type ChromeTraceEvent, chromeTrace, formatProfile } from "./profile-format.js";
