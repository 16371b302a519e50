// Values to the last digits: Sturm sequences count those below a number (Givens 1954; LAPACK's stebz), which halves a bracket
// around the value that was found. Singular values are counted by the pivots of Bᵀ B - x², from one to the next as qd algorithms go
// (Fernando and Parlett 1994), which is as exact as B is.
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

/** Counts values below each of eight numbers at x. Squares of d, or d itself, and of e by turns. */
function countBelow(pairs: usize, n: i32, singular: bool, x: usize): void {
  const zero = f64x2.splat(0);
  let x0 = v128.load(x);
  let x1 = v128.load(x, 16);
  let x2 = v128.load(x, 32);
  let x3 = v128.load(x, 48);
  c0 = c1 = c2 = c3 = i64x2.splat(0);
  if (singular) {
    x0 = f64x2.mul(x0, x0);
    x1 = f64x2.mul(x1, x1);
    x2 = f64x2.mul(x2, x2);
    x3 = f64x2.mul(x3, x3);
  }
  // Of each, what is taken from the next element of the diagonal.
  let t0 = x0;
  let t1 = x1;
  let t2 = x2;
  let t3 = x3;
  for (const end = pairs + (<usize>n << 4); pairs < end; pairs += 16) {
    const center = v128.load64_splat(pairs);
    const square = v128.load64_splat(pairs + 8);
    const q0 = pivot(f64x2.sub(center, t0));
    const q1 = pivot(f64x2.sub(center, t1));
    const q2 = pivot(f64x2.sub(center, t2));
    const q3 = pivot(f64x2.sub(center, t3));
    c0 = i64x2.sub(c0, f64x2.lt(q0, zero));
    c1 = i64x2.sub(c1, f64x2.lt(q1, zero));
    c2 = i64x2.sub(c2, f64x2.lt(q2, zero));
    c3 = i64x2.sub(c3, f64x2.lt(q3, zero));
    if (singular) {
      t0 = f64x2.add(x0, f64x2.mul(square, f64x2.div(t0, q0)));
      t1 = f64x2.add(x1, f64x2.mul(square, f64x2.div(t1, q1)));
      t2 = f64x2.add(x2, f64x2.mul(square, f64x2.div(t2, q2)));
      t3 = f64x2.add(x3, f64x2.mul(square, f64x2.div(t3, q3)));
    } else {
      t0 = f64x2.add(x0, f64x2.div(square, q0));
      t1 = f64x2.add(x1, f64x2.div(square, q1));
      t2 = f64x2.add(x2, f64x2.div(square, q2));
      t3 = f64x2.add(x3, f64x2.div(square, q3));
    }
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
  const pairs = hi + 64;
  let norm: f64 = 0;
  for (let i = 0; i < n; i++) {
    const a = load<f64>(d + (<usize>i << 3));
    const c = i + 1 < n ? load<f64>(e + (<usize>i << 3)) : <f64>0;
    const before = i > 0 ? abs(load<f64>(e + (<usize>(i - 1) << 3))) : <f64>0;
    norm = max(norm, abs(a) + abs(c) + before);
    store<f64>(pairs + (<usize>i << 4), singular ? a * a : a);
    store<f64>(pairs + (<usize>i << 4), c * c, 8);
  }
  if (norm == 0) {
    for (let i = first; i < min(first + BISECTED, n); i++) store<f64>(operand(args, 14, b) + (<usize>i << 3), 0);
    return;
  }
  norm = norm * (1 + 16 * EPS) + PIVOT;
  const found = operand(args, 12, b);
  const least = singular ? <f64>0 : -norm;
  // Brackets a little around what was found; wider where that misses, up to all there is.
  for (let width = 4 * EPS * norm, done = false; !done; width *= 64) {
    done = true;
    for (let end = 0; end < 2; end++) {
      for (let i = 0; i < BISECTED; i++) {
        const at = <usize>i << 3;
        const value = load<f64>(found + (<usize>min(first + i, n - 1) << 3));
        const known = value == value && width < norm;
        const to = end ? (known ? min(value + width, norm) : norm) : known ? max(value - width, least) : least;
        store<f64>(x + at, to);
        store<f64>((end ? hi : lo) + at, to);
      }
      countBelow(pairs, n, singular, x);
      for (let i = 0; i < BISECTED; i++) {
        const at = x + (<usize>i << 3);
        const below = <i32>load<i64>(at, 64) > min(first + i, n - 1);
        // No value is below the least.
        if (width < norm && (end ? !below : below && load<f64>(at) > least)) done = false;
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
      if (to - from > max(EPS * abs(middle), 0.5 * EPS * norm) && middle > from && middle < to) open = true;
    }
    if (!open) break;
    countBelow(pairs, n, singular, x);
    for (let i = 0; i < BISECTED; i++) {
      const at = <usize>i << 3;
      const below = <i32>load<i64>(x + at, 64) > min(first + i, n - 1);
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
