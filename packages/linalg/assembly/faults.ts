// Numbers of faults, which src/wasm/faults.ts words. Plain TypeScript and plain AssemblyScript, as kernels.ts.

export const NOT_FINITE = 1;
export const NOT_SYMMETRIC = 2;
export const NOT_POSITIVE = 3;
export const SINGULAR = 4;
export const NO_CONVERGENCE = 5;
export const OUT_OF_DOMAIN = 6;
