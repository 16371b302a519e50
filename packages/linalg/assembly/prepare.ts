// What comes first and last: looking at the input, bringing it to size 1, copies.
import { cut, factorAt, fail, FAULTS, operand, UNITS, word } from "./args";
import { NOT_FINITE, NOT_SYMMETRIC } from "./faults";
import { lanes, largestLane, moveTile, sumLanes } from "./simd";

/** Parts of a matrix that are read. */
const LOWER = 1;
const UPPER = 2;
/** Side of the blocks in which a matrix is held against its transpose. */
const BLOCK = 16;

// @ts-ignore: decorator
@inline
function epsOf<T>(): f64 {
  return sizeof<T>() == 8 ? 2.220446049250313e-16 : 1.1920928955078125e-7;
}

/** The largest |x| of a row, or NaN where it holds NaN or an infinity. */
function largest<T>(x: usize, n: i32): f64 {
  const zero = i64x2.splat(0);
  // Four of each, whose waits overlap. What is not finite, times 0, is NaN.
  let most0 = zero, most1 = zero, most2 = zero, most3 = zero;
  let odd0 = zero, odd1 = zero, odd2 = zero, odd3 = zero;
  const end = x + <usize>n * sizeof<T>();
  for (; x + 64 <= end; x += 64) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const c = v128.load(x, 32);
    const d = v128.load(x, 48);
    odd0 = v128.add<T>(odd0, v128.mul<T>(a, zero));
    odd1 = v128.add<T>(odd1, v128.mul<T>(b, zero));
    odd2 = v128.add<T>(odd2, v128.mul<T>(c, zero));
    odd3 = v128.add<T>(odd3, v128.mul<T>(d, zero));
    most0 = v128.pmax<T>(most0, v128.abs<T>(a));
    most1 = v128.pmax<T>(most1, v128.abs<T>(b));
    most2 = v128.pmax<T>(most2, v128.abs<T>(c));
    most3 = v128.pmax<T>(most3, v128.abs<T>(d));
  }
  let sum = <f64>sumLanes<T>(v128.add<T>(v128.add<T>(odd0, odd1), v128.add<T>(odd2, odd3)));
  let result = <f64>largestLane<T>(v128.pmax<T>(v128.pmax<T>(most0, most1), v128.pmax<T>(most2, most3)));
  for (; x < end; x += sizeof<T>()) {
    const value = <f64>load<T>(x);
    sum += value * 0;
    result = max(result, abs(value));
  }
  return sum == 0 ? result : NaN;
}

/** A power of two that brings numbers up to `most` near 1; from 2^-1000 to 2^1000. */
function powerOf(most: f64): f64 {
  if (most == 0) return 1;
  const exponent = <i32>((reinterpret<i64>(most) >> 52) & 0x7ff) - 1022;
  return reinterpret<f64>(<i64>(1023 - max(-1000, min(1000, exponent))) << 52);
}

/**
 * The largest difference across the diagonal of rows `first` to `last` of the lower triangle; `first` is a whole number of blocks.
 * Tiles of `lanes` rows and columns are held against each other, one of them turned.
 */
function asymmetry<T>(a: usize, row: usize, first: i32, last: i32, scratch: usize): f64 {
  const side = lanes<T>();
  const whole = last - (last % side);
  const one = sizeof<T>() == 8 ? f64x2.splat(1) : f32x4.splat(1);
  let differs = i64x2.splat(0);
  for (let i0 = first; i0 < whole; i0 += BLOCK) {
    for (let j0 = 0; j0 <= i0; j0 += BLOCK) {
      for (let i = i0; i < min(i0 + BLOCK, whole); i += side) {
        for (let j = j0; j < min(j0 + BLOCK, i + side); j += side) {
          const below = a + <usize>i * row + <usize>j * sizeof<T>();
          moveTile<T>(a + <usize>j * row + <usize>i * sizeof<T>(), row, scratch, 16, one);
          for (let k: usize = 0; k < <usize>side; k++) {
            const difference = v128.sub<T>(v128.load(below + k * row), v128.load(scratch + (k << 4)));
            differs = v128.pmax<T>(differs, v128.abs<T>(difference));
          }
        }
      }
    }
  }
  let most = <f64>largestLane<T>(differs);
  for (let i = whole; i < last; i++) {
    for (let j = 0; j < i; j++) {
      const below = load<T>(a + <usize>i * row + <usize>j * sizeof<T>());
      most = max(most, <f64>abs<T>(below - load<T>(a + <usize>j * row + <usize>i * sizeof<T>())));
    }
  }
  return most;
}

/** Notes the pair across the diagonal that differs most, if by more than is allowed: the first of equal ones. */
function expectSymmetric<T>(args: usize, b: i32, a: usize, n: i32, allowed: f64): void {
  const row = <usize>n * sizeof<T>();
  let worst: f64 = 0;
  let atRow = 0;
  let atColumn = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      const below = <f64>load<T>(a + <usize>i * row + <usize>j * sizeof<T>());
      const difference = below - <f64>load<T>(a + <usize>j * row + <usize>i * sizeof<T>());
      if (abs(difference) <= abs(worst)) continue;
      worst = difference;
      atRow = i;
      atColumn = j;
    }
  }
  if (abs(worst) > allowed) fail(args, b, NOT_SYMMETRIC, atRow, atColumn, worst);
}

/** Row `i` of the part that is read begins and ends there. */
// @ts-ignore: decorator
@inline
function beginOf(args: usize, i: i32): i32 {
  return word(args, 10) == UPPER ? min(i, word(args, 9)) : 0;
}
// @ts-ignore: decorator
@inline
function endOf(args: usize, i: i32): i32 {
  return word(args, 10) == LOWER ? min(i + 1, word(args, 9)) : word(args, 9);
}

/** Two numbers of rows `first` to `last`: the largest, or NaN where not all are finite, and the asymmetry if asked for. */
function look<T>(args: usize, b: i32, first: i32, last: i32, to: usize, scratch: usize): void {
  const row = <usize>word(args, 9) * sizeof<T>();
  const a = operand(args, 6, b);
  let most: f64 = 0;
  for (let i = first; i < last; i++) {
    const from = beginOf(args, i);
    const at = a + <usize>i * row + <usize>from * sizeof<T>();
    most = max(most, largest<T>(at, endOf(args, i) - from)); // NaN stays
  }
  store<f64>(to, most);
  store<f64>(to, word(args, 11) ? asymmetry<T>(a, row, first, last, scratch) : 0, 8);
}

/** What INSPECT is to know of some of the rows; words as there. */
export function inspectPart<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const rows = word(args, 8);
  const units = load<i32>(args, UNITS);
  const last = unit + 1 < units ? cut(rows, unit + 1, units) & -BLOCK : rows;
  look<T>(args, b, cut(rows, unit, units) & -BLOCK, last, operand(args, 14, b) + (<usize>unit << 4), scratch);
}

/**
 * Notes what is not finite or not symmetric, and the power of two that brings the matrix to size 1.
 * 6 a  8 rows  9 columns  10 part  11 symmetric  12 first input  13 factor (8 bytes a matrix, 0: not asked for)
 * 14 what the parts of INSPECT_PART found  16 how many there were
 */
export function inspect<T>(args: usize, b: i32, scratch: usize): void {
  const rows = word(args, 8);
  const fault = load<usize>(args, FAULTS) + (<usize>b << 5);
  if (word(args, 12)) memory.fill(fault, 0, 32);
  else if (load<i32>(fault)) return;
  const a = operand(args, 6, b);
  let found = scratch + 64;
  let parts = word(args, 16);
  if (parts) found = operand(args, 14, b);
  else look<T>(args, b, 0, rows, found, scratch);
  let most: f64 = 0;
  let differs: f64 = 0;
  for (parts = max(parts, 1); parts > 0; parts--, found += 16) {
    most = max(most, load<f64>(found));
    differs = max(differs, load<f64>(found, 8));
  }
  if (most != most) {
    for (let i = 0; i < rows; i++) {
      for (let j = beginOf(args, i); j < endOf(args, i); j++) {
        const value = <f64>load<T>(a + (<usize>i * <usize>word(args, 9) + <usize>j) * sizeof<T>());
        if (value * 0 != 0) return fail(args, b, NOT_FINITE, i, j, value);
      }
    }
  }
  const allowed = 20 * <f64>rows * epsOf<T>() * most;
  if (differs > allowed) expectSymmetric<T>(args, b, a, rows, allowed);
  if (load<i32>(args, 13 << 2)) store<f64>(factorAt(args, 13, b), powerOf(most));
}

/** The first fault of the batch as the status of the run. 6 status  7 matrices */
export function report(args: usize): void {
  const faults = load<usize>(args, FAULTS);
  for (let b = 0; b < word(args, 7); b++) {
    const from = faults + (<usize>b << 5);
    if (load<i32>(from)) return memory.copy(load<usize>(args, 6 << 2), from, 32);
  }
}

/** Rows and columns of what is transposed at a time. */
const TILE = 8;

/** Rows of `to` = columns of `from`, times a factor. */
export function transpose<T>(from: usize, rowFrom: usize, to: usize, rowTo: usize, rows: i32, columns: i32, factor: f64): void {
  // A factor beyond f32 is left to f64.
  const narrow = <T>factor;
  const fits = <f64>narrow == factor && narrow != 0;
  const splat = v128.splat<T>(narrow);
  const side = lanes<T>();
  // Rows a power of two apart share a set of the cache: a tile has no more of them than the set has ways.
  for (let j0 = 0; j0 < columns; j0 += TILE) {
    for (let i0 = 0; i0 < rows; i0 += TILE) {
      const full = fits && i0 + TILE <= rows && j0 + TILE <= columns;
      for (let i = i0; i < min(i0 + TILE, rows); i += full ? side : 1) {
        const at = to + <usize>i * rowTo;
        const column = from + <usize>i * sizeof<T>();
        for (let j = j0; j < min(j0 + TILE, columns); j += full ? side : 1) {
          const x = column + <usize>j * rowFrom;
          const y = at + <usize>j * sizeof<T>();
          if (full) moveTile<T>(x, rowFrom, y, rowTo, splat);
          else store<T>(y, <T>(<f64>load<T>(x) * factor));
        }
      }
    }
  }
}

/**
 * Copies rows, transposed if asked, times a factor or its inverse.
 * 6 to  8 row  9 from  11 row  12 rows  13 columns (of the result)  14 transpose  15 part (1: zeros above the diagonal,
 * 2: below)  16 factor (0: none)  17 inverse
 */
export function copy<T>(args: usize, b: i32, unit: i32): void {
  const columns = word(args, 13);
  const rowTo = <usize>word(args, 8);
  const rowFrom = <usize>word(args, 11);
  const part = word(args, 15);
  const units = load<i32>(args, UNITS);
  const last = cut(word(args, 12), unit + 1, units);
  let factor: f64 = 1;
  if (load<i32>(args, 16 << 2)) factor = load<f64>(factorAt(args, 16, b));
  if (word(args, 17)) factor = 1 / factor;
  const from = operand(args, 9, b);
  const to = operand(args, 6, b);
  const first = cut(word(args, 12), unit, units);
  if (word(args, 14)) {
    const at = <usize>first;
    transpose<T>(from + at * sizeof<T>(), rowFrom, to + at * rowTo, rowTo, last - first, columns, factor);
  } else if (to != from) {
    for (let i = first; i < last; i++)
      memory.copy(to + <usize>i * rowTo, from + <usize>i * rowFrom, <usize>columns * sizeof<T>());
  }
  for (let i = first; i < last; i++) {
    const at = to + <usize>i * rowTo;
    if (!word(args, 14) && factor != 1) {
      for (let j = 0; j < columns; j++) {
        const x = at + <usize>j * sizeof<T>();
        store<T>(x, <T>(<f64>load<T>(x) * factor));
      }
    }
    if (part == LOWER && i + 1 < columns)
      memory.fill(at + <usize>(i + 1) * sizeof<T>(), 0, <usize>(columns - i - 1) * sizeof<T>());
    if (part == UPPER) memory.fill(at, 0, <usize>min(i, columns) * sizeof<T>());
  }
}

/** Ones on the diagonal from element [first, first] on, zeros elsewhere. 6 to  8 row  9 rows  10 columns */
export function identity<T>(args: usize, b: i32, unit: i32): void {
  const columns = word(args, 10);
  const units = load<i32>(args, UNITS);
  const last = cut(word(args, 9), unit + 1, units);
  for (let i = cut(word(args, 9), unit, units); i < last; i++) {
    const at = operand(args, 6, b) + <usize>i * <usize>word(args, 8);
    memory.fill(at, 0, <usize>columns * sizeof<T>());
    if (i < columns) store<T>(at + <usize>i * sizeof<T>(), <T>1);
  }
}
