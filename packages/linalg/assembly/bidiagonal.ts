// General to upper bidiagonal by blocks (LAPACK's gebrd and labrd), m ≥ n. A now is A - Σ u_l y_lᵀ + x_l p_lᵀ over the columns of
// the panel; all vectors are rows. A p of a row and Aᵀ v of the column after it are made together, so that what is left of A is
// read once for both (Howell, Demmel, Fulton, Hammarling and Marmol 2008).
//   6 a  8 row  9 u  11 rowU  12 p  14 rowP  15 x  17 rowX  18 y  20 rowY  21 m  22 n  23 i  24 j0
//   25 parts of Aᵀ v, rows of n  27 d  29 tau of u  31 e  33 tau of p  35 products of p with each y, with each p, of the panel
import { cut, operand, UNITS, word } from "./args";
import { addRows, axpy, beta, dotRows, reflector, scale, tau } from "./vector";

/**
 * Some elements of x of row i - 1 and of column i as it is now, v, and their part of Aᵀ v.
 * 37 which: 1 x  2 v
 */
export function bidiagonalPass<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const size = sizeof<T>();
  const rowA = <usize>word(args, 8);
  const rowU = <usize>word(args, 11);
  const rowP = <usize>word(args, 14);
  const rowX = <usize>word(args, 17);
  const n = word(args, 22);
  const i = word(args, 23);
  const j0 = word(args, 24);
  const units = load<i32>(args, UNITS);
  const rows = word(args, 21) - i;
  const first = i + cut(rows, unit, units);
  const last = i + cut(rows, unit + 1, units);
  const at = <usize>i * size;
  const here = <usize>first * size;
  const done = i - j0;
  const withX = (word(args, 37) & 1) != 0;
  const withV = (word(args, 37) & 2) != 0;
  const panelU = operand(args, 9, b) + <usize>j0 * rowU + here;
  const panelX = operand(args, 15, b) + here;
  const p = operand(args, 12, b) + <usize>j0 * rowP + at;
  const lastP = p + <usize>(done - 1) * rowP;
  const x = panelX + <usize>(done - 1) * rowX - here;
  const v = panelU + <usize>done * rowU - here;
  const sums = operand(args, 25, b) + <usize>(unit * n) * size + at;
  let factor: T = 0;
  if (withX) {
    // x = tau (A p - Σ u_l (y_l · p) - x_l (p_l · p))
    factor = <T>load<f64>(operand(args, 33, b) + (<usize>(i - 1) << 3));
    const products = operand(args, 35, b);
    memory.fill(x + here, 0, <usize>(last - first) * size);
    addRows<T>(-1, panelU, rowU, done, products, size, x + here, last - first);
    addRows<T>(-1, panelX, rowX, done - 1, products + <usize>done * size, size, x + here, last - first);
  }
  if (withV) {
    memory.fill(v + here, 0, <usize>(last - first) * size);
    const rowY = <usize>word(args, 20);
    addRows<T>(-1, panelU, rowU, done, operand(args, 18, b) + at, rowY, v + here, last - first);
    addRows<T>(-1, panelX, rowX, done - 1, p, rowP, v + here, last - first);
    memory.fill(sums, 0, <usize>(n - i) * size);
  }
  let a = operand(args, 6, b) + <usize>first * rowA + at;
  for (let r = first; r < last; r += 4, a += 4 * rowA) {
    const count = min(4, last - r);
    if (withX) dotRows<T>(a, rowA, count, lastP, n - i, scratch);
    for (let k = 0; k < count; k++) {
      const to = <usize>(r + k) * size;
      if (withX) store<T>(x + to, factor * (load<T>(x + to) + load<T>(scratch + <usize>k * size)));
      if (!withV) continue;
      const value = load<T>(v + to) + load<T>(a + <usize>k * rowA);
      store<T>(v + to, withX ? value - load<T>(x + to) : value);
    }
    if (withV) addRows<T>(1, a, rowA, count, v + <usize>r * size, size, sums, n - i);
  }
}

/**
 * The reflection of column i and its y, then row i as it is now and its reflection, from element i + 1 on. 37 parts of Aᵀ v
 */
export function bidiagonalRow<T>(args: usize, b: i32, scratch: usize): void {
  const size = sizeof<T>();
  const rowU = <usize>word(args, 11);
  const rowP = <usize>word(args, 14);
  const rowX = <usize>word(args, 17);
  const rowY = <usize>word(args, 20);
  const m = word(args, 21);
  const n = word(args, 22);
  const i = word(args, 23);
  const j0 = word(args, 24);
  const done = i - j0;
  const count = n - i - 1;
  const at = <usize>(i + 1) * size;
  const here = <usize>i * size;
  const panelU = operand(args, 9, b) + <usize>j0 * rowU + here;
  const panelX = operand(args, 15, b) + here;
  const panelP = operand(args, 12, b) + <usize>j0 * rowP + at;
  const panelY = operand(args, 18, b) + at;
  const u = panelU + <usize>done * rowU;
  const line = panelP + <usize>done * rowP;
  const alpha = <f64>load<T>(u);
  memory.fill(u - here, 0, here);
  reflector<T>(u, m - i);
  const factor = <T>tau;
  store<f64>(operand(args, 27, b) + (<usize>i << 3), beta);
  store<f64>(operand(args, 29, b) + (<usize>i << 3), tau);
  memory.fill(line - at, 0, at);
  if (count <= 0) return;
  const a = operand(args, 6, b) + <usize>i * <usize>word(args, 8) + at;
  const y = panelY + <usize>done * rowY;
  memory.fill(y, 0, <usize>count * size);
  if (factor != 0) {
    // y = tau (Aᵀ u - Σ y_l (u_l · u) - p_l (x_l · u)), u = (v - beta e₀) / (alpha - beta)
    const parts = operand(args, 25, b) + at;
    for (let part = 0; part < word(args, 37); part++) axpy<T>(1, parts + <usize>(part * n) * size, y, count);
    axpy<T>(<T>-beta, a, y, count);
    scale<T>(<T>(1 / (alpha - beta)), y, count);
    dotRows<T>(panelU, rowU, done, u, m - i, scratch);
    addRows<T>(-1, panelY, rowY, done, scratch, size, y, count);
    dotRows<T>(panelX, rowX, done, u, m - i, scratch);
    addRows<T>(-1, panelP, rowP, done, scratch, size, y, count);
    scale<T>(factor, y, count);
  }
  memory.copy(line, a, <usize>count * size);
  addRows<T>(-1, panelY, rowY, done + 1, panelU, rowU, line, count);
  addRows<T>(-1, panelP, rowP, done, panelX, rowX, line, count);
  reflector<T>(line, count);
  store<f64>(operand(args, 31, b) + (<usize>i << 3), beta);
  store<f64>(operand(args, 33, b) + (<usize>i << 3), tau);
  const products = operand(args, 35, b);
  dotRows<T>(panelY, rowY, done + 1, line, count, products);
  dotRows<T>(panelP, rowP, done, line, count, products + <usize>(done + 1) * size);
}
