// QR by Householder's reflections: a panel as rows, so that its columns are contiguous; and with pivoting.
import { cut, operand, UNITS, word } from "./args";
import { blockFactor, reflectRows } from "./reflect";
import { beta, reflector, tau } from "./vector";

/**
 * Reflections of a panel of W, its part of R in place, and their T.
 * 6 w at the panel's corner  8 row  9 vᵀ at the corner  11 rowV  12 t  14 rowT  15 rows from the corner  16 columns  17 tau
 */
export function qrPanel<T>(args: usize, b: i32): void {
  const w = operand(args, 6, b);
  const row = <usize>word(args, 8);
  const v = operand(args, 9, b);
  const rowV = <usize>word(args, 11);
  const m = word(args, 15);
  const n = word(args, 16);
  const taus = operand(args, 17, b);
  const size = sizeof<T>();
  for (let i = 0; i < m; i++) {
    const from = w + <usize>i * row;
    for (let j = 0; j < n; j++) store<T>(v + <usize>j * rowV + <usize>i * size, load<T>(from + <usize>j * size));
  }
  for (let j = 0; j < n; j++) {
    const x = v + <usize>j * (rowV + size);
    reflector<T>(x, m - j);
    store<f64>(taus + (<usize>j << 3), tau);
    store<T>(w + <usize>j * (row + size), <T>beta);
    reflectRows<T>(x, tau, x + rowV, rowV, n - j - 1, m - j);
    for (let l = j + 1; l < n; l++) {
      const at = v + <usize>l * rowV + <usize>j * size;
      store<T>(w + <usize>j * row + <usize>l * size, load<T>(at));
      store<T>(at, <T>0);
    }
  }
  blockFactor<T>(v, rowV, m, n, taus, operand(args, 12, b), <usize>word(args, 14));
}

/**
 * QR with the column of largest rest first, in the columns of A as rows of C (LAPACK's geqp3, Golub and Van Loan 5.4.2).
 * 6 c  8 row  9 vᵀ  11 rowV  12 tau  14 p (i32)  16 m  17 n  18 norms: 16 bytes a column
 */
export function qrPivoted<T>(args: usize, b: i32): void {
  const c = operand(args, 6, b);
  const row = <usize>word(args, 8);
  const v = operand(args, 9, b);
  const rowV = <usize>word(args, 11);
  const taus = operand(args, 12, b);
  const p = operand(args, 14, b);
  const m = word(args, 16);
  const n = word(args, 17);
  const norms = operand(args, 18, b);
  const size = sizeof<T>();
  for (let j = 0; j < n; j++) {
    store<i32>(p + (<usize>j << 2), j);
    setNorm<T>(norms, j, c + <usize>j * row, m);
  }
  for (let k = 0; k < min(m, n); k++) {
    let best = k;
    for (let j = k + 1; j < n; j++)
      if (load<f64>(norms + (<usize>j << 4)) > load<f64>(norms + (<usize>best << 4))) best = j;
    if (best != k) {
      swap(c + <usize>k * row, c + <usize>best * row, <usize>m * size);
      swap(p + (<usize>k << 2), p + (<usize>best << 2), 4);
      swap(norms + (<usize>k << 4), norms + (<usize>best << 4), 16);
    }
    const x = v + <usize>k * rowV;
    const from = <usize>k * size;
    memory.fill(x, 0, from);
    memory.copy(x + from, c + <usize>k * row + from, <usize>(m - k) * size);
    reflector<T>(x + from, m - k);
    store<f64>(taus + (<usize>k << 3), tau);
    const below = c + <usize>(k + 1) * row + from;
    store<T>(c + <usize>k * row + from, <T>beta);
    reflectRows<T>(x + from, tau, below, row, n - k - 1, m - k);
    // What is left of each norm, anew where the difference has lost digits (Drmač and Bujanović 2008).
    for (let j = k + 1; j < n; j++) {
      const at = norms + (<usize>j << 4);
      const norm = load<f64>(at);
      if (norm == 0) continue;
      const ratio = <f64>load<T>(c + <usize>j * row + from) / norm;
      const left = max(0, (1 - ratio) * (1 + ratio));
      const seen = norm / load<f64>(at, 8);
      if (left * seen * seen <= (size == 8 ? 1.5e-8 : 3.5e-4)) setNorm<T>(norms, j, c + <usize>j * row + from + size, m - k - 1);
      else store<f64>(at, norm * sqrt<f64>(left));
    }
  }
}

function setNorm<T>(norms: usize, j: i32, x: usize, n: i32): void {
  let sum: f64 = 0;
  for (let i = 0; i < n; i++, x += sizeof<T>()) sum += <f64>load<T>(x) * <f64>load<T>(x);
  store<f64>(norms + (<usize>j << 4), sqrt<f64>(sum));
  store<f64>(norms + (<usize>j << 4), sqrt<f64>(sum), 8);
}

function swap(x: usize, y: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 4) {
    const value = load<i32>(x + i);
    store<i32>(x + i, load<i32>(y + i));
    store<i32>(y + i, value);
  }
}

/**
 * Turns signs so that R's diagonal, read from w, is not negative.
 * 6 q  8 row  9 rows  10 columns  11 r  13 row  14 rows  15 columns  16 w  18 bytes along its diagonal  19 its length
 */
export function qrFinish<T>(args: usize, b: i32, unit: i32): void {
  const units = load<i32>(args, UNITS);
  const w = operand(args, 16, b);
  const along = <usize>word(args, 18);
  const length = word(args, 19);
  const r = operand(args, 11, b);
  const q = operand(args, 6, b);
  const columns = min(length, word(args, 10));
  const lastR = min(cut(word(args, 14), unit + 1, units), length);
  for (let i = cut(word(args, 14), unit, units); i < lastR; i++) {
    if (!(load<T>(w + <usize>i * along) < 0)) continue;
    const at = r + <usize>i * <usize>word(args, 13);
    for (let j = i; j < word(args, 15); j++) {
      const x = at + <usize>j * sizeof<T>();
      store<T>(x, -load<T>(x));
    }
  }
  const last = cut(word(args, 9), unit + 1, units);
  for (let i = cut(word(args, 9), unit, units); i < last; i++) {
    const at = q + <usize>i * <usize>word(args, 8);
    for (let j = 0; j < columns; j++) {
      const x = at + <usize>j * sizeof<T>();
      if (load<T>(w + <usize>j * along) < 0) store<T>(x, -load<T>(x));
    }
  }
}
