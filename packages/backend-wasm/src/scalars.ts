import { type DType, isFloat } from "@lowrank/tensor/backend";
import type { Heap } from "./heap.js";

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
