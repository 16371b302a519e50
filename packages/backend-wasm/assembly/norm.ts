// Layer norm y = (x - mean) · rstd · w + b and RMS norm y = x · rstd · w over rows, with their gradients for x.
// RMS norm is the case without mean (and without bias).
import { begin, F32, rowDone, rowIn, rowOut, rowSquares, rowSum } from "./rows";
import { madd, nmadd, sumLanes } from "./simd";

// @ts-ignore: decorator
@inline
function rowBytes(dtype: i32, n: i32): usize {
  return <usize>n << (dtype == F32 ? 2 : 1);
}

/**
 * args: x, y, weight or 0, bias or 0, mean (0: RMS norm), rstd, rows, n, eps, dtype of x and y, dtype of weight and bias.
 * y may be x. Scratch: 3 n f32.
 */
export function normRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const means = load<usize>(args, 16);
  const rstds = load<usize>(args, 20);
  const rows = load<i32>(args, 24);
  const n = load<i32>(args, 28);
  const eps = load<f32>(args, 32);
  const dtype = load<i32>(args, 36);
  const weightDtype = load<i32>(args, 40);
  const area = <usize>n << 2;
  let weight = load<usize>(args, 8);
  let bias = load<usize>(args, 12);
  if (weight != 0) weight = rowIn(weightDtype, weight, n, scratch + area);
  if (bias != 0) bias = rowIn(weightDtype, bias, n, scratch + 2 * area);
  const stride = rowBytes(dtype, n);
  const last = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < last; row++) {
    const x = rowIn(dtype, load<usize>(args) + <usize>row * stride, n, scratch);
    const y = load<usize>(args, 4) + <usize>row * stride;
    let mean: f32 = 0;
    if (means != 0) {
      mean = rowSum(x, n) / <f32>n;
      store<f32>(means + (<usize>row << 2), mean);
    }
    const rstd: f32 = <f32>1.0 / sqrt<f32>(rowSquares(x, n, mean) / <f32>n + eps);
    store<f32>(rstds + (<usize>row << 2), rstd);
    normRow(x, rowOut(dtype, y, scratch), weight, bias, mean, rstd, n);
    rowDone(dtype, y, n, scratch);
  }
}

function normRow(x: usize, y: usize, weight: usize, bias: usize, mean: f32, rstd: f32, n: i32): void {
  const m = f32x4.splat(mean);
  const r = f32x4.splat(rstd);
  let i = 0;
  if (weight == 0) {
    for (; i + 4 <= n; i += 4, x += 16, y += 16) v128.store(y, f32x4.mul(f32x4.sub(v128.load(x), m), r));
    for (; i < n; i++, x += 4, y += 4) store<f32>(y, (load<f32>(x) - mean) * rstd);
  } else if (bias == 0) {
    for (; i + 4 <= n; i += 4, x += 16, y += 16, weight += 16) {
      v128.store(y, f32x4.mul(f32x4.mul(f32x4.sub(v128.load(x), m), r), v128.load(weight)));
    }
    for (; i < n; i++, x += 4, y += 4, weight += 4) {
      store<f32>(y, (load<f32>(x) - mean) * rstd * load<f32>(weight));
    }
  } else {
    for (; i + 4 <= n; i += 4, x += 16, y += 16, weight += 16, bias += 16) {
      v128.store(y, madd(f32x4.mul(f32x4.sub(v128.load(x), m), r), v128.load(weight), v128.load(bias)));
    }
    for (; i < n; i++, x += 4, y += 4, weight += 4, bias += 4) {
      store<f32>(y, (load<f32>(x) - mean) * rstd * load<f32>(weight) + load<f32>(bias));
    }
  }
}

/**
 * With h = (x - mean) · rstd and g = dy · w: dx = rstd · (g - mean(g) - h · mean(g h)); RMS norm lacks the mean(g).
 *
 * args: x, dy, dx, weight or 0, mean (0: RMS norm), rstd, rows, n, dtype, dtype of weight. dx may be x or dy.
 * Scratch: 3 n f32.
 */
export function normBackwardRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const means = load<usize>(args, 16);
  const rstds = load<usize>(args, 20);
  const rows = load<i32>(args, 24);
  const n = load<i32>(args, 28);
  const dtype = load<i32>(args, 32);
  const area = <usize>n << 2;
  let weight = load<usize>(args, 12);
  if (weight != 0) weight = rowIn(load<i32>(args, 36), weight, n, scratch + 2 * area);
  const stride = rowBytes(dtype, n);
  const last = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < last; row++) {
    const at = <usize>row * stride;
    const x = rowIn(dtype, load<usize>(args) + at, n, scratch);
    const dy = rowIn(dtype, load<usize>(args, 4) + at, n, scratch + area);
    const dx = load<usize>(args, 8) + at;
    const mean = means != 0 ? load<f32>(means + (<usize>row << 2)) : 0;
    const rstd = load<f32>(rstds + (<usize>row << 2));
    const out = rowOut(dtype, dx, scratch);
    normBackwardRow(x, dy, out, weight, mean, rstd, n, means != 0);
    rowDone(dtype, dx, n, scratch);
  }
}

function normBackwardRow(
  x: usize,
  dy: usize,
  dx: usize,
  weight: usize,
  mean: f32,
  rstd: f32,
  n: i32,
  centred: bool,
): void {
  const bytes = <usize>(n & ~3) << 2;
  const weighted = weight != 0;
  const m = f32x4.splat(mean);
  let sums = f32x4.splat(0);
  let products = f32x4.splat(0);
  if (weighted) {
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = f32x4.mul(v128.load(dy + at), v128.load(weight + at));
      sums = f32x4.add(sums, g);
      products = madd(g, f32x4.sub(v128.load(x + at), m), products);
    }
  } else {
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = v128.load(dy + at);
      sums = f32x4.add(sums, g);
      products = madd(g, f32x4.sub(v128.load(x + at), m), products);
    }
  }
  let sum = sumLanes(sums);
  let product = sumLanes(products);
  const end = <usize>n << 2;
  for (let at = bytes; at < end; at += 4) {
    let g = load<f32>(dy + at);
    if (weighted) g *= load<f32>(weight + at);
    sum += g;
    product += g * (load<f32>(x + at) - mean);
  }
  // dx = rstd · g - (x - mean) · slope - shift
  const slope: f32 = (rstd * rstd * rstd * product) / <f32>n;
  const shift: f32 = centred ? (rstd * sum) / <f32>n : 0;
  const k = f32x4.splat(slope);
  const c = f32x4.splat(shift);
  const r = f32x4.splat(rstd);
  if (weighted) {
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = f32x4.mul(v128.load(dy + at), v128.load(weight + at));
      const centredX = f32x4.sub(v128.load(x + at), m);
      v128.store(dx + at, nmadd(centredX, k, f32x4.sub(f32x4.mul(g, r), c)));
    }
  } else {
    for (let at: usize = 0; at < bytes; at += 16) {
      const centredX = f32x4.sub(v128.load(x + at), m);
      v128.store(dx + at, nmadd(centredX, k, f32x4.sub(f32x4.mul(v128.load(dy + at), r), c)));
    }
  }
  for (let at = bytes; at < end; at += 4) {
    let g = load<f32>(dy + at);
    if (weighted) g *= load<f32>(weight + at);
    store<f32>(dx + at, rstd * g - (load<f32>(x + at) - mean) * slope - shift);
  }
}
