// Argument words of every kernel, 32 bits each:
//   0 table  1 kernel + 256 · first matrix  2 (1: f64) + 2 · matrices that rooms are for  3 matrices  4 units of a matrix
//   5 faults, 32 bytes a matrix of all  6... its own
// An operand is two words: the address of the first matrix of all, and the bytes from one to the next, plus 1 where it is a room
// that one slice of the batch uses after the other. Strides are in bytes.

export const KERNEL = 4;
export const TYPE = 8;
export const BATCH = 12;
export const UNITS = 16;
export const FAULTS = 20;

// @ts-ignore: decorator
@inline
export function word(args: usize, index: i32): i32 {
  return load<i32>(args + (<usize>index << 2));
}

/** The place of matrix `b` within its slice of the batch. */
// @ts-ignore: decorator
@inline
function placeOf(args: usize, b: i32): usize {
  return <usize>b % <usize>(load<u32>(args, TYPE) >> 1);
}

/** The address of matrix `b` of the operand at words `index` and `index + 1`. */
export function operand(args: usize, index: i32, b: i32): usize {
  const first = load<usize>(args + (<usize>index << 2));
  const step = load<usize>(args + (<usize>(index + 1) << 2));
  return (step & 1) != 0 ? first + placeOf(args, b) * (step - 1) : first + <usize>b * step;
}

/** The address of the power of two that goes with matrix `b`; word `index` has that of the first of a slice. */
export function factorAt(args: usize, index: i32, b: i32): usize {
  return load<usize>(args + (<usize>index << 2)) + (placeOf(args, b) << 3);
}

/** First of the parts `part` of `parts` that `size` things are cut into evenly. */
// @ts-ignore: decorator
@inline
export function cut(size: i32, part: i32, parts: i32): i32 {
  return <i32>((<i64>size * part) / parts);
}

/** Notes what is wrong with matrix `b`; later kernels leave that matrix alone. */
export function fail(args: usize, b: i32, fault: i32, row: i32, column: i32, value: f64): void {
  const at = load<usize>(args, FAULTS) + (<usize>b << 5);
  store<i32>(at, b, 4);
  store<i32>(at, row, 8);
  store<i32>(at, column, 12);
  store<f64>(at, value, 16);
  store<i32>(at, fault);
}
