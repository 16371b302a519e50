export { cholesky, type CholeskyOptions, choleskySolve, type SymmetricOptions } from "./cholesky.js";
export { type Eigh, eigh, eigvalsh } from "./eigh.js";
export { NumericalError, type NumericalErrorParts, type NumericalReason } from "./errors.js";
export { qr, type QrOptions } from "./qr.js";
export { singularValues, type Svd, svd, type SvdOptions } from "./svd.js";
export { triangularSolve, type TriangularSolveOptions } from "./triangular-solve.js";
