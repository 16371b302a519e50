import type { Dims } from "@lowrank/tensor";
import * as numbers from "../../assembly/faults.js";
import * as faults from "../faults.js";

/** What the kernels note: fault, matrix, two places, and a number of f64. */
export function faultOf(where: string, lead: Dims, words: Int32Array): Error {
  const [fault, batch, row, column] = words as unknown as [number, number, number, number];
  const value = new Float64Array(words.buffer, words.byteOffset + 16, 1)[0]!;
  switch (fault) {
    case numbers.NOT_FINITE:
      return faults.notFinite(where, lead, batch, row, column, value);
    case numbers.NOT_SYMMETRIC:
      return faults.notSymmetric(where, lead, batch, row, column, value);
    case numbers.NOT_POSITIVE:
      return faults.notPositiveDefinite(where, lead, batch, row, value);
    case numbers.SINGULAR:
      return faults.singular(where, lead, batch, row);
    case numbers.NO_CONVERGENCE:
      return faults.noConvergence(where, lead, batch, row, value);
    case numbers.OUT_OF_DOMAIN:
      return faults.notInDomain(where, lead, batch, column ? "positive" : "nonnegative", row, value);
    default:
      return new Error(`lowrank bug: ${where} failed with fault ${fault}; please report it`);
  }
}
