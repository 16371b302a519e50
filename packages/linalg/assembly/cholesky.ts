// Blocks of the diagonal of Cholesky's factorisation; the panel below is `triangular`.
import { fail, operand, word } from "./args";
import { NOT_POSITIVE } from "./faults";
import { product } from "./gemm";
import { dot } from "./vector";

/** a = L Lᵀ in place, rows by dots. */
function factor<T>(args: usize, b: i32, a: usize, row: usize, n: i32, first: i32): void {
  for (let i = 0; i < n; i++) {
    const x = a + <usize>i * row;
    for (let j = 0; j < i; j++) {
      const y = a + <usize>j * row;
      const at = <usize>j * sizeof<T>();
      store<T>(x + at, (load<T>(x + at) - dot<T>(x, y, j)) / load<T>(y + at));
    }
    const at = x + <usize>i * sizeof<T>();
    const rest = load<T>(at) - dot<T>(x, x, i);
    if (!(rest > 0)) return fail(args, b, NOT_POSITIVE, first + i, 0, <f64>rest);
    store<T>(at, sqrt<T>(rest));
  }
}

/** 6 a  8 row  9 n  10 number of its first row in the whole matrix */
export function choleskyBlock<T>(args: usize, b: i32): void {
  factor<T>(args, b, operand(args, 6, b), <usize>word(args, 8), word(args, 9), word(args, 10));
}

/** A block of `product`; unit 0 then factors the next block of the diagonal, which lies in it. 24 its size  25 its first row */
export function choleskyUpdate<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  product<T>(args, b, unit, scratch);
  if (unit == 0) factor<T>(args, b, operand(args, 6, b), <usize>word(args, 8), word(args, 24), word(args, 25));
}
