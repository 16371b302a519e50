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
  const steps = sources.map((source): ((slots: Float64Array, out: Float64Array) => number) => {
    switch (source.kind) {
      case "constant": {
        const value = roundTo(source.dtype, source.value);
        return () => value;
      }
      case "slot":
        return (slots) => roundTo(source.dtype, slots[source.slot]!);
      case "formula": {
        if (!source.op.scalar) bug(`${source.op.name} has no formula for one number`);
        const at = source.sources;
        const f = scalarFunction(
          source.op,
          source.dtype,
          at.map((s) => sources[s]!.dtype),
          true,
        );
        return (_, out) => f(...at.map((s) => out[s]!));
      }
    }
  });
  return (slots, out) => {
    for (let i = 0; i < steps.length; i++) out[i] = steps[i]!(slots, out);
  };
}
