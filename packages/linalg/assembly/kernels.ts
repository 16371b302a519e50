// Numbers of the kernels, word 1 of their arguments. Plain TypeScript and plain AssemblyScript: the emitters import it too.

export const LIST = 0;
export const INSPECT = 1;
export const REPORT = 2;
export const COPY = 3;
export const IDENTITY = 4;
export const PRODUCT = 5;
export const TRIANGULAR = 6;
export const REGULAR = 7;
export const CHOLESKY_BLOCK = 8;
export const LU_PANEL = 9;
export const LU_UPDATE = 10;
export const LU_FINISH = 11;
export const QR_PANEL = 12;
export const REFLECT_LEFT = 13;
export const REFLECT_RIGHT = 14;
export const QR_FINISH = 15;
export const QR_PIVOTED = 16;
export const BLOCK_FACTORS = 17;
export const TRIDIAGONAL_COLUMN = 18;
export const SYMMETRIC_VECTOR = 19;
export const BIDIAGONAL_PASS = 20;
export const BIDIAGONAL_ROW = 21;
export const VALUES = 22;
export const LEAF = 23;
export const DEFLATE = 24;
export const GATHER = 25;
export const SECULAR = 26;
export const WEIGHTS = 27;
export const VECTORS = 28;
export const MERGE = 29;
export const ORDER = 30;
export const FINISH_VECTORS = 31;
export const BISECT = 32;
export const PUT_VALUES = 33;
export const INFO = 34;
export const FREE_COLUMNS = 35;
export const FROM_ONE = 36;
export const WIDEN = 37;
export const SVD_SIGNS = 38;
export const INSPECT_PART = 39;
export const CHOLESKY_UPDATE = 40;

/** Values that one unit of BISECT brackets: four vectors, whose divisions overlap. */
export const BISECTED = 8;
/** Vectors that one unit of FINISH_VECTORS moves, so that what is transposed stays in the cache. */
export const FINISHED = 16;
