// LU with partial pivoting: panels of columns recursively (Toledo 1997), the rest by blocks of columns.
import { operand, word } from "./args";
import { gemm } from "./gemm";
import { solveTriangle } from "./triangle";

/** Columns that are eliminated one by one. */
const LEAF = 8;

// @ts-ignore: decorator
@inline
function swapRows(x: usize, y: usize, bytes: usize): void {
  if (x == y) return;
  let i: usize = 0;
  for (; i + 16 <= bytes; i += 16) {
    const value = v128.load(x + i);
    v128.store(x + i, v128.load(y + i));
    v128.store(y + i, value);
  }
  for (; i < bytes; i += 4) {
    const value = load<i32>(x + i);
    store<i32>(x + i, load<i32>(y + i));
    store<i32>(y + i, value);
  }
}

/** Columns c0 to c1 of a panel [m, n] at `a`; rows are swapped in the whole panel. pivots[j] is the row that went to j. */
function factor<T>(a: usize, row: usize, m: i32, n: i32, c0: i32, c1: i32, pivots: usize, scratch: usize): void {
  if (c1 - c0 > LEAF) {
    const mid = c0 + ((((c1 - c0) >> 1) + LEAF - 1) & ~(LEAF - 1));
    factor<T>(a, row, m, n, c0, mid, pivots, scratch);
    const size = sizeof<T>();
    const at = a + <usize>c0 * row + <usize>c0 * size;
    const right = a + <usize>c0 * row + <usize>mid * size;
    const below = a + <usize>mid * row + <usize>c0 * size;
    solveTriangle<T>(at, row, size, right, row, size, mid - c0, c1 - mid, true, true, scratch);
    const corner = a + <usize>mid * row + <usize>mid * size;
    gemm<T>(m - mid, c1 - mid, mid - c0, <T>-1, below, row, size, right, row, size, corner, row, scratch);
    factor<T>(a, row, m, n, mid, c1, pivots, scratch);
    return;
  }
  for (let j = c0; j < c1; j++) {
    const column = a + <usize>j * sizeof<T>();
    let best = j;
    let most = <T>-1;
    for (let i = j, at = column + <usize>j * row; i < m; i++, at += row) {
      const value = abs<T>(load<T>(at));
      if (value > most) {
        most = value;
        best = i;
      }
    }
    store<i32>(pivots + (<usize>j << 2), best);
    swapRows(a + <usize>j * row, a + <usize>best * row, <usize>n * sizeof<T>());
    const top = column + <usize>j * row;
    const pivot = load<T>(top);
    if (pivot == 0) continue;
    const rest = <usize>(c1 - j) * sizeof<T>();
    for (let i = j + 1, at = top + row; i < m; i++, at += row) {
      const ratio = load<T>(at) / pivot;
      store<T>(at, ratio);
      for (let q: usize = sizeof<T>(); q < rest; q += sizeof<T>())
        store<T>(at + q, load<T>(at + q) - ratio * load<T>(top + q));
    }
  }
}

/**
 * Factors a panel [m, n] and copies it to `to`, where it is read from: rows of the matrix may share a set of the cache, and another
 * thread fetches them one by one.
 */
function factorPanel<T>(
  a: usize, row: usize, m: i32, n: i32, pivots: usize, to: usize, rowTo: usize, scratch: usize,
): void {
  factor<T>(a, row, m, n, 0, n, pivots, scratch);
  if (rowTo == 0) return;
  for (let i = 0; i < m; i++, a += row, to += rowTo) memory.copy(to, a, <usize>n * sizeof<T>());
}

/**
 * 6 panel, from its first pivot on  8 row  9 m  10 n  11 pivots (4 bytes each, counted from the panel's first row)
 * 13 copy  15 row of it (0: not wanted)
 */
export function luPanel<T>(args: usize, b: i32, scratch: usize): void {
  const a = operand(args, 6, b);
  const copy = operand(args, 13, b);
  const pivots = operand(args, 11, b);
  factorPanel<T>(a, <usize>word(args, 8), word(args, 9), word(args, 10), pivots, copy, <usize>word(args, 15), scratch);
}

/**
 * Swaps rows beside the panel; to its right also U's rows and what is below. Unit 0 has the columns of the next panel, if there is
 * one, which it then factors while other threads are at the rest.
 * 6 first row of the panel, column 0  8 row  9 m (rows from there)  10 first column  11 columns of the panel  12 all columns
 * 13 pivots  15 columns of a unit  16 columns of the next panel  17 copy of the panel  19 of the next  21 row of these
 */
export function luUpdate<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const a = operand(args, 6, b);
  const row = <usize>word(args, 8);
  const m = word(args, 9);
  const first = word(args, 10);
  const size = word(args, 11);
  const width = word(args, 15);
  const next = word(args, 16);
  const before = (first + width - 1) / width;
  const place = next > 0 ? unit - 1 : unit;
  const left = place >= 0 && place < before;
  let from = first + size;
  let columns = next;
  if (place >= 0) {
    from = left ? place * width : from + next + (place - before) * width;
    columns = min(width, (left ? first : word(args, 12)) - from);
  }
  const at = a + <usize>from * sizeof<T>();
  const pivots = operand(args, 13, b);
  for (let j = 0; j < size; j++) {
    const other = load<i32>(pivots + (<usize>j << 2));
    swapRows(at + <usize>j * row, at + <usize>other * row, <usize>columns * sizeof<T>());
  }
  if (left) return;
  const panel = operand(args, 17, b);
  const rowP = <usize>word(args, 21);
  solveTriangle<T>(panel, rowP, sizeof<T>(), at, row, sizeof<T>(), size, columns, true, true, scratch);
  const factors = panel + <usize>size * rowP;
  const below = at + <usize>size * row;
  gemm<T>(m - size, columns, size, <T>-1, factors, rowP, sizeof<T>(), at, row, sizeof<T>(), below, row, scratch);
  if (place < 0)
    factorPanel<T>(below, row, m - size, next, pivots + (<usize>size << 2), operand(args, 19, b), rowP, scratch);
}

/** The permutation and its sign. 6 pivots  8 p  10 sign  12 m  13 steps  14 columns of a panel  15 number of the first row */
export function luFinish<T>(args: usize, b: i32): void {
  const p = operand(args, 8, b);
  const pivots = operand(args, 6, b);
  const rows = word(args, 12);
  const steps = word(args, 13);
  const block = word(args, 14);
  const first = word(args, 15);
  for (let i = 0; i < rows; i++) store<i32>(p + (<usize>i << 2), i);
  let sign = <T>1;
  for (let panel = 0; panel < steps; panel += block) {
    const end = min(panel + block, steps);
    for (let k = panel; k < end; k++) {
      const other = load<i32>(pivots + (<usize>k << 2)) + panel - first;
      if (other == k) continue;
      const at = p + (<usize>k << 2);
      const to = p + (<usize>other << 2);
      const row = load<i32>(at);
      store<i32>(at, load<i32>(to));
      store<i32>(to, row);
      sign = -sign;
    }
  }
  store<T>(operand(args, 10, b), sign);
}
