// Slices and elements picked by index, and their transposes. An index outside the axis reads 0 and writes nothing.
// Sums are in the order of the indices: parts are ranges of the result, never of the updates.
import { addNarrow, readNumber, writeNarrow, writeSum } from "./numbers";
import { begin, copyBytes, F32, F64, widthOf } from "./rows";

/** y[a, i] = x[a, indices[i]]. args: x, indices, y, outer, n, count, bytes of a slice. */
export function take(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const x = load<usize>(args);
  const indices = load<usize>(args, 4);
  const n = load<i32>(args, 16);
  const count = load<i32>(args, 20);
  const bytes = <usize>load<i32>(args, 24);
  const rows = load<i32>(args, 12) * count;
  const first = begin(rows, chunk, chunks);
  const end = begin(rows, chunk + 1, chunks);
  let to = load<usize>(args, 8) + <usize>first * bytes;
  let a = first / count;
  let i = first - a * count;
  for (let row = first; row < end; row++, to += bytes) {
    const j = load<i32>(indices + (<usize>i << 2));
    const inside = <u32>j < <u32>n;
    const from = x + <usize>(a * n + j) * bytes;
    if (bytes == 4) store<u32>(to, inside ? load<u32>(from) : 0);
    else if (inside) copyBytes(to, from, bytes);
    else memory.fill(to, 0, bytes);
    if (++i == count) {
      i = 0;
      a++;
    }
  }
}

/**
 * y[a, j] = sum of updates[a, i] over indices[i] = j. args: indices, updates, y, outer, size, inner, count, dtype, rows of
 * the result that fit in scratch as f32 (for dtypes that are summed there).
 */
export function scatterAdd(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const size = load<i32>(args, 16);
  const rows = load<i32>(args, 12) * size;
  const dtype = load<i32>(args, 28);
  const first = begin(rows, chunk, chunks);
  const end = begin(rows, chunk + 1, chunks);
  const direct = dtype == F32 || dtype == F64 || dtype == 3 || dtype == 4;
  const step = direct ? rows : load<i32>(args, 32);
  for (let row = first; row < end; ) {
    // A part of the result that lies in one slice of the outer axes.
    const a = row / size;
    const stop = min(end, min((a + 1) * size, row + step));
    if (direct) scatterDirect(args, a, row - a * size, stop - a * size, dtype);
    else scatterWide(args, a, row - a * size, stop - a * size, dtype, scratch);
    row = stop;
  }
}

function scatterDirect(args: usize, a: i32, from: i32, to: i32, dtype: i32): void {
  let index = load<usize>(args);
  const count = load<i32>(args, 24);
  const inner = load<i32>(args, 20);
  const bytes = <usize>(inner * widthOf(dtype));
  const y = load<usize>(args, 8) + <usize>(a * load<i32>(args, 16)) * bytes;
  let update = load<usize>(args, 4) + <usize>(a * count) * bytes;
  memory.fill(y + <usize>from * bytes, 0, <usize>(to - from) * bytes);
  const places = <u32>(to - from);
  for (let i = 0; i < count; i++, index += 4, update += bytes) {
    const j = load<i32>(index);
    if (<u32>(j - from) >= places) continue;
    addRow(update, y + <usize>j * bytes, inner, dtype);
  }
}

/** y += x for f32, f64 and 32-bit integers. */
function addRow(x: usize, y: usize, n: i32, dtype: i32): void {
  let i = 0;
  if (dtype == F32) {
    for (; i + 4 <= n; i += 4, x += 16, y += 16) v128.store(y, f32x4.add(v128.load(y), v128.load(x)));
    for (; i < n; i++, x += 4, y += 4) store<f32>(y, load<f32>(y) + load<f32>(x));
  } else if (dtype == F64) {
    for (; i < n; i++, x += 8, y += 8) store<f64>(y, load<f64>(y) + load<f64>(x));
  } else {
    for (; i + 4 <= n; i += 4, x += 16, y += 16) v128.store(y, i32x4.add(v128.load(y), v128.load(x)));
    for (; i < n; i++, x += 4, y += 4) store<i32>(y, load<i32>(y) + load<i32>(x));
  }
}

/** Sums half types in f32 and rounds once; bytes are summed in i32. */
function scatterWide(args: usize, a: i32, from: i32, to: i32, dtype: i32, scratch: usize): void {
  let index = load<usize>(args);
  const count = load<i32>(args, 24);
  const inner = load<i32>(args, 20);
  const width = <usize>widthOf(dtype);
  const bytes = <usize>inner * width;
  const sums = <usize>(to - from) * <usize>inner;
  memory.fill(scratch, 0, sums << 2);
  let update = load<usize>(args, 4) + <usize>(a * count) * bytes;
  for (let i = 0; i < count; i++, index += 4, update += bytes) {
    const j = load<i32>(index) - from;
    if (<u32>j >= <u32>(to - from)) continue;
    let sum = scratch + (<usize>(j * inner) << 2);
    for (let b: usize = 0; b < bytes; b += width, sum += 4) {
      addNarrow(dtype, sum, update + b);
    }
  }
  let y = load<usize>(args, 8) + <usize>(a * load<i32>(args, 16) + from) * bytes;
  for (let i: usize = 0; i < sums; i++, y += width) writeNarrow(dtype, y, scratch + (i << 2));
}

/** y[a, i, b] = x[a, indices[a, i, b], b]. args: x, indices, y, outer, n, m, inner, width. */
export function takeAlongAxis(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const n = load<i32>(args, 16);
  const m = load<i32>(args, 20);
  const inner = load<i32>(args, 24);
  const width = load<i32>(args, 28);
  const rows = load<i32>(args, 12) * m;
  const first = begin(rows, chunk, chunks);
  const end = begin(rows, chunk + 1, chunks);
  let index = load<usize>(args, 4) + (<usize>(first * inner) << 2);
  let to = load<usize>(args, 8) + <usize>(first * inner) * <usize>width;
  for (let row = first; row < end; row++) {
    const x = load<usize>(args) + <usize>(row / m * n * inner) * <usize>width;
    for (let b = 0; b < inner; b++, index += 4, to += <usize>width) {
      const j = load<i32>(index);
      const inside = <u32>j < <u32>n;
      const from = x + <usize>(j * inner + b) * <usize>width;
      if (width == 4) store<u32>(to, inside ? load<u32>(from) : 0);
      else if (width == 2) store<u16>(to, inside ? load<u16>(from) : 0);
      else if (width == 1) store<u8>(to, inside ? load<u8>(from) : 0);
      else store<u64>(to, inside ? load<u64>(from) : 0);
    }
  }
}

/**
 * y[a, j, b] = sum of updates[a, i, b] over indices[a, i, b] = j. args: indices, updates, y, outer, size, m, inner, dtype,
 * columns b of a unit of work. Scratch: size · columns f64.
 */
export function scatterAddAlongAxis(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const size = load<i32>(args, 16);
  const m = load<i32>(args, 20);
  const inner = load<i32>(args, 24);
  const dtype = load<i32>(args, 28);
  const columns = load<i32>(args, 32);
  const blocks = (inner + columns - 1) / columns;
  const units = load<i32>(args, 12) * blocks;
  const width = <usize>widthOf(dtype);
  const end = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < end; unit++) {
    const a = unit / blocks;
    const from = (unit - a * blocks) * columns;
    const used = min(columns, inner - from);
    memory.fill(scratch, 0, <usize>(size * used) << 3);
    for (let i = 0; i < m; i++) {
      const place = <usize>((a * m + i) * inner + from);
      let index = load<usize>(args) + (place << 2);
      let update = load<usize>(args, 4) + place * width;
      for (let b = 0; b < used; b++, index += 4, update += width) {
        const j = load<i32>(index);
        if (<u32>j >= <u32>size) continue;
        const sum = scratch + (<usize>(j * used + b) << 3);
        store<f64>(sum, load<f64>(sum) + (dtype == F32 ? <f64>load<f32>(update) : readNumber(dtype, update)));
      }
    }
    let sum = scratch;
    for (let j = 0; j < size; j++) {
      let y = load<usize>(args, 8) + <usize>((a * size + j) * inner + from) * width;
      for (let b = 0; b < used; b++, sum += 8, y += width) writeSum(dtype, y, load<f64>(sum));
    }
  }
}
