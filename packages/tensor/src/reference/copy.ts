import { contiguousStrides, type Dims, sizeOf } from "../shape.js";

/** Reads `data` at `offset + Σ strides[d] · i[d]` for every index i of `dims`, in row-major order. */
export function copyView(
  data: Float64Array,
  dims: Dims,
  offset: number,
  strides: readonly number[],
): Float64Array {
  const out = new Float64Array(sizeOf(dims));
  forEachIndex(dims, (index, at) => {
    let from = offset;
    for (let d = 0; d < dims.length; d++) from += index[d]! * strides[d]!;
    out[at] = data[from]!;
  });
  return out;
}

/** Calls `visit` with every index of `dims` in row-major order and its flat number. The index array is reused. */
export function forEachIndex(dims: Dims, visit: (index: readonly number[], at: number) => void): void {
  const size = sizeOf(dims);
  const index = new Array<number>(dims.length).fill(0);
  for (let at = 0; at < size; at++) {
    visit(index, at);
    for (let d = dims.length - 1; d >= 0; d--) {
      if (++index[d]! < dims[d]!) break;
      index[d] = 0;
    }
  }
}

/** Strides that read an array of `from` dims as the wider `to`: 0 along stretched axes. */
export function broadcastStrides(from: Dims, to: Dims): number[] {
  const own = contiguousStrides(from);
  const shift = to.length - from.length;
  return to.map((_, d) => (d < shift || from[d - shift] === 1 ? 0 : own[d - shift]!));
}
