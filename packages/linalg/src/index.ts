export { cholesky, type CholeskyOptions, choleskySolve, type SymmetricOptions } from "./cholesky.js";
export { det, logdet, type Slogdet, slogdet } from "./determinant.js";
export { type Eigh, eigh, eigvalsh } from "./eigh.js";
export { NumericalError, type NumericalErrorParts, type NumericalReason } from "./errors.js";
export { expm, type ExpmOptions } from "./expm.js";
export { CanonicalPolyadic, cpAls, type CpAlsOptions } from "./formats/cp-als.js";
export { type KroneckerShape, KroneckerSum, kronSvd } from "./formats/kron-svd.js";
export { TensorTrain, tensorTrain, type TrainRanks, type TrainTolerance } from "./formats/tensor-train.js";
export {
  hooi,
  type HooiOptions,
  hosvd,
  stHosvd,
  Tucker,
  type TuckerRanks,
  type TuckerTolerance,
} from "./formats/tucker.js";
export { Tucker2, tucker2 } from "./formats/tucker2.js";
export { fold, khatriRao, modeProduct, unfold } from "./formats/unfold.js";
export { kron, kronApply } from "./kron.js";
export { type LeastSquares, lstsq, pinv, type RankOptions } from "./least-squares.js";
export { bestRank, singularValueThreshold } from "./low-rank/best-rank.js";
export { type Factors, lowRankAdd, recompress } from "./low-rank/factored.js";
export { klsStep, type KlsOptions, type MatrixField } from "./low-rank/kls-step.js";
export { nystrom, type NystromOptions } from "./low-rank/nystrom.js";
export {
  type BlockKrylovOptions,
  blockKrylovSvd,
  type RandomizedSvd,
  randomizedSvd,
} from "./low-rank/randomized-svd.js";
export {
  type Range,
  rangeFinder,
  type RangeFinderOptions,
  type SketchOptions,
} from "./low-rank/range-finder.js";
export { StreamingSvd, type StreamingSvdOptions } from "./low-rank/streaming-svd.js";
export {
  type ByRank,
  type BySpectrum,
  reconstruct,
  truncatedSvd,
  type Truncation,
} from "./low-rank/truncation.js";
export { type InputStatistics, type WhitenedSvd, whitenedSvd } from "./low-rank/whitened-svd.js";
export { type Lu, lu } from "./lu.js";
export { fixedRank, type FixedRankTangent } from "./manifolds/fixed-rank.js";
export { grassmann } from "./manifolds/grassmann.js";
export { type CayleyOptions, stiefel, type StiefelMetric } from "./manifolds/stiefel.js";
export { conditionNumber, nuclearNorm, schattenNorm, spectralNorm } from "./measures/norms.js";
export {
  effectiveRank,
  matrixEntropy,
  type MatrixEntropyOptions,
  numericalRank,
  type NumericalRankOptions,
  participationRatio,
  stableRank,
} from "./measures/ranks.js";
export { coherence, principalAngles } from "./measures/subspaces.js";
export { newtonSchulz, type NewtonSchulzOptions } from "./newton-schulz.js";
export { type Polar, polar } from "./polar.js";
export { qr, type QrOptions } from "./qr.js";
export { type PivotedQr, qrPivoted } from "./qr-pivoted.js";
export { inverse, solve } from "./solve.js";
export { singularValues, type Svd, svd, type SvdOptions } from "./svd.js";
export { expmSymmetric, invSqrtm, logm, sqrtm } from "./symmetric-functions.js";
export { triangularSolve, type TriangularSolveOptions } from "./triangular-solve.js";
export {
  TensorTrainMatrix,
  tensorTrainMatrix,
  type TrainMatrixShape,
} from "./formats/tensor-train-matrix.js";
