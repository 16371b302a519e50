// The block of the diagonal of Cholesky's factorisation; the panel below is `triangular`, the rest `product`.
import { fail, operand, word } from "./args";
import { NOT_POSITIVE } from "./faults";
import { dot } from "./vector";

/** a = L Lᵀ in place, rows by dots. 6 a  8 row  9 n  10 number of its first row in the whole matrix */
export function choleskyBlock<T>(args: usize, b: i32): void {
  const a = operand(args, 6, b);
  const row = <usize>word(args, 8);
  for (let i = 0; i < word(args, 9); i++) {
    const x = a + <usize>i * row;
    for (let j = 0; j < i; j++) {
      const y = a + <usize>j * row;
      const at = <usize>j * sizeof<T>();
      store<T>(x + at, (load<T>(x + at) - dot<T>(x, y, j)) / load<T>(y + at));
    }
    const at = x + <usize>i * sizeof<T>();
    const rest = load<T>(at) - dot<T>(x, x, i);
    if (!(rest > 0)) return fail(args, b, NOT_POSITIVE, word(args, 10) + i, 0, <f64>rest);
    store<T>(at, sqrt<T>(rest));
  }
}
