// Blocks of reflections in the compact WY form: H₁ ⋯ H_k = I - V T Vᵀ (Schreiber and Van Loan 1989). Reflection i is row i of
// Vᵀ, with its zeros and its 1 written out.
import { operand, word } from "./args";
import { gemm, GEMM_SCRATCH } from "./gemm";
import { axpy, dot } from "./vector";

/** Upper triangular T of k reflections of length n: T[:i, i] = -tau_i T[:i, :i] V[:, :i]ᵀ v_i. */
export function blockFactor<T>(v: usize, rowV: usize, n: i32, k: i32, tau: usize, t: usize, rowT: usize): void {
  for (let i = 0; i < k; i++) {
    memory.fill(t + <usize>i * rowT, 0, <usize>k * sizeof<T>());
    const scale = <T>load<f64>(tau + (<usize>i << 3));
    const column = t + <usize>i * sizeof<T>();
    const x = v + <usize>i * rowV;
    for (let j = 0; j < i; j++) store<T>(column + <usize>j * rowT, dot<T>(v + <usize>j * rowV, x, n));
    for (let j = 0; j < i; j++) {
      const row = t + <usize>j * rowT;
      let sum = <T>0;
      for (let l = j; l < i; l++) sum += load<T>(row + <usize>l * sizeof<T>()) * load<T>(column + <usize>l * rowT);
      store<T>(column + <usize>j * rowT, -scale * sum);
    }
    store<T>(column + <usize>i * rowT, scale);
  }
}

/** T of each block, one a unit. 6 v  8 rowV  9 tau  11 t  13 reflections of a block  14 reflections  15 length  16 rowT */
export function blockFactors<T>(args: usize, b: i32, unit: i32): void {
  const block = word(args, 13);
  const first = unit * block;
  const rowV = <usize>word(args, 8);
  const rowT = <usize>word(args, 16);
  const v = operand(args, 6, b) + <usize>first * (rowV + sizeof<T>());
  const t = operand(args, 11, b) + <usize>first * rowT;
  const tau = operand(args, 9, b) + (<usize>first << 3);
  blockFactor<T>(v, rowV, word(args, 15) - first, min(block, word(args, 14) - first), tau, t, rowT);
}

/**
 * Columns of C -= V T Vᵀ C, or with Tᵀ; a unit has some columns.
 * 6 c  8 row  9 v  11 rowV  12 t  14 k  15 rows of C  16 columns of C  17 columns of a unit  18 transpose  19 rowT
 */
export function reflectLeft<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const rowC = <usize>word(args, 8);
  const v = operand(args, 9, b);
  const rowV = <usize>word(args, 11);
  const k = word(args, 14);
  const m = word(args, 15);
  const first = unit * word(args, 17);
  const columns = min(word(args, 17), word(args, 16) - first);
  const size = sizeof<T>();
  const c = operand(args, 6, b) + <usize>first * size;
  const row = (<usize>columns * size + 15) & ~15;
  const w = scratch + GEMM_SCRATCH;
  const x = w + <usize>k * row;
  memory.fill(w, 0, <usize>(2 * k) * row);
  gemm<T>(k, columns, m, <T>1, v, rowV, size, c, rowC, size, w, row, scratch);
  const rowT = <usize>word(args, 19);
  const turned = word(args, 18) != 0;
  const t = operand(args, 12, b);
  gemm<T>(k, columns, k, <T>1, t, turned ? size : rowT, turned ? rowT : size, w, row, size, x, row, scratch);
  gemm<T>(m, columns, k, <T>-1, v, size, rowV, x, row, size, c, rowC, scratch);
}

/** Rows of C -= C V T Vᵀ, or with Tᵀ; a unit has some rows. Words as above, 15 columns of C, 16 rows, 17 rows of a unit. */
export function reflectRight<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const rowC = <usize>word(args, 8);
  const v = operand(args, 9, b);
  const rowV = <usize>word(args, 11);
  const k = word(args, 14);
  const n = word(args, 15);
  const first = unit * word(args, 17);
  const rows = min(word(args, 17), word(args, 16) - first);
  const size = sizeof<T>();
  const c = operand(args, 6, b) + <usize>first * rowC;
  const row = (<usize>k * size + 15) & ~15;
  const w = scratch + GEMM_SCRATCH;
  const x = w + <usize>rows * row;
  memory.fill(w, 0, <usize>(2 * rows) * row);
  gemm<T>(rows, k, n, <T>1, c, rowC, size, v, size, rowV, w, row, scratch);
  const rowT = <usize>word(args, 19);
  const turned = word(args, 18) != 0;
  const t = operand(args, 12, b);
  gemm<T>(rows, k, k, <T>1, w, row, size, t, turned ? size : rowT, turned ? rowT : size, x, row, scratch);
  gemm<T>(rows, n, k, <T>-1, x, row, size, v, rowV, size, c, rowC, scratch);
}

/** row -= tau (row · v) v for each of some rows. */
// @ts-ignore: decorator
@inline
export function reflectRows<T>(v: usize, tau: f64, rows: usize, row: usize, count: i32, n: i32): void {
  if (tau == 0) return;
  for (let i = 0; i < count; i++, rows += row) axpy<T>(<T>-tau * dot<T>(v, rows, n), v, rows, n);
}
