// Values to the last digits: Sturm sequences count those below a number (Givens 1954; LAPACK's stebz), which halves a bracket
// around the value that QR iterations found. Singular values are eigenvalues of [[0, Bᵀ], [B, 0]], tridiagonal when its rows are
// shuffled (Golub and Kahan 1965).
import { operand, word } from "./args";
import { BISECTED } from "./kernels";

const EPS: f64 = 2.220446049250313e-16;
/** What stands for a pivot of 0. */
const PIVOT: f64 = 1e-290;
const HALVINGS = 1100;

let c0: v128 = i64x2.splat(0);
let c1: v128 = i64x2.splat(0);
let c2: v128 = i64x2.splat(0);
let c3: v128 = i64x2.splat(0);

// @ts-ignore: decorator
@inline
function pivot(q: v128): v128 {
  return v128.bitselect(f64x2.splat(-PIVOT), q, f64x2.lt(f64x2.abs(q), f64x2.splat(PIVOT)));
}

/** Counts values below each of eight numbers at x: d [n] or 0, squares [n - 1]. */
function countBelow(d: usize, squares: usize, n: i32, x: usize): void {
  const zero = f64x2.splat(0);
  const x0 = v128.load(x);
  const x1 = v128.load(x, 16);
  const x2 = v128.load(x, 32);
  const x3 = v128.load(x, 48);
  let q0 = f64x2.splat(1);
  let q1 = q0;
  let q2 = q0;
  let q3 = q0;
  c0 = c1 = c2 = c3 = i64x2.splat(0);
  for (let i = 0; i < n; i++) {
    const center = d ? v128.load64_splat(d + (<usize>i << 3)) : zero;
    const square = i > 0 ? v128.load64_splat(squares + (<usize>(i - 1) << 3)) : zero;
    q0 = pivot(f64x2.sub(f64x2.sub(center, x0), f64x2.div(square, q0)));
    q1 = pivot(f64x2.sub(f64x2.sub(center, x1), f64x2.div(square, q1)));
    q2 = pivot(f64x2.sub(f64x2.sub(center, x2), f64x2.div(square, q2)));
    q3 = pivot(f64x2.sub(f64x2.sub(center, x3), f64x2.div(square, q3)));
    c0 = i64x2.sub(c0, f64x2.lt(q0, zero));
    c1 = i64x2.sub(c1, f64x2.lt(q1, zero));
    c2 = i64x2.sub(c2, f64x2.lt(q2, zero));
    c3 = i64x2.sub(c3, f64x2.lt(q3, zero));
  }
  v128.store(x, c0, 64);
  v128.store(x, c1, 80);
  v128.store(x, c2, 96);
  v128.store(x, c3, 112);
}

/** 6 d  8 e  10 n  11 singular values  12 values, ascending  14 result */
export function bisect(args: usize, b: i32, unit: i32, scratch: usize): void {
  const n = word(args, 10);
  const singular = word(args, 11) != 0;
  const d = operand(args, 6, b);
  const e = operand(args, 8, b);
  const first = unit * BISECTED;
  const x = scratch;
  const lo = x + 128;
  const hi = lo + 64;
  const squares = hi + 64;
  let norm: f64 = 0;
  for (let i = 0; i < n; i++) {
    const a = load<f64>(d + (<usize>i << 3));
    const c = i + 1 < n ? load<f64>(e + (<usize>i << 3)) : <f64>0;
    const before = i > 0 ? abs(load<f64>(e + (<usize>(i - 1) << 3))) : <f64>0;
    norm = max(norm, abs(a) + abs(c) + before);
    if (singular) {
      store<f64>(squares + (<usize>i << 4), a * a);
      store<f64>(squares + (<usize>i << 4) + 8, c * c);
    } else store<f64>(squares + (<usize>i << 3), c * c);
  }
  if (norm == 0) {
    for (let i = first; i < min(first + BISECTED, n); i++) store<f64>(operand(args, 14, b) + (<usize>i << 3), 0);
    return;
  }
  norm = norm * (1 + 16 * EPS) + PIVOT;
  const size = singular ? 2 * n : n;
  const center = singular ? <usize>0 : d;
  const found = operand(args, 12, b);
  const rank = singular ? n : 0;
  // Brackets a little around what was found; wider where that misses, up to all there is.
  for (let width = 64 * EPS * norm, done = false; !done; width *= 1024) {
    done = true;
    for (let end = 0; end < 2; end++) {
      for (let i = 0; i < BISECTED; i++) {
        const at = <usize>i << 3;
        const value = load<f64>(found + (<usize>min(first + i, n - 1) << 3));
        const known = value == value && width < norm;
        const limit = end ? norm : singular ? -PIVOT : -norm;
        const to = known ? (end ? min(value + width, norm) : max(value - width, singular ? -PIVOT : -norm)) : limit;
        store<f64>(x + at, to);
        store<f64>((end ? hi : lo) + at, to);
      }
      countBelow(center, squares, size, x);
      for (let i = 0; i < BISECTED; i++) {
        const count = <i32>load<i64>(x + 64 + (<usize>i << 3));
        const wanted = rank + min(first + i, n - 1);
        if (width < norm && (end ? count <= wanted : count > wanted)) done = false;
      }
    }
  }
  for (let halving = 0; halving < HALVINGS; halving++) {
    let open = false;
    for (let i = 0; i < BISECTED; i++) {
      const at = <usize>i << 3;
      const from = load<f64>(lo + at);
      const to = load<f64>(hi + at);
      const middle = 0.5 * (from + to);
      store<f64>(x + at, middle);
      if (to - from > max(EPS * abs(middle), 0.125 * EPS * norm) && middle > from && middle < to) open = true;
    }
    if (!open) break;
    countBelow(center, squares, size, x);
    for (let i = 0; i < BISECTED; i++) {
      const at = <usize>i << 3;
      const below = <i32>load<i64>(x + 64 + at) > rank + min(first + i, n - 1);
      store<f64>((below ? hi : lo) + at, load<f64>(x + at));
    }
  }
  const result = operand(args, 14, b);
  for (let i = 0; i < BISECTED && first + i < n; i++) {
    const at = <usize>i << 3;
    const value = load<f64>(found + (<usize>(first + i) << 3));
    // What was found may be nearer than the middle of its bracket: exact values stay exact.
    const from = load<f64>(lo + at);
    const to = load<f64>(hi + at);
    const inside = value >= from && value <= to;
    store<f64>(result + (<usize>(first + i) << 3), inside ? value : singular ? max(0, 0.5 * (from + to)) : 0.5 * (from + to));
  }
}
