// Running sums along rows.
import { readNumber, writeSum } from "./numbers";
import { begin, F32, widthOf } from "./rows";

/** Sums in f64; integers wrap. args: x, y, rows, n, dtype, reverse. y may be x. */
export function cumsum(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 8);
  const n = load<i32>(args, 12);
  const dtype = load<i32>(args, 16);
  const width = <usize>widthOf(dtype);
  const reverse = load<i32>(args, 20) != 0;
  const step: usize = reverse ? <usize>0 - width : width;
  const end = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < end; row++) {
    const start = <usize>(row * n + (reverse ? n - 1 : 0)) * width;
    let x = load<usize>(args) + start;
    let y = load<usize>(args, 4) + start;
    if (dtype == 3 || dtype == 4) {
      let sum = 0;
      for (let i = 0; i < n; i++, x += step, y += step) {
        sum += load<i32>(x);
        store<i32>(y, sum);
      }
    } else {
      let sum: f64 = 0;
      for (let i = 0; i < n; i++, x += step, y += step) {
        sum += dtype == F32 ? <f64>load<f32>(x) : readNumber(dtype, x);
        writeSum(dtype, y, sum);
      }
    }
  }
}
