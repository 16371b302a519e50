// Softmax over rows: y = exp(x - max x) / Σ exp(x - max x), and its gradient dx = y · (dy - Σ y dy). A row of only -inf
// gives zeros.
import { begin, exp1, exp4, rowDone, rowDot, rowIn, rowMax, rowOut } from "./rows";
import { sumLanes } from "./simd";

/** args: x, y, rows, n, dtype. y may be x. Scratch: n f32 for half types. */
export function softmaxRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 8);
  const n = load<i32>(args, 12);
  const dtype = load<i32>(args, 16);
  const stride = <usize>n << (dtype == 7 ? 2 : 1);
  const last = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < last; row++) {
    const x = load<usize>(args) + <usize>row * stride;
    const y = load<usize>(args, 4) + <usize>row * stride;
    const out = rowOut(dtype, y, scratch);
    softmaxRow(rowIn(dtype, x, n, scratch), out, n);
    rowDone(dtype, y, n, scratch);
  }
}

function softmaxRow(x: usize, y: usize, n: i32): void {
  let most = rowMax(x, n);
  if (most == -Infinity) most = 0;
  const shift = f32x4.splat(most);
  let a = f32x4.splat(0);
  let b = a;
  let i = 0;
  let to = y;
  for (; i + 8 <= n; i += 8, x += 32, to += 32) {
    const p = exp4(f32x4.sub(v128.load(x), shift));
    const q = exp4(f32x4.sub(v128.load(x, 16), shift));
    v128.store(to, p);
    v128.store(to, q, 16);
    a = f32x4.add(a, p);
    b = f32x4.add(b, q);
  }
  let sum = sumLanes(f32x4.add(a, b));
  for (; i < n; i++, x += 4, to += 4) {
    const p = exp1(load<f32>(x) - most);
    store<f32>(to, p);
    sum += p;
  }
  const scale: f32 = sum == 0 ? 1 : <f32>1.0 / sum;
  const s = f32x4.splat(scale);
  i = 0;
  for (; i + 8 <= n; i += 8, y += 32) {
    v128.store(y, f32x4.mul(v128.load(y), s));
    v128.store(y, f32x4.mul(v128.load(y, 16), s), 16);
  }
  for (; i < n; i++, y += 4) store<f32>(y, load<f32>(y) * scale);
}

/** args: y, dy, dx, rows, n, dtype. dx may be y or dy. Scratch: 2 n f32 for half types. */
export function softmaxBackwardRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 12);
  const n = load<i32>(args, 16);
  const dtype = load<i32>(args, 20);
  const stride = <usize>n << (dtype == 7 ? 2 : 1);
  const second = scratch + (<usize>n << 2);
  const last = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < last; row++) {
    const at = <usize>row * stride;
    const y = rowIn(dtype, load<usize>(args) + at, n, scratch);
    const dy = rowIn(dtype, load<usize>(args, 4) + at, n, second);
    const dx = load<usize>(args, 8) + at;
    softmaxBackwardRow(y, dy, rowOut(dtype, dx, scratch), n);
    rowDone(dtype, dx, n, scratch);
  }
}

function softmaxBackwardRow(y: usize, dy: usize, dx: usize, n: i32): void {
  const dot = rowDot(y, dy, n);
  const s = f32x4.splat(dot);
  let i = 0;
  for (; i + 4 <= n; i += 4, y += 16, dy += 16, dx += 16) {
    v128.store(dx, f32x4.mul(v128.load(y), f32x4.sub(v128.load(dy), s)));
  }
  for (; i < n; i++, y += 4, dy += 4, dx += 4) store<f32>(dx, load<f32>(y) * (load<f32>(dy) - dot));
}
