import { roundTo } from "../dtype.js";
import { bug } from "../errors.js";
import { scalarFunction } from "../reference/scalar.js";
import type { ScalarSource } from "./ir.js";

/**
 * A function that computes the scalars of a plan on the host, each as its dtype demands: from the caller's slots, from
 * constants, and from formulas of scalars before them.
 */
export function scalarProgram(
  sources: readonly ScalarSource[],
): (slots: Float64Array, out: Float64Array) => void {
  const steps = sources.map((source) => stepOf(source, sources));
  return (slots, out) => {
    for (let i = 0; i < steps.length; i++) out[i] = steps[i]!(slots, out);
  };
}

type Step = (slots: Float64Array, out: Float64Array) => number;

function stepOf(source: ScalarSource, all: readonly ScalarSource[]): Step {
  if (source.kind === "constant") {
    const value = roundTo(source.dtype, source.value);
    return () => value;
  }
  if (source.kind === "slot") return (slots) => roundTo(source.dtype, slots[source.slot]!);
  const { op, dtype, sources: at } = source;
  if (!op.scalar) bug(`${op.name} has no formula for one number`);
  const sourceDtypes = at.map((s) => all[s]!.dtype);
  const f = scalarFunction(op, dtype, sourceDtypes, true);
  return (_, out) => f(...at.map((s) => out[s]!));
}
