export { wasm } from "./backend.js";
export type { WasmBackend, WasmOptions } from "./backend.js";
export type { ProfileRow } from "./profile.js";
