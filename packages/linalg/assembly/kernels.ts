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
export const BIDIAGONAL_COLUMN = 20;
export const BIDIAGONAL_ROW = 21;
export const COLUMNS_VECTOR = 22;
export const ROWS_VECTOR = 23;
export const VALUES = 24;
export const LEAF = 25;
export const DEFLATE = 26;
export const GATHER = 27;
export const SECULAR = 28;
export const WEIGHTS = 29;
export const VECTORS = 30;
export const MERGE = 31;
export const ORDER = 32;
export const FINISH_VECTORS = 33;
export const BISECT = 34;
export const PUT_VALUES = 35;
export const INFO = 36;
export const FREE_COLUMNS = 37;
export const FROM_ONE = 38;
export const WIDEN = 39;
export const SVD_SIGNS = 40;

/** Values that one unit of BISECT brackets: four vectors, whose divisions overlap. */
export const BISECTED = 8;
/** Vectors that one unit of FINISH_VECTORS moves, so that what is transposed stays in the cache. */
export const FINISHED = 16;
