// From the values and vectors of a decomposition to what is handed out: order, signs, the scale of the input.
import { factorAt, fail, operand, word } from "./args";
import { OUT_OF_DOMAIN } from "./faults";
import { sortIndices } from "./deflate";
import { FINISHED } from "./kernels";
import { transpose } from "./prepare";
import { lanes, largestLane } from "./simd";
import { bidiagonalQr, tridiagonalQl } from "./small";
import { scale } from "./vector";

/** Values alone, ascending, or NaN where QR iterations fail. 6 d  8 e  10 n  11 singular values  12 room for 2 n numbers  14 result */
export function values(args: usize, b: i32): void {
  const n = word(args, 10);
  const bytes = <usize>n << 3;
  const to = operand(args, 14, b);
  const room = operand(args, 12, b);
  const d = room + bytes;
  memory.copy(d, operand(args, 6, b), bytes);
  memory.copy(room, operand(args, 8, b), bytes);
  const failed = word(args, 11) ? bidiagonalQr(d, room, n, false, 0, 0, 0) : tridiagonalQl(d, room, n, 0, 0);
  const half = room + (bytes >> 1);
  for (let i = 0; i < n; i++) store<i32>(room + (<usize>i << 2), i);
  sortIndices(d, room, half, n);
  for (let i = 0; i < n; i++) {
    const value = load<f64>(d + (<usize>load<i32>(room + (<usize>i << 2)) << 3));
    store<f64>(to + (<usize>i << 3), failed ? NaN : value);
  }
}

/** What beside a matrix of size 1 is zero. */
const NOTHING: f64 = 1e-70;

/** The order of values, and the values ascending. 6 values  8 order (i32)  10 n  11 descending  12 ascending values  14 merged */
export function orderValues(args: usize, b: i32, scratch: usize): void {
  const d = operand(args, 6, b);
  const order = operand(args, 8, b);
  const n = word(args, 10);
  for (let i = 0; i < n; i++) store<i32>(order + (<usize>i << 2), i);
  sortIndices(d, order, scratch, n);
  const sorted = operand(args, 12, b);
  for (let i = 0; i < n; i++) {
    const from = <usize>load<i32>(order + (<usize>i << 2));
    const value = load<f64>(d + (from << 3));
    // Merging makes tiny numbers of zeros.
    store<f64>(sorted + (<usize>i << 3), word(args, 14) && abs(value) <= NOTHING ? 0 : value);
  }
  if (!word(args, 11)) return;
  for (let i = 0, j = n - 1; i < j; i++, j--) {
    const value = load<i32>(order + (<usize>i << 2));
    store<i32>(order + (<usize>i << 2), load<i32>(order + (<usize>j << 2)));
    store<i32>(order + (<usize>j << 2), value);
  }
}

/** Ascending values as T at the scale of the input. 6 values  8 result  10 n  11 descending  12 factor  13 domain: 1 positive, 2 not negative */
export function putValues<T>(args: usize, b: i32): void {
  const from = operand(args, 6, b);
  const to = operand(args, 8, b);
  const n = word(args, 10);
  const factor = 1 / load<f64>(factorAt(args, 12, b));
  // Brackets of values that are almost equal may overlap.
  for (let i = 1; i < n; i++) {
    const at = from + (<usize>i << 3);
    store<f64>(at, max(load<f64>(at), load<f64>(at - 8)));
  }
  for (let i = 0; i < n; i++) {
    const source = word(args, 11) ? n - 1 - i : i;
    store<T>(to + <usize>i * sizeof<T>(), <T>(load<f64>(from + (<usize>source << 3)) * factor));
  }
  const domain = word(args, 13);
  if (!domain || n == 0) return;
  const low = <f64>load<T>(to);
  const high = <f64>load<T>(to + <usize>(n - 1) * sizeof<T>());
  const eps: f64 = sizeof<T>() == 8 ? 2.220446049250313e-16 : 1.1920928955078125e-7;
  const unit = <f64>n * eps * max(abs(low), abs(high));
  if (domain == 1 ? !(low > unit) : !(low >= -20 * unit)) fail(args, b, OUT_OF_DOMAIN, 0, domain == 1 ? 1 : 0, low);
}

/** The sign of the element of largest magnitude, of the first of equal ones. */
function signOf<T>(x: usize, n: i32): T {
  let high = v128.splat<T>(0);
  let low = high;
  let i = 0;
  for (; i + lanes<T>() <= n; i += lanes<T>()) {
    const value = v128.load(x + <usize>i * sizeof<T>());
    high = v128.pmax<T>(high, value);
    low = v128.pmax<T>(low, v128.neg<T>(value));
  }
  let most = largestLane<T>(high);
  let least = largestLane<T>(low);
  for (; i < n; i++) {
    const value = load<T>(x + <usize>i * sizeof<T>());
    most = max<T>(most, value);
    least = max<T>(least, -value);
  }
  if (most != least) return most > least ? 1 : -1;
  for (i = 0; i < n; i++) {
    const value = load<T>(x + <usize>i * sizeof<T>());
    if (abs<T>(value) == most) return value < 0 ? -1 : 1;
  }
  return 1;
}

/**
 * Rows in order and with their signs: those that are given, or, of what becomes columns, those that are chosen so that the
 * element of largest magnitude becomes positive.
 * 6 q  8 row  9 result  11 row  12 vectors  13 length  14 order  16 how many are in order, the others follow as they are
 * 17 signs (f64)  19 as columns  20 how many have signs
 */
export function finishVectors<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const size = sizeof<T>();
  const columns = word(args, 19) != 0;
  const result = operand(args, 9, b);
  const rowTo = <usize>word(args, 11);
  const length = word(args, 13);
  const order = operand(args, 14, b);
  const signs = operand(args, 17, b);
  const first = unit * FINISHED;
  const last = min(first + FINISHED, word(args, 12));
  const row = columns ? <usize>length * size : rowTo;
  for (let j = first, to = columns ? scratch : result + <usize>first * rowTo; j < last; j++, to += row) {
    const source = j < word(args, 16) ? load<i32>(order + (<usize>j << 2)) : j;
    memory.copy(to, operand(args, 6, b) + <usize>source * <usize>word(args, 8), <usize>length * size);
    let sign = <T>1;
    if (columns) {
      sign = signOf<T>(to, length);
      store<f64>(signs + (<usize>j << 3), <f64>sign);
    } else if (j < word(args, 20)) sign = <T>load<f64>(signs + (<usize>j << 3));
    if (sign < 0) scale<T>(sign, to, length);
  }
  if (columns) transpose<T>(scratch, row, result + <usize>first * size, rowTo, length, last - first, 1);
}
