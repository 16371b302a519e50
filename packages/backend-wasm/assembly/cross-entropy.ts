// Cross entropy of rows of logits against one label each: lse = log Σ exp(x), loss = lse - x[label], and the gradient
// dx = (exp(x - lse) - [j = label]) · dy. A row whose label is ignored has loss 0 and gradient 0; another label
// outside the row has loss NaN and no place in the gradient.
import { HostMath } from "./host-math";
import { begin, exp1, exp4, F32, rowDone, rowIn, rowMax, rowOut, rowSumExp } from "./rows";

/** args: logits, labels, loss, lse, rows, n, ignored label, dtype of the logits. Scratch: n f32 for half types. */
export function crossEntropyRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 16);
  const n = load<i32>(args, 20);
  const ignored = load<i32>(args, 24);
  const dtype = load<i32>(args, 28);
  const stride = <usize>n << (dtype == F32 ? 2 : 1);
  const last = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < last; row++) {
    const x = rowIn(dtype, load<usize>(args) + <usize>row * stride, n, scratch);
    const at = <usize>row << 2;
    const label = load<i32>(load<usize>(args, 4) + at);
    const lse = logSumExp(x, n);
    store<f32>(load<usize>(args, 12) + at, lse);
    let loss: f32 = 0;
    if (label != ignored) loss = lse - (<u32>label < <u32>n ? load<f32>(x + (<usize>label << 2)) : NaN);
    store<f32>(load<usize>(args, 8) + at, loss);
  }
}

function logSumExp(x: usize, n: i32): f32 {
  const most = rowMax(x, n);
  if (most == -Infinity) return most;
  return most + <f32>HostMath.log(rowSumExp(x, n, most));
}

/**
 * args: logits, labels, lse, dy, dx, rows, n, ignored label, dtype of logits and dx. dx may be the logits.
 * Scratch: n f32 for half types.
 */
export function crossEntropyBackwardRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 20);
  const n = load<i32>(args, 24);
  const ignored = load<i32>(args, 28);
  const dtype = load<i32>(args, 32);
  const stride = <usize>n << (dtype == F32 ? 2 : 1);
  const last = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < last; row++) {
    const at = <usize>row << 2;
    const dx = load<usize>(args, 16) + <usize>row * stride;
    const label = load<i32>(load<usize>(args, 4) + at);
    if (label == ignored) {
      memory.fill(dx, 0, stride);
      continue;
    }
    const x = rowIn(dtype, load<usize>(args) + <usize>row * stride, n, scratch);
    const dy = load<f32>(load<usize>(args, 12) + at);
    const out = rowOut(dtype, dx, scratch);
    const lse = load<f32>(load<usize>(args, 8) + at);
    expRow(x, out, n, lse == -Infinity ? 0 : lse, dy);
    if (<u32>label < <u32>n) {
      const place = out + (<usize>label << 2);
      store<f32>(place, load<f32>(place) - dy);
    }
    rowDone(dtype, dx, n, scratch);
  }
}

/** y = exp(x - shift) · scale */
function expRow(x: usize, y: usize, n: i32, shift: f32, scale: f32): void {
  const m = f32x4.splat(shift);
  const s = f32x4.splat(scale);
  let i = 0;
  for (; i + 8 <= n; i += 8, x += 32, y += 32) {
    v128.store(y, f32x4.mul(exp4(f32x4.sub(v128.load(x), m)), s));
    v128.store(y, f32x4.mul(exp4(f32x4.sub(v128.load(x, 16), m)), s), 16);
  }
  for (; i < n; i++, x += 4, y += 4) store<f32>(y, exp1(load<f32>(x) - shift) * scale);
}
