// General to upper bidiagonal by blocks (LAPACK's gebrd and labrd), m ≥ n. A now is A - Σ u_l y_lᵀ + x_l p_lᵀ over the columns of
// the panel; all vectors are rows.
import { cut, operand, UNITS, word } from "./args";
import { lanes, loadSplat, madd, sumLanes } from "./simd";
import { axpy, beta, dot, reflector, scale, tau } from "./vector";

/**
 * Column i of the panel that began at j0: first x of the row before, then column i as it is now, and its reflection.
 * 6 a  8 row  9 u  11 rowU  12 p  14 rowP  15 x  17 rowX  18 y  20 rowY  21 m  22 n  23 i  24 j0
 * 25 A p  27 d  29 tau of u  31 tau of p  33 only x
 */
export function bidiagonalColumn<T>(args: usize, b: i32): void {
  const size = sizeof<T>();
  const rowU = <usize>word(args, 11);
  const rowP = <usize>word(args, 14);
  const rowX = <usize>word(args, 17);
  const rowY = <usize>word(args, 20);
  const m = word(args, 21);
  const n = word(args, 22);
  const i = word(args, 23);
  const j0 = word(args, 24);
  const u = operand(args, 9, b);
  const p = operand(args, 12, b);
  const x = operand(args, 15, b);
  const y = operand(args, 18, b);
  const at = <usize>i * size;
  const done = i - j0;
  if (done > 0) {
    // x = tau (A p - Σ u_l (y_l · p) - x_l (p_l · p)), below row i - 1
    const last = p + <usize>(i - 1) * rowP + at;
    const to = x + <usize>(done - 1) * rowX + at;
    memory.copy(to, operand(args, 25, b) + at, <usize>(m - i) * size);
    for (let l = 0; l < done; l++) {
      axpy<T>(-dot<T>(y + <usize>l * rowY + at, last, n - i), u + <usize>(j0 + l) * rowU + at, to, m - i);
      if (l == done - 1) break;
      axpy<T>(-dot<T>(p + <usize>(j0 + l) * rowP + at, last, n - i), x + <usize>l * rowX + at, to, m - i);
    }
    scale<T>(<T>load<f64>(operand(args, 31, b) + (<usize>(i - 1) << 3)), to, m - i);
  }
  if (word(args, 33)) return;
  const row = <usize>word(args, 8);
  const start = u + <usize>i * rowU;
  const column = start + at;
  const a = operand(args, 6, b) + at;
  memory.fill(start, 0, at);
  for (let r = i; r < m; r++) store<T>(start + <usize>r * size, load<T>(a + <usize>r * row));
  for (let l = 0; l < done; l++) {
    axpy<T>(-load<T>(y + <usize>l * rowY + at), u + <usize>(j0 + l) * rowU + at, column, m - i);
    axpy<T>(-load<T>(p + <usize>(j0 + l) * rowP + at), x + <usize>l * rowX + at, column, m - i);
  }
  reflector<T>(column, m - i);
  store<f64>(operand(args, 27, b) + (<usize>i << 3), beta);
  store<f64>(operand(args, 29, b) + (<usize>i << 3), tau);
}

/**
 * Row i: first y of column i from the parts of Aᵀ u, then row i as it is now, and its reflection from element i + 1 on.
 * As above to 24; 25 parts of Aᵀ u, rows of n  27 e  29 tau of u  31 tau of p  33 how many
 */
export function bidiagonalRow<T>(args: usize, b: i32): void {
  const size = sizeof<T>();
  const rowU = <usize>word(args, 11);
  const rowP = <usize>word(args, 14);
  const rowX = <usize>word(args, 17);
  const rowY = <usize>word(args, 20);
  const m = word(args, 21);
  const n = word(args, 22);
  const i = word(args, 23);
  const j0 = word(args, 24);
  const u = operand(args, 9, b);
  const p = operand(args, 12, b);
  const x = operand(args, 15, b);
  const y = operand(args, 18, b);
  const done = i - j0;
  const count = n - i - 1;
  const at = <usize>(i + 1) * size;
  const here = <usize>i * size;
  const start = p + <usize>i * rowP;
  memory.fill(start, 0, at);
  if (count <= 0) return;
  // y = tau (Aᵀ u - Σ y_l (u_l · u) - p_l (x_l · u))
  const ui = u + <usize>i * rowU + here;
  const to = y + <usize>done * rowY + at;
  const parts = operand(args, 25, b) + at;
  memory.copy(to, parts, <usize>count * size);
  for (let part = 1; part < word(args, 33); part++) axpy<T>(<T>1, parts + <usize>(part * n) * size, to, count);
  for (let l = 0; l < done; l++) {
    axpy<T>(-dot<T>(u + <usize>(j0 + l) * rowU + here, ui, m - i), y + <usize>l * rowY + at, to, count);
    axpy<T>(-dot<T>(x + <usize>l * rowX + here, ui, m - i), p + <usize>(j0 + l) * rowP + at, to, count);
  }
  scale<T>(<T>load<f64>(operand(args, 29, b) + (<usize>i << 3)), to, count);
  const line = start + at;
  memory.copy(line, operand(args, 6, b) + <usize>i * <usize>word(args, 8) + at, <usize>count * size);
  for (let l = 0; l <= done; l++) {
    axpy<T>(-load<T>(u + <usize>(j0 + l) * rowU + here), y + <usize>l * rowY + at, line, count);
    if (l == done) break;
    axpy<T>(-load<T>(x + <usize>l * rowX + here), p + <usize>(j0 + l) * rowP + at, line, count);
  }
  reflector<T>(line, count);
  store<f64>(operand(args, 27, b) + (<usize>i << 3), beta);
  store<f64>(operand(args, 31, b) + (<usize>i << 3), tau);
}

/** A part of y = Aᵀ x over some rows. 6 a  8 row  9 x  11 y  13 bytes of a part  14 rows  15 columns */
export function columnsVector<T>(args: usize, b: i32, unit: i32): void {
  const size = sizeof<T>();
  const row = <usize>word(args, 8);
  const n = word(args, 15);
  const units = load<i32>(args, UNITS);
  const last = cut(word(args, 14), unit + 1, units);
  const x = operand(args, 9, b);
  const y = operand(args, 11, b) + <usize>unit * <usize>word(args, 13);
  memory.fill(y, 0, <usize>n * size);
  let r = cut(word(args, 14), unit, units);
  let a = operand(args, 6, b) + <usize>r * row;
  for (; r + 4 <= last; r += 4, a += 4 * row) {
    const at = x + <usize>r * size;
    const x0 = loadSplat<T>(at);
    const x1 = loadSplat<T>(at + size);
    const x2 = loadSplat<T>(at + 2 * size);
    const x3 = loadSplat<T>(at + 3 * size);
    let j = 0;
    let c: usize = 0;
    for (; j + lanes<T>() <= n; j += lanes<T>(), c += 16) {
      const from = a + c;
      let sum = madd<T>(v128.load(from), x0, v128.load(y + c));
      sum = madd<T>(v128.load(from + row), x1, sum);
      sum = madd<T>(v128.load(from + 2 * row), x2, sum);
      v128.store(y + c, madd<T>(v128.load(from + 3 * row), x3, sum));
    }
    for (; j < n; j++, c += size) {
      let sum = load<T>(y + c);
      for (let i: usize = 0; i < 4; i++) sum += load<T>(a + i * row + c) * load<T>(at + i * size);
      store<T>(y + c, sum);
    }
  }
  for (; r < last; r++, a += row) axpy<T>(load<T>(x + <usize>r * size), a, y, n);
}

/** Some of y = A x. 6 a  8 row  9 x  11 y  13 rows  14 columns */
export function rowsVector<T>(args: usize, b: i32, unit: i32): void {
  const size = sizeof<T>();
  const row = <usize>word(args, 8);
  const n = word(args, 14);
  const units = load<i32>(args, UNITS);
  const last = cut(word(args, 13), unit + 1, units);
  const x = operand(args, 9, b);
  const y = operand(args, 11, b);
  let r = cut(word(args, 13), unit, units);
  let a = operand(args, 6, b) + <usize>r * row;
  for (; r + 4 <= last; r += 4, a += 4 * row) {
    let s0 = i64x2.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    let j = 0;
    let c: usize = 0;
    for (; j + lanes<T>() <= n; j += lanes<T>(), c += 16) {
      const xc = v128.load(x + c);
      const from = a + c;
      s0 = madd<T>(v128.load(from), xc, s0);
      s1 = madd<T>(v128.load(from + row), xc, s1);
      s2 = madd<T>(v128.load(from + 2 * row), xc, s2);
      s3 = madd<T>(v128.load(from + 3 * row), xc, s3);
    }
    const to = y + <usize>r * size;
    store<T>(to, sumLanes<T>(s0));
    store<T>(to, sumLanes<T>(s1), size);
    store<T>(to, sumLanes<T>(s2), 2 * size);
    store<T>(to, sumLanes<T>(s3), 3 * size);
    for (; j < n; j++, c += size) {
      for (let i: usize = 0; i < 4; i++)
        store<T>(to + i * size, load<T>(to + i * size) + load<T>(a + i * row + c) * load<T>(x + c));
    }
  }
  for (; r < last; r++, a += row) store<T>(y + <usize>r * size, dot<T>(a, x, n));
}
