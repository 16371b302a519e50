// Symmetric to tridiagonal by blocks (LAPACK's sytrd and latrd; Dongarra, Sorensen and Hammarling 1989). Only the lower triangle is
// read and kept. Vectors of a panel are rows: v of all columns, w of the panel.
import { operand, UNITS, word } from "./args";
import { loadSplat, madd, sumLanes } from "./simd";
import { addRows, axpy, beta, dot, dotRows, reflector, scale, tau } from "./vector";

/**
 * Column i of the panel that began at j0: first w of the column before, from the parts of A v; then column i as it is now,
 * and its reflection, which is column i + 1 on.
 * 6 a  8 row  9 v  11 rowV  12 w  14 rowW  15 n  16 i  17 j0  18 parts, rows of n  20 how many  21 d  23 e  25 tau
 * 26 step of tau  27 only w
 */
export function tridiagonalColumn<T>(args: usize, b: i32, scratch: usize): void {
  const size = sizeof<T>();
  const row = <usize>word(args, 8);
  const rowV = <usize>word(args, 11);
  const rowW = <usize>word(args, 14);
  const n = word(args, 15);
  const i = word(args, 16);
  const j0 = word(args, 17);
  const v = operand(args, 9, b);
  const w = operand(args, 12, b);
  const taus = operand(args, 25, b);
  const done = i - j0;
  if (done > 0) {
    // w = tau (p - Σ v_l (w_l · v) + w_l (v_l · v)), then w -= tau / 2 (w · v) v
    const at = <usize>i * size;
    const count = n - i;
    const x = v + <usize>(i - 1) * rowV + at;
    const p = operand(args, 18, b) + at;
    const y = w + <usize>(done - 1) * rowW + at;
    const factor = load<f64>(taus + (<usize>(i - 1) << 3));
    memory.copy(y, p, <usize>count * size);
    for (let part = 1; part < word(args, 20); part++) axpy<T>(<T>1, p + <usize>part * <usize>n * size, y, count);
    const panelV = v + <usize>j0 * rowV + at;
    dotRows<T>(w + at, rowW, done - 1, x, count, scratch);
    addRows<T>(-1, panelV, rowV, done - 1, scratch, size, y, count);
    dotRows<T>(panelV, rowV, done - 1, x, count, scratch);
    addRows<T>(-1, w + at, rowW, done - 1, scratch, size, y, count);
    scale<T>(<T>factor, y, count);
    axpy<T>(<T>(-0.5 * factor * <f64>dot<T>(y, x, count)), x, y, count);
  }
  if (word(args, 27)) return;
  const at = <usize>i * size;
  const count = n - i;
  const x = v + <usize>i * rowV;
  const column = x + at;
  const a = operand(args, 6, b) + at;
  for (let r = 0; r < count; r++) store<T>(column + <usize>r * size, load<T>(a + <usize>(i + r) * row));
  const panelV = v + <usize>j0 * rowV + at;
  addRows<T>(-1, panelV, rowV, done, w + at, rowW, column, count);
  addRows<T>(-1, w + at, rowW, done, panelV, rowV, column, count);
  store<f64>(operand(args, 21, b) + (<usize>i << 3), <f64>load<T>(column));
  memory.fill(x, 0, at + size);
  if (i + 1 < n) {
    reflector<T>(column + size, count - 1);
    store<f64>(operand(args, 23, b) + (<usize>i << 3), beta);
    store<f64>(taus + (<usize>i << 3), tau);
  }
}

/** First row of part `part` of `parts` of a triangle of n rows: parts of one area, whole fours. */
function rowOfPart(n: i32, part: i32, parts: i32): i32 {
  if (part >= parts) return n;
  return <i32>(<f64>n * sqrt<f64>(<f64>part / <f64>parts)) & ~3;
}

/** A part of p = A x for symmetric A, of which the rows of a unit are read once. 6 a  8 row  9 x  11 p  13 bytes of a part  14 n */
export function symmetricVector<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const size = sizeof<T>();
  const row = <usize>word(args, 8);
  const n = word(args, 14);
  const units = load<i32>(args, UNITS);
  const last = rowOfPart(n, unit + 1, units);
  const first = rowOfPart(n, unit, units);
  const x = operand(args, 9, b);
  const y = operand(args, 11, b) + <usize>unit * <usize>word(args, 13);
  memory.fill(y, 0, <usize>n * size);
  const a = operand(args, 6, b);
  for (let r = first; r < last; r += ROWS) {
    const end = min(r + ROWS, last);
    const bytes = <usize>end * size;
    memory.fill(scratch, 0, bytes);
    someRows<T>(a, row, x, scratch, r, end);
    axpy<T>(1, scratch, y, end);
  }
}

/** Rows, and bytes of a row, whose products are summed apart: long sums of like numbers are all rounded one way. */
const ROWS = 64;
const BLOCK: usize = 512;

function someRows<T>(a: usize, row: usize, x: usize, y: usize, r: i32, last: i32): void {
  const size = sizeof<T>();
  for (; r + 4 <= last; r += 4) {
    const a0 = a + <usize>r * row;
    const a1 = a0 + row;
    const a2 = a1 + row;
    const a3 = a2 + row;
    const at = <usize>r * size;
    const x0 = loadSplat<T>(x + at);
    const x1 = loadSplat<T>(x + at + size);
    const x2 = loadSplat<T>(x + at + 2 * size);
    const x3 = loadSplat<T>(x + at + 3 * size);
    let t0 = i64x2.splat(0);
    let t1 = t0;
    let t2 = t0;
    let t3 = t0;
    for (let c: usize = 0; c < at; ) {
      let s0 = i64x2.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (const end = min(c + BLOCK, at); c < end; c += 16) {
        const xc = v128.load(x + c);
        let z = v128.load(a0 + c);
        s0 = madd<T>(z, xc, s0);
        let yc = v128.mul<T>(z, x0);
        z = v128.load(a1 + c);
        s1 = madd<T>(z, xc, s1);
        yc = madd<T>(z, x1, yc);
        z = v128.load(a2 + c);
        s2 = madd<T>(z, xc, s2);
        yc = madd<T>(z, x2, yc);
        z = v128.load(a3 + c);
        s3 = madd<T>(z, xc, s3);
        yc = madd<T>(z, x3, yc);
        v128.store(y + c, v128.add<T>(v128.load(y + c), yc));
      }
      t0 = v128.add<T>(t0, s0);
      t1 = v128.add<T>(t1, s1);
      t2 = v128.add<T>(t2, s2);
      t3 = v128.add<T>(t3, s3);
    }
    add<T>(y + at, sumLanes<T>(t0));
    add<T>(y + at + size, sumLanes<T>(t1));
    add<T>(y + at + 2 * size, sumLanes<T>(t2));
    add<T>(y + at + 3 * size, sumLanes<T>(t3));
    for (let i: usize = 0; i < 4; i++) corner<T>(a0 + i * row + at, x + at, y + at, i);
  }
  for (; r < last; r++) {
    const at = a + <usize>r * row;
    const here = <usize>r * size;
    add<T>(y + here, dot<T>(at, x, r));
    axpy<T>(load<T>(x + here), at, y, r);
    add<T>(y + here, load<T>(at + here) * load<T>(x + here));
  }
}

// @ts-ignore: decorator
@inline
function add<T>(at: usize, value: T): void {
  store<T>(at, load<T>(at) + value);
}

/** Row i of a block of the diagonal. */
function corner<T>(a: usize, x: usize, y: usize, i: usize): void {
  const size = sizeof<T>();
  for (let j: usize = 0; j < i; j++) {
    const value = load<T>(a + j * size);
    add<T>(y + i * size, value * load<T>(x + j * size));
    add<T>(y + j * size, value * load<T>(x + i * size));
  }
  add<T>(y + i * size, load<T>(a + i * size) * load<T>(x + i * size));
}
