export { native } from "./native.js";
export type { NativeBackend, NativeLibrary, NativeOptions } from "./native.js";
