/**
 * What a package needs that brings kernels for its own ops which call routines of the library: an op's row has the kernel as
 * `kernels.native`. Types only.
 */
export type { Calls, Each, Lapack, NativeKernel, Routine } from "./lapack.js";
