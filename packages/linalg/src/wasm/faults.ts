import type { Dims } from "@lowrank/tensor";
import * as faults from "../faults.js";

/** What assembly/args.ts notes: fault, matrix, two places, and a number of f64. */
export function faultOf(where: string, lead: Dims, words: Int32Array): Error {
  const [fault, batch, row, column] = words as unknown as [number, number, number, number];
  const value = new Float64Array(words.buffer, words.byteOffset + 16, 1)[0]!;
  switch (fault) {
    case 1:
      return faults.notFinite(where, lead, batch, row, column, value);
    case 2:
      return faults.notSymmetric(where, lead, batch, row, column, value);
    case 3:
      return faults.notPositiveDefinite(where, lead, batch, row, value);
    case 4:
      return faults.singular(where, lead, batch, row);
    case 5:
      return faults.noConvergence(where, lead, batch, row, value);
    case 6:
      return faults.notInDomain(where, lead, batch, column ? "positive" : "nonnegative", row, value);
    default:
      return new Error(`lowrank bug: ${where} failed with fault ${fault}; please report it`);
  }
}
