// Filling block registers from memory: any strides, any dtype. In registers half types are f32, small integers i32, bools
// masks. Fills write exactly `count` elements.
import { f16ToF32, loadBf16x4, loadF16x4 } from "./half";
import * as at from "./loop-ops";
import { BF16, F16, F64 } from "./rows";

const BOOL: i32 = 0;
const U8: i32 = 1;
const I8: i32 = 2;

/** log2 of the bytes of an element in memory; indices have none. */
// @ts-ignore: decorator
@inline
export function shiftOf(dtype: i32): usize {
  return dtype == F64 ? 3 : dtype >= at.LOAD_IOTA_I32 ? 0 : dtype <= I8 ? 0 : dtype == BF16 || dtype == F16 ? 1 : 2;
}

/** Copies `bytes` (a multiple of 4) without the cost of a call into the engine where there are few. */
export function copyWords(to: usize, from: usize, bytes: usize): void {
  if (bytes >= 1024) {
    memory.copy(to, from, bytes);
    return;
  }
  const last = to + bytes;
  for (; to + 16 <= last; to += 16, from += 16) v128.store(to, v128.load(from));
  for (; to < last; to += 4, from += 4) store<i32>(to, load<i32>(from));
}

/** The element at `from` as the 4 bytes of a register. */
export function loadWord(dtype: i32, from: usize): i32 {
  switch (dtype) {
    case BOOL:
      return load<u8>(from) ? -1 : 0;
    case U8:
      return load<u8>(from);
    case I8:
      return load<i8>(from);
    case BF16:
      return <i32>load<u16>(from) << 16;
    case F16:
      return reinterpret<i32>(f16ToF32(load<u16>(from)));
    default:
      return load<i32>(from);
  }
}

/** A splat of the element at `from` into 64 bytes. */
export function splat(to: usize, dtype: i32, from: usize): void {
  const v = dtype == F64 ? v128.load64_splat(from) : i32x4.splat(loadWord(dtype, from));
  v128.store(to, v);
  v128.store(to, v, 16);
  v128.store(to, v, 32);
  v128.store(to, v, 48);
}

// @ts-ignore: decorator
@inline
function fillSame(to: usize, dtype: i32, from: usize, count: i32): void {
  if (dtype == F64) {
    const x = load<f64>(from);
    for (let i = 0; i < count; i++, to += 8) store<f64>(to, x);
    return;
  }
  const word = loadWord(dtype, from);
  const v = i32x4.splat(word);
  let i = 0;
  for (; i + 4 <= count; i += 4, to += 16) v128.store(to, v);
  for (; i < count; i++, to += 4) store<i32>(to, word);
}

function fillNext(to: usize, dtype: i32, from: usize, count: i32): void {
  switch (dtype) {
    case F64:
      return copyWords(to, from, <usize>count << 3);
    case BOOL: {
      let i = 0;
      for (; i + 4 <= count; i += 4, to += 16, from += 4) {
        const v = v128.load32_zero(from);
        v128.store(to, i32x4.ne(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v)), i32x4.splat(0)));
      }
      for (; i < count; i++, to += 4, from++) store<i32>(to, load<u8>(from) ? -1 : 0);
      return;
    }
    case U8: {
      let i = 0;
      for (; i + 4 <= count; i += 4, to += 16, from += 4) {
        v128.store(to, i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(from))));
      }
      for (; i < count; i++, to += 4, from++) store<i32>(to, load<u8>(from));
      return;
    }
    case I8: {
      let i = 0;
      for (; i + 4 <= count; i += 4, to += 16, from += 4) {
        v128.store(to, i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(from))));
      }
      for (; i < count; i++, to += 4, from++) store<i32>(to, load<i8>(from));
      return;
    }
    case BF16: {
      let i = 0;
      for (; i + 4 <= count; i += 4, to += 16, from += 8) v128.store(to, loadBf16x4(from));
      for (; i < count; i++, to += 4, from += 2) store<i32>(to, <i32>load<u16>(from) << 16);
      return;
    }
    case F16: {
      let i = 0;
      for (; i + 4 <= count; i += 4, to += 16, from += 8) v128.store(to, loadF16x4(from));
      for (; i < count; i++, to += 4, from += 2) store<f32>(to, f16ToF32(load<u16>(from)));
      return;
    }
    default:
      copyWords(to, from, <usize>count << 2);
  }
}

function fillStrided(to: usize, dtype: i32, from: usize, step: isize, count: i32): void {
  if (dtype == F64) {
    for (let i = 0; i < count; i++, to += 8, from += step) store<f64>(to, load<f64>(from));
  } else if (dtype > I8 && dtype != BF16 && dtype != F16) {
    if (step == -4) {
      for (; count >= 4; count -= 4, to += 16, from -= 16) {
        const v = v128.load(from - 12);
        v128.store(to, v128.shuffle<i32>(v, v, 3, 2, 1, 0));
      }
    }
    for (let i = 0; i < count; i++, to += 4, from += step) store<i32>(to, load<i32>(from));
  } else {
    for (let i = 0; i < count; i++, to += 4, from += step) store<i32>(to, loadWord(dtype, from));
  }
}

function fillIndices(to: usize, kind: i32, from: i32, step: i32, count: i32): void {
  if (kind == at.LOAD_IOTA_F64) {
    for (let i = 0; i < count; i++, to += 8, from += step) store<f64>(to, <f64>from);
  } else if (kind == at.LOAD_IOTA_F32) {
    for (let i = 0; i < count; i++, to += 4, from += step) store<f32>(to, <f32>from);
  } else {
    for (let i = 0; i < count; i++, to += 4, from += step) store<i32>(to, from);
  }
}

/** One run of a load: `count` elements from `from` (an address, or an index) by `stride` elements. */
function fillRun(to: usize, dtype: i32, from: usize, stride: i32, count: i32): void {
  if (dtype >= at.LOAD_IOTA_I32) fillIndices(to, dtype, <i32>from, stride, count);
  else if (stride == 1) fillNext(to, dtype, from, count);
  else if (stride == 0) fillSame(to, dtype, from, count);
  else fillStrided(to, dtype, from, <isize>stride << <isize>shiftOf(dtype), count);
}

/** Whole rows of `size` elements, `step` bytes (or indices) apart. Short ones are written by vectors, and the last as it is. */
function fillRows(
  to: usize,
  dtype: i32,
  from: usize,
  stride: i32,
  size: i32,
  step: isize,
  rows: i32,
  wide: usize,
): void {
  const bytes = <usize>size << wide;
  if (size >= 4 && size <= 256 && (dtype == 3 || dtype == 4 || dtype == 7)) {
    if (stride == 0) {
      for (; rows > 1; rows--, to += bytes, from += step) {
        const v = v128.load32_splat(from);
        for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, v); // the end is overwritten by the next row
      }
    } else if (stride == 1 && (size & 3) == 0) {
      for (; rows > 1; rows--, to += bytes, from += step) {
        for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, v128.load(from + i));
      }
    }
  }
  for (; rows > 0; rows--, to += bytes, from += step) fillRun(to, dtype, from, stride, size);
}

/**
 * Brings a load to `slot` for elements pos .. pos + count - 1 of the space. The entry of a load is its address, dtype,
 * number of axes and their (size, stride), the outermost first. If the elements lie side by side as a register needs
 * them, or are all one, nothing is copied unless `flags` say so. `target` is where copies go.
 */
export function loadBlock(slot: usize, entry: usize, pos: i32, count: i32, flags: i32, target: usize): void {
  const dtype = load<i32>(entry, 4);
  const axes = load<i32>(entry, 8);
  const table = entry + 12;
  const shift = shiftOf(dtype);
  const size = load<i32>(table + (<usize>(axes - 1) << 3));
  const stride = load<i32>(table + (<usize>(axes - 1) << 3), 4);
  let offset = 0;
  let inner = pos;
  let left = count;
  if (axes > 1) {
    let rest = <u32>pos / <u32>size;
    inner = pos - <i32>rest * size;
    left = size - inner;
    for (let axis = axes - 2; axis > 0; axis--) {
      const axisSize = load<u32>(table + (<usize>axis << 3));
      const above = rest / axisSize;
      offset += <i32>(rest - above * axisSize) * load<i32>(table + (<usize>axis << 3), 4);
      rest = above;
    }
    offset += <i32>rest * load<i32>(table, 4);
  }
  let from = load<usize>(entry) + (<usize>(offset + inner * stride) << shift);
  if (left >= count && (flags & at.FLAG_COPY) == 0) {
    if (stride == 0 && (flags & at.FLAG_FULL) == 0 && dtype < at.LOAD_IOTA_I32) {
      const to = load<usize>(slot, 12);
      splat(to, dtype, from);
      store<usize>(slot, to);
      store<usize>(slot, 0, 4);
      return;
    }
    // Whole vectors are read: near the end of memory a last odd vector would reach beyond it.
    if (
      stride == 1 &&
      (dtype == 3 || dtype == 4 || dtype == 7 || dtype == F64) &&
      ((count & 7) == 0 || from + (<usize>((count + 7) & ~7) << shift) <= <usize>memory.size() << 16)
    ) {
      store<usize>(slot, from);
      store<usize>(slot, 16, 4);
      return;
    }
  }
  store<usize>(slot, target);
  store<usize>(slot, 16, 4);
  if (left >= count) return fillRun(target, dtype, from, stride, count);
  // Runs of the innermost axis: the rest of one row, whole rows, the beginning of one.
  const wide: usize = dtype == F64 || dtype == at.LOAD_IOTA_F64 ? 3 : 2;
  let to = target;
  let todo = count;
  let row = <u32>pos / <u32>size;
  if (inner > 0) {
    fillRun(to, dtype, from, stride, left);
    to += <usize>left << wide;
    todo -= left;
    row++;
  }
  const outerSize = axes == 2 ? i32.MAX_VALUE : load<i32>(table + (<usize>(axes - 2) << 3));
  const outerStride = load<i32>(table + (<usize>(axes - 2) << 3), 4);
  const step = <isize>outerStride << <isize>shift;
  while (todo > 0) {
    // rows that follow each other along the second axis
    let rest = row / outerSize;
    const index = <i32>(row - rest * outerSize);
    offset = index * outerStride;
    for (let axis = axes - 3; axis >= 0; axis--) {
      const axisSize = load<u32>(table + (<usize>axis << 3));
      const above = axis == 0 ? 0 : rest / axisSize;
      offset += <i32>(rest - above * axisSize) * load<i32>(table + (<usize>axis << 3), 4);
      rest = above;
    }
    from = load<usize>(entry) + (<usize>offset << shift);
    const rows = min(todo / size, outerSize - index);
    if (rows == 0) return fillRun(to, dtype, from, stride, todo);
    fillRows(to, dtype, from, stride, size, step, rows, wide);
    to += (<usize>rows * size) << wide;
    todo -= rows * size;
    row += rows;
  }
}
