export type { Calls, Each, Lapack, NativeKernel, Routine } from "./lapack.js";
export { native } from "./native.js";
export type { NativeBackend, NativeLibrary, NativeOptions } from "./native.js";
