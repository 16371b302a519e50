// Numbers of the kernels. This file is plain TypeScript and plain AssemblyScript: the emitters import it too.
// Each range has its own switch: 1-31 in index.ts, 32-63 in loop-table.ts, 64 and up in kernel-table.ts.

export const MATMUL_PACK_B = 1;
export const MATMUL_TILES = 2;
export const MATMUL_THIN = 3;
export const MATMUL_F64 = 4;
export const MATMUL_NARROW = 5;
export const MATMUL_ZERO = 6;
export const MATMUL_ROWS = 7;
/** A function of an extension; see EmitContext.linked. */
export const LINKED = 29;
export const COPY_PROBE = 31;

export const FIRST_LOOP = 32;

export const FIRST_KERNEL = 64;
export const SOFTMAX = 64;
export const SOFTMAX_BACKWARD = 65;
export const NORM = 66;
export const NORM_BACKWARD = 67;
export const CROSS_ENTROPY = 68;
export const CROSS_ENTROPY_BACKWARD = 69;
export const ATTENTION = 70;
export const ATTENTION_BACKWARD = 71;
export const ROPE = 72;
export const TAKE = 73;
export const SCATTER_ADD = 74;
export const TAKE_ALONG_AXIS = 75;
export const SCATTER_ADD_ALONG_AXIS = 76;
export const COPY_STRIDED = 77;
export const FILL_ZERO = 78;
export const UPDATE_SLICE = 79;
export const SORT = 80;
export const ARG_EXTREME = 81;
export const CUMSUM = 82;
export const IM2COL = 83;
export const COL2IM = 84;
export const SUM_PARTS = 85;
export const QUANTIZED_PREPARE = 86;
export const QUANTIZED_THIN = 87;
export const QUANTIZED_PACK = 88;
