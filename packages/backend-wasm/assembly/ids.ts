// Numbers of the kernels. This file is plain TypeScript and plain AssemblyScript: the emitters import it too.
// Each range has its own switch: 1-31 in index.ts, 32-63 in loop-table.ts, 64 and up in kernel-table.ts.

export const MATMUL_PACK_B = 1;
export const MATMUL_TILES = 2;
export const MATMUL_THIN = 3;
export const MATMUL_SIMPLE = 4;
export const COPY_PROBE = 31;

export const FIRST_LOOP = 32;

export const FIRST_KERNEL = 64;
