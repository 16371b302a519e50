// Contiguous vectors: dots, sums, rotations, reflections. Order of sums is fixed.
import { lanes, madd, sumLanes } from "./simd";

export function dot<T>(x: usize, y: usize, n: i32): T {
  let s0 = i64x2.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let i = 0;
  const width = lanes<T>();
  for (; i + 4 * width <= n; i += 4 * width, x += 64, y += 64) {
    s0 = madd<T>(v128.load(x), v128.load(y), s0);
    s1 = madd<T>(v128.load(x, 16), v128.load(y, 16), s1);
    s2 = madd<T>(v128.load(x, 32), v128.load(y, 32), s2);
    s3 = madd<T>(v128.load(x, 48), v128.load(y, 48), s3);
  }
  for (; i + width <= n; i += width, x += 16, y += 16) s0 = madd<T>(v128.load(x), v128.load(y), s0);
  let sum = sumLanes<T>(v128.add<T>(v128.add<T>(s0, s1), v128.add<T>(s2, s3)));
  for (; i < n; i++, x += sizeof<T>(), y += sizeof<T>()) sum += load<T>(x) * load<T>(y);
  return sum;
}

/** y += alpha x */
export function axpy<T>(alpha: T, x: usize, y: usize, n: i32): void {
  if (alpha == 0) return;
  const factor = v128.splat<T>(alpha);
  let i = 0;
  for (; i + 2 * lanes<T>() <= n; i += 2 * lanes<T>(), x += 32, y += 32) {
    v128.store(y, madd<T>(factor, v128.load(x), v128.load(y)));
    v128.store(y, madd<T>(factor, v128.load(x, 16), v128.load(y, 16)), 16);
  }
  for (; i < n; i++, x += sizeof<T>(), y += sizeof<T>()) store<T>(y, load<T>(y) + alpha * load<T>(x));
}

/** Row r of `count` rows of A times x, for each. */
export function dotRows<T>(a: usize, row: usize, count: i32, x: usize, n: i32, to: usize): void {
  const size = sizeof<T>();
  const width = lanes<T>();
  let r = 0;
  for (; r + 4 <= count; r += 4, a += 4 * row, to += 4 * size) {
    let s0 = v128.splat<T>(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    let t0 = s0;
    let t1 = s0;
    let t2 = s0;
    let t3 = s0;
    let j = 0;
    let a0 = a;
    let at = x;
    const a1 = row;
    const a2 = a1 + row;
    const a3 = a2 + row;
    for (; j + 2 * width <= n; j += 2 * width, a0 += 32, at += 32) {
      let y = v128.load(at);
      s0 = madd<T>(v128.load(a0), y, s0);
      s1 = madd<T>(v128.load(a0 + a1), y, s1);
      s2 = madd<T>(v128.load(a0 + a2), y, s2);
      s3 = madd<T>(v128.load(a0 + a3), y, s3);
      y = v128.load(at, 16);
      t0 = madd<T>(v128.load(a0, 16), y, t0);
      t1 = madd<T>(v128.load(a0 + a1, 16), y, t1);
      t2 = madd<T>(v128.load(a0 + a2, 16), y, t2);
      t3 = madd<T>(v128.load(a0 + a3, 16), y, t3);
    }
    store<T>(to, sumLanes<T>(v128.add<T>(s0, t0)));
    store<T>(to, sumLanes<T>(v128.add<T>(s1, t1)), size);
    store<T>(to, sumLanes<T>(v128.add<T>(s2, t2)), 2 * size);
    store<T>(to, sumLanes<T>(v128.add<T>(s3, t3)), 3 * size);
    for (; j < n; j++, a0 += size, at += size) {
      for (let i: usize = 0; i < 4; i++)
        store<T>(to + i * size, load<T>(to + i * size) + load<T>(a0 + i * row) * load<T>(at));
    }
  }
  for (; r < count; r++, a += row, to += size) store<T>(to, dot<T>(a, x, n));
}

/** y += alpha Σ x_r a_r over `count` rows of A; the x_r are `step` bytes apart. */
export function addRows<T>(alpha: T, a: usize, row: usize, count: i32, x: usize, step: usize, y: usize, n: i32): void {
  const size = sizeof<T>();
  let r = 0;
  for (; r + 4 <= count; r += 4, a += 4 * row, x += 4 * step) {
    const f0 = alpha * load<T>(x);
    const f1 = alpha * load<T>(x + step);
    const f2 = alpha * load<T>(x + 2 * step);
    const f3 = alpha * load<T>(x + 3 * step);
    const x0 = v128.splat<T>(f0);
    const x1 = v128.splat<T>(f1);
    const x2 = v128.splat<T>(f2);
    const x3 = v128.splat<T>(f3);
    let j = 0;
    let a0 = a;
    let to = y;
    const a1 = row;
    const a2 = a1 + row;
    const a3 = a2 + row;
    for (; j + lanes<T>() <= n; j += lanes<T>(), a0 += 16, to += 16) {
      let sum = madd<T>(v128.load(a0), x0, v128.load(to));
      sum = madd<T>(v128.load(a0 + a1), x1, sum);
      sum = madd<T>(v128.load(a0 + a2), x2, sum);
      v128.store(to, madd<T>(v128.load(a0 + a3), x3, sum));
    }
    for (; j < n; j++, a0 += size, to += size) {
      const sum = load<T>(to) + load<T>(a0) * f0 + load<T>(a0 + a1) * f1;
      store<T>(to, sum + load<T>(a0 + a2) * f2 + load<T>(a0 + a3) * f3);
    }
  }
  for (; r < count; r++, a += row, x += step) axpy<T>(alpha * load<T>(x), a, y, n);
}

export function scale<T>(alpha: T, x: usize, n: i32): void {
  const factor = v128.splat<T>(alpha);
  let i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>(), x += 16) v128.store(x, v128.mul<T>(v128.load(x), factor));
  for (; i < n; i++, x += sizeof<T>()) store<T>(x, load<T>(x) * alpha);
}

/** (x, y) = (c x + s y, c y - s x) */
export function rotate<T>(x: usize, y: usize, n: i32, c: T, s: T): void {
  const cs = v128.splat<T>(c);
  const sn = v128.splat<T>(s);
  let i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>(), x += 16, y += 16) {
    const p = v128.load(x);
    const q = v128.load(y);
    v128.store(x, v128.add<T>(v128.mul<T>(cs, p), v128.mul<T>(sn, q)));
    v128.store(y, v128.sub<T>(v128.mul<T>(cs, q), v128.mul<T>(sn, p)));
  }
  for (; i < n; i++, x += sizeof<T>(), y += sizeof<T>()) {
    const p = load<T>(x);
    const q = load<T>(y);
    store<T>(x, c * p + s * q);
    store<T>(y, c * q - s * p);
  }
}

/** Σ x² in f64. */
function squares<T>(x: usize, n: i32): f64 {
  if (sizeof<T>() == 8) return <f64>dot<T>(x, x, n);
  let sum: f64 = 0;
  for (let i = 0; i < n; i++, x += sizeof<T>()) {
    const value = <f64>load<T>(x);
    sum += value * value;
  }
  return sum;
}

/** √(a² + b²) without overflow. */
export function hypot2(a: f64, b: f64): f64 {
  a = abs(a);
  b = abs(b);
  const large = max(a, b);
  if (large == 0) return 0;
  const ratio = min(a, b) / large;
  return large * sqrt<f64>(1 + ratio * ratio);
}

/** Of the last `reflector`. */
export let beta: f64 = 0;
export let tau: f64 = 0;

/** Norms below, beside a matrix of size 1, are zeros: their squares would lose digits. */
const NOTHING: f64 = 1e-140;
const NOTHING_F32: f64 = 1e-30;

/**
 * Makes x the vector v, v[0] = 1, of H = I - tau v vᵀ with H x = beta e₀. Matrices are scaled before, so that their largest
 * element is about 1.
 */
export function reflector<T>(x: usize, n: i32): void {
  tau = 0;
  const alpha = <f64>load<T>(x);
  beta = alpha;
  const rest = sqrt<f64>(squares<T>(x + sizeof<T>(), n - 1));
  const nothing = sizeof<T>() == 8 ? NOTHING : NOTHING_F32;
  store<T>(x, <T>1);
  if (rest <= nothing) {
    memory.fill(x + sizeof<T>(), 0, <usize>(n - 1) * sizeof<T>());
    return;
  }
  const norm = sqrt<f64>(alpha * alpha + rest * rest);
  beta = alpha >= 0 ? -norm : norm;
  tau = (beta - alpha) / beta;
  scale<T>(<T>(1 / (alpha - beta)), x + sizeof<T>(), n - 1);
}
