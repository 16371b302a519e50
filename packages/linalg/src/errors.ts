import { LowrankError } from "@lowrank/tensor";

/** What was wrong with the numbers. */
export type NumericalReason =
  | "notFinite"
  | "notSymmetric"
  | "notPositiveDefinite"
  | "singular"
  | "noConvergence";

export interface NumericalErrorParts {
  /** The function that found the fault. */
  where: string;
  expected: string;
  got: string;
  hint?: string;
  reason: NumericalReason;
  /** Which matrix of the batch: its place along the leading axes, [] when there are none. */
  batch: readonly number[];
  /** Where in the matrix: [row, column], or [pivot], [eigenvalue], ... */
  index: readonly number[];
  /** The number that was found there. */
  value: number;
}

/**
 * The shape is right, the numbers are not: NaN or infinity, no symmetry, a pivot that is not positive or is zero, an
 * iteration that does not converge. `reason` tells which; `batch`, `index` and `value` tell where. Raised when the
 * result is computed.
 */
export class NumericalError extends LowrankError {
  readonly reason: NumericalReason;
  readonly batch: readonly number[];
  readonly index: readonly number[];
  readonly value: number;

  constructor(parts: NumericalErrorParts) {
    super("LOWRANK_NUMERICAL", parts);
    this.reason = parts.reason;
    this.batch = parts.batch;
    this.index = parts.index;
    this.value = parts.value;
  }
}
