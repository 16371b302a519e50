// Writes a value into its place in a copy of the base (or in the base itself): the copy is a command before this one.
import { begin, copyBytes } from "./rows";

/**
 * y[a, start + i] = value[a, i] where that is inside 0 .. n-1.
 *
 * args: value, y, address of start (i32), outer, n, m, bytes of a slice.
 */
export function updateSlice(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const start = load<i32>(load<usize>(args, 8));
  const n = load<i32>(args, 16);
  const m = load<i32>(args, 20);
  const bytes = <usize>load<i32>(args, 24);
  const rows = load<i32>(args, 12) * m;
  const end = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < end; row++) {
    const a = row / m;
    const j = <i64>start + (row - a * m);
    if (<u64>j >= <u64>n) continue;
    copyBytes(load<usize>(args, 4) + <usize>(a * n + <i32>j) * bytes, load<usize>(args) + <usize>row * bytes, bytes);
  }
}
