import { bug, type DType, isFloat, roundTo, type ScalarSource } from "@lowrank/tensor/backend";
import type { Heap } from "./heap.js";

/** Computes the scalars of a plan from the slots that the caller filled, each rounded to its dtype. */
export function computeScalars(sources: readonly ScalarSource[], slots: Float64Array, out: Float64Array): void {
  for (let i = 0; i < sources.length; i++) {
    const source = sources[i]!;
    if (source.kind === "constant") {
      out[i] = roundTo(source.dtype, source.value);
      continue;
    }
    if (source.kind === "slot") {
      out[i] = roundTo(source.dtype, slots[source.slot]!);
      continue;
    }
    const { op } = source;
    if (!op.scalar) bug(`${op.name} has no formula for one number`);
    out[i] = roundTo(source.dtype, op.scalar(...source.sources.map((s) => out[s]!)));
  }
}

/** Writes the scalars where kernels read them: 8 bytes each from `at`, in the form that `EmitContext.scalar` states. */
export function writeScalars(heap: Heap, at: number, dtypes: readonly DType[], values: Float64Array): void {
  for (let i = 0; i < values.length; i++) {
    const dtype = dtypes[i]!;
    const address = at + 8 * i;
    if (dtype === "f64") heap.f64[address / 8] = values[i]!;
    else if (isFloat(dtype)) heap.f32[address / 4] = values[i]!;
    else heap.i32[address / 4] = values[i]! | 0; // a u32 keeps its bits
  }
}
