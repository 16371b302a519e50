/**
 * What a package needs that brings kernels for its own ops: an op's row has the kernel as `kernels.wasm`, an emitter that
 * appends commands for the functions of the package's own WebAssembly module. Types only.
 */
export type { ArgWord, EmitContext, Extension, Fixup, Kernel } from "./emit.js";
