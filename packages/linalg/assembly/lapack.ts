// Between the routines of a host's LAPACK and what a decomposition hands out.
import { fail, operand, word } from "./args";
import { NOT_POSITIVE, SINGULAR } from "./faults";

/** Rounds that LAPACK gives an eigenvalue or singular value. */
const ROUNDS = 30;

/** A fault where `info` is above 0. 6 info  8 fault  9 a, whose pivot NOT_POSITIVE names (SINGULAR: 0)  11 row */
export function info<T>(args: usize, b: i32): void {
  const found = load<i32>(operand(args, 6, b));
  if (found <= 0) return;
  const fault = word(args, 8);
  if (fault == SINGULAR) return fail(args, b, fault, found - 1, 0, 0);
  if (fault != NOT_POSITIVE) return fail(args, b, fault, ROUNDS, 0, NaN);
  const pivot = found - 1;
  const along = <usize>word(args, 11) + sizeof<T>();
  fail(args, b, fault, pivot, 0, <f64>load<T>(operand(args, 9, b) + <usize>pivot * along));
}

/** Zeros: geqp3 may move every column. 6 p  8 n */
export function freeColumns(args: usize, b: i32): void {
  memory.fill(operand(args, 6, b), 0, <usize>word(args, 8) << 2);
}

/** A permutation that counts from 1 as one that counts from 0. 6 from  8 to  10 n */
export function fromOne(args: usize, b: i32): void {
  const from = operand(args, 6, b);
  const to = operand(args, 8, b);
  for (let i: usize = 0; i < <usize>word(args, 10); i++) store<i32>(to + (i << 2), load<i32>(from + (i << 2)) - 1);
}

/** Values as f64, ascending. 6 from  8 to  10 n  11 from are descending */
export function widen<T>(args: usize, b: i32): void {
  const from = operand(args, 6, b);
  const to = operand(args, 8, b);
  const n = word(args, 10);
  for (let i = 0; i < n; i++) {
    const source = word(args, 11) ? n - 1 - i : i;
    store<f64>(to + (<usize>i << 3), <f64>load<T>(from + <usize>source * sizeof<T>()));
  }
}

/**
 * Turns signs so that of each column of u the element of largest magnitude, the first of equal ones, is positive.
 * 6 u  8 row  9 rows  10 columns  11 vᵀ  13 row  14 rows that turn with the columns  15 columns  16 room: 16 bytes a column
 */
export function svdSigns<T>(args: usize, b: i32): void {
  const u = operand(args, 6, b);
  const rowU = <usize>word(args, 8);
  const rows = word(args, 9);
  const columns = word(args, 10);
  const most = operand(args, 16, b);
  const signs = most + (<usize>columns << 3);
  memory.fill(most, 0, <usize>columns << 4);
  for (let i = 0; i < rows; i++) {
    const at = u + <usize>i * rowU;
    for (let j = 0; j < columns; j++) {
      const value = <f64>load<T>(at + <usize>j * sizeof<T>());
      if (abs(value) <= load<f64>(most + (<usize>j << 3))) continue;
      store<f64>(most + (<usize>j << 3), abs(value));
      store<f64>(signs + (<usize>j << 3), value);
    }
  }
  for (let j = 0; j < columns; j++) {
    const at = signs + (<usize>j << 3);
    store<f64>(at, load<f64>(at) < 0 ? -1 : 1);
  }
  for (let i = 0; i < rows; i++) {
    const at = u + <usize>i * rowU;
    for (let j = 0; j < columns; j++) {
      const x = at + <usize>j * sizeof<T>();
      store<T>(x, load<T>(x) * <T>load<f64>(signs + (<usize>j << 3)));
    }
  }
  for (let j = 0; j < word(args, 14); j++) {
    if (load<f64>(signs + (<usize>j << 3)) > 0) continue;
    const at = operand(args, 11, b) + <usize>j * <usize>word(args, 13);
    for (let i = 0; i < word(args, 15); i++) {
      const x = at + <usize>i * sizeof<T>();
      store<T>(x, -load<T>(x));
    }
  }
}
