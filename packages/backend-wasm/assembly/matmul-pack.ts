// Packing: the operands of a product are copied into panels that the tile kernels read in order, from any strides and
// from f32, f16 or bf16. The element type is told by a marker: f32, u16 for f16, i16 for bf16.
import { bf16ToF32, f16ToF32, loadBf16x4, loadF16x4 } from "./half";

// @ts-ignore: decorator
@inline
export function load1<T>(at: usize): f32 {
  if (isFloat<T>()) return load<f32>(at);
  else if (isSigned<T>()) return bf16ToF32(<u32>load<u16>(at));
  else return f16ToF32(<u32>load<u16>(at));
}

// @ts-ignore: decorator
@inline
export function load4<T>(at: usize): v128 {
  if (isFloat<T>()) return v128.load(at);
  else if (isSigned<T>()) return loadBf16x4(at);
  else return loadF16x4(at);
}

/**
 * Packs 4 lanes over `depth` steps: dst[k * dstStep + lane] = src[lane * laneStride + k * stepStride] (strides in
 * elements, `dstStep` in bytes). Lanes from `valid` on are 0.
 */
// @ts-ignore: decorator
@inline
function pack4<T>(src: usize, laneStride: i32, stepStride: i32, depth: i32, valid: i32, dst: usize, dstStep: usize): void {
  const lane = <usize>laneStride * sizeof<T>();
  const step = <usize>stepStride * sizeof<T>();
  let k = 0;
  if (valid >= 4) {
    if (laneStride == 1) {
      for (; k < depth; k++, src += step, dst += dstStep) v128.store(dst, load4<T>(src));
      return;
    }
    if (stepStride == 1) {
      for (; k + 4 <= depth; k += 4, src += 4 * sizeof<T>(), dst += 4 * dstStep) {
        const r0 = load4<T>(src);
        const r1 = load4<T>(src + lane);
        const r2 = load4<T>(src + 2 * lane);
        const r3 = load4<T>(src + 3 * lane);
        const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
        const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
        const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
        const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
        v128.store(dst, v128.shuffle<i64>(low01, low23, 0, 2));
        v128.store(dst + dstStep, v128.shuffle<i64>(low01, low23, 1, 3));
        v128.store(dst + 2 * dstStep, v128.shuffle<i64>(high01, high23, 0, 2));
        v128.store(dst + 3 * dstStep, v128.shuffle<i64>(high01, high23, 1, 3));
      }
    }
  }
  for (; k < depth; k++, src += step, dst += dstStep) {
    for (let i = 0; i < 4; i++) store<f32>(dst + (<usize>i << 2), i < valid ? load1<T>(src + <usize>i * lane) : 0);
  }
}

/** Panels of 4 rows: each holds `whole` groups of 4, one after the other, of which `depth` are written. */
function packRowsOf<T>(src: usize, rowStride: i32, stepStride: i32, rows: i32, depth: i32, dst: usize, whole: i32): void {
  let row = 0;
  const panel = <usize>whole << 4;
  if (rowStride == 1) {
    // Sixteen rows are one cache line: at strides that are powers of two it would be gone by the next panel.
    const step = <usize>stepStride * sizeof<T>();
    for (; row + 16 <= rows; row += 16, dst += 4 * panel) {
      let at = src + <usize>row * sizeof<T>();
      let to = dst;
      for (let k = 0; k < depth; k++, at += step, to += 16) {
        v128.store(to, load4<T>(at));
        v128.store(to + panel, load4<T>(at + 4 * sizeof<T>()));
        v128.store(to + 2 * panel, load4<T>(at + 8 * sizeof<T>()));
        v128.store(to + 3 * panel, load4<T>(at + 12 * sizeof<T>()));
      }
    }
  }
  for (; row < rows; row += 4, dst += panel) {
    const from = src + <usize>(row * rowStride) * sizeof<T>();
    pack4<T>(from, rowStride, stepStride, depth, rows - row, dst, 16);
  }
}

/** Panels of 8 columns: each holds `whole` groups of 8, one after the other, of which `depth` are written. */
function packColumnsOf<T>(
  src: usize, columnStride: i32, stepStride: i32, columns: i32, depth: i32, dst: usize, whole: i32,
): void {
  let column = 0;
  const panel = <usize>whole << 5;
  if (columnStride == 1) {
    const step = <usize>stepStride * sizeof<T>();
    for (; column + 16 <= columns; column += 16, dst += 2 * panel) {
      let at = src + <usize>column * sizeof<T>();
      let to = dst;
      for (let k = 0; k < depth; k++, at += step, to += 32) {
        v128.store(to, load4<T>(at));
        v128.store(to, load4<T>(at + 4 * sizeof<T>()), 16);
        v128.store(to + panel, load4<T>(at + 8 * sizeof<T>()));
        v128.store(to + panel, load4<T>(at + 12 * sizeof<T>()), 16);
      }
    }
  }
  for (; column < columns; column += 8, dst += panel) {
    for (let half = 0; half < 8; half += 4) {
      const from = src + <usize>((column + half) * columnStride) * sizeof<T>();
      pack4<T>(from, columnStride, stepStride, depth, columns - column - half, dst + (<usize>half << 2), 32);
    }
  }
}

const BF16 = 5;
const F16 = 6;

export function packRows(
  dtype: i32, src: usize, rowStride: i32, stepStride: i32, rows: i32, depth: i32, dst: usize, whole: i32,
): void {
  if (dtype == F16) packRowsOf<u16>(src, rowStride, stepStride, rows, depth, dst, whole);
  else if (dtype == BF16) packRowsOf<i16>(src, rowStride, stepStride, rows, depth, dst, whole);
  else packRowsOf<f32>(src, rowStride, stepStride, rows, depth, dst, whole);
}

export function packColumns(
  dtype: i32, src: usize, columnStride: i32, stepStride: i32, columns: i32, depth: i32, dst: usize, whole: i32,
): void {
  if (dtype == F16) packColumnsOf<u16>(src, columnStride, stepStride, columns, depth, dst, whole);
  else if (dtype == BF16) packColumnsOf<i16>(src, columnStride, stepStride, columns, depth, dst, whole);
  else packColumnsOf<f32>(src, columnStride, stepStride, columns, depth, dst, whole);
}

/** Bytes of an element that the packed kernels read: 4 for f32, 2 for the half types. */
// @ts-ignore: decorator
@inline
export function packedSize(dtype: i32): usize {
  return dtype == F16 || dtype == BF16 ? 2 : 4;
}
