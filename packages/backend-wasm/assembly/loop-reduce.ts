// Sums, products and extremes: of a stretch of a block to one number, of blocks element by element, and of partial
// results. Numbers between blocks are cells of 8 bytes: f64 for floats, the low 4 bytes for integers.
import { f32ToBf16, f32ToF16 } from "./half";
import * as F from "./loop-f32";
import * as D from "./loop-f64";
import * as I from "./loop-int";
import * as V from "./loop-vectors";
import * as at from "./loop-ops";
import { BF16, F16, F32, F64 } from "./rows";

/** What a reduction of nothing gives, as f64. */
// @ts-ignore: decorator
@inline
function startOf(op: i32): f64 {
  return op == at.REDUCE_SUM ? 0 : op == at.REDUCE_PROD ? 1 : op == at.REDUCE_MAX ? -Infinity : Infinity;
}

// @ts-ignore: decorator
@inline
function join(op: i32, a: f64, b: f64): f64 {
  if (op == at.REDUCE_SUM) return a + b;
  if (op == at.REDUCE_PROD) return a * b;
  return op == at.REDUCE_MAX ? max<f64>(a, b) : min<f64>(a, b); // NaN stays
}

// @ts-ignore: decorator
@inline
function joinIntegers(op: i32, unsigned: bool, a: i32, b: i32): i32 {
  if (op == at.REDUCE_SUM) return a + b;
  if (op == at.REDUCE_PROD) return a * b;
  if (unsigned) return op == at.REDUCE_MAX ? <i32>max<u32>(a, b) : <i32>min<u32>(a, b);
  return op == at.REDUCE_MAX ? max<i32>(a, b) : min<i32>(a, b);
}

/** Two accumulators over `count` lanes of 4 bytes; lanes that are missing at the end are those of `start`. */
function fold<T>(from: usize, count: i32, start: v128): v128 {
  const t = changetype<T>(<usize>0);
  let a = start;
  let b = start;
  let i = 0;
  for (; i + 8 <= count; i += 8, from += 32) {
    a = t.f(a, v128.load(from));
    b = t.f(b, v128.load(from, 16));
  }
  for (; i < count; i++, from += 4) a = t.f(a, i32x4.replace_lane(start, 0, load<i32>(from)));
  return t.f(a, b);
}

/** Elements that are added in f32 before they go on in f64: 16 to each of 16 lanes. */
const STRETCH = 256;

/** Four accumulators of four lanes for a stretch, two of f64 for all of them. */
function sumFloats(from: usize, count: i32): f64 {
  let low = f64x2.splat(0);
  let high = low;
  let done = 0;
  while (done + 16 <= count) {
    let a = v128.load(from);
    let b = v128.load(from, 16);
    let c = v128.load(from, 32);
    let d = v128.load(from, 48);
    from += 64;
    const stop = min(done + STRETCH, count);
    for (done += 16; done + 16 <= stop; done += 16, from += 64) {
      a = f32x4.add(a, v128.load(from));
      b = f32x4.add(b, v128.load(from, 16));
      c = f32x4.add(c, v128.load(from, 32));
      d = f32x4.add(d, v128.load(from, 48));
    }
    const v = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
    low = f64x2.add(low, f64x2.promote_low_f32x4(v));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<i32>(v, v, 2, 3, 2, 3)));
  }
  let tail: f64 = 0;
  for (; done < count; done++, from += 4) tail += load<f32>(from);
  const v = f64x2.add(low, high);
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1) + tail;
}

/** The extreme of `count` numbers, NaN if one is: comparisons pass over NaN, so those are looked for beside them. */
function extreme<T>(from: usize, count: i32, start: f32): v128 {
  const t = changetype<T>(<usize>0);
  let a = f32x4.splat(start);
  let b = a;
  let c = a;
  let d = a;
  let nan = f32x4.ne(a, a);
  let i = 0;
  for (; i + 16 <= count; i += 16, from += 64) {
    const p = v128.load(from);
    const q = v128.load(from, 16);
    const r = v128.load(from, 32);
    const s = v128.load(from, 48);
    a = t.f(a, p);
    b = t.f(b, q);
    c = t.f(c, r);
    d = t.f(d, s);
    nan = v128.or(nan, v128.or(v128.or(f32x4.ne(p, p), f32x4.ne(q, q)), v128.or(f32x4.ne(r, r), f32x4.ne(s, s))));
  }
  for (; i < count; i++, from += 4) {
    const p = v128.load32_splat(from);
    a = t.f(a, p);
    nan = v128.or(nan, f32x4.ne(p, p));
  }
  if (v128.any_true(nan)) return f32x4.splat(NaN);
  return t.f(t.f(a, b), t.f(c, d));
}

@final
class LargerF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.pmax(a, b);
  }
}

@final
class SmallerF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.pmin(a, b);
  }
}

function reduceFloats(op: i32, from: usize, count: i32): f64 {
  if (op == at.REDUCE_SUM) return sumFloats(from, count);
  const v =
    op == at.REDUCE_PROD
      ? fold<F.MulF>(from, count, f32x4.splat(1))
      : op == at.REDUCE_MAX
        ? extreme<LargerF>(from, count, -Infinity)
        : extreme<SmallerF>(from, count, Infinity);
  const low = join(op, f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1));
  return join(op, low, join(op, f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
}

/** Two accumulators over `count` f64; the one that is missing at an odd end is that of `start`. */
function foldDoubles<T>(from: usize, count: i32, start: v128): v128 {
  const t = changetype<T>(<usize>0);
  let a = start;
  let b = start;
  let i = 0;
  for (; i + 4 <= count; i += 4, from += 32) {
    a = t.f(a, v128.load(from));
    b = t.f(b, v128.load(from, 16));
  }
  for (; i < count; i++, from += 8) a = t.f(a, f64x2.replace_lane(start, 0, load<f64>(from)));
  return t.f(a, b);
}

function reduceDoubles(op: i32, from: usize, count: i32): f64 {
  const start = f64x2.splat(startOf(op));
  const v =
    op == at.REDUCE_SUM
      ? foldDoubles<D.AddD>(from, count, start)
      : op == at.REDUCE_PROD
        ? foldDoubles<D.MulD>(from, count, start)
        : op == at.REDUCE_MAX
          ? foldDoubles<D.MaxD>(from, count, start)
          : foldDoubles<D.MinD>(from, count, start);
  return join(op, f64x2.extract_lane(v, 0), f64x2.extract_lane(v, 1));
}

function reduceIntegers(op: i32, unsigned: bool, from: usize, count: i32, first: i32): i32 {
  const start = i32x4.splat(first);
  let v: v128;
  if (op == at.REDUCE_SUM) v = fold<I.AddI>(from, count, start);
  else if (op == at.REDUCE_PROD) v = fold<I.MulI>(from, count, start);
  else if (unsigned) {
    v = op == at.REDUCE_MAX ? fold<I.MaxU>(from, count, start) : fold<I.MinU>(from, count, start);
  } else v = op == at.REDUCE_MAX ? fold<I.MaxI>(from, count, start) : fold<I.MinI>(from, count, start);
  const low = joinIntegers(op, unsigned, i32x4.extract_lane(v, 0), i32x4.extract_lane(v, 1));
  const high = joinIntegers(op, unsigned, i32x4.extract_lane(v, 2), i32x4.extract_lane(v, 3));
  return joinIntegers(op, unsigned, low, high);
}

/** Sets a cell to the result of nothing. */
export function startCell(reduction: usize, cell: usize): void {
  if (load<i32>(reduction, 4) <= at.CLASS_F64) store<f64>(cell, startOf(load<i32>(reduction)));
  else store<i32>(cell, load<i32>(reduction, 20));
}

/** Joins `count` elements of a block to a cell. */
export function reduceInto(reduction: usize, cell: usize, from: usize, count: i32): void {
  const op = load<i32>(reduction);
  const kind = load<i32>(reduction, 4);
  if (kind == at.CLASS_F32) store<f64>(cell, join(op, load<f64>(cell), reduceFloats(op, from, count)));
  else if (kind == at.CLASS_F64) store<f64>(cell, join(op, load<f64>(cell), reduceDoubles(op, from, count)));
  else {
    const unsigned = kind == at.CLASS_U32;
    const part = reduceIntegers(op, unsigned, from, count, load<i32>(reduction, 20));
    store<i32>(cell, joinIntegers(op, unsigned, load<i32>(cell), part));
  }
}

/** Results of rows of a few f32 each, one after the other. */
// @ts-ignore: decorator
@inline
function shortRowsOf(op: i32, to: usize, from: usize, rows: i32, row: i32): void {
  for (let i = 0; i < rows; i++, to += 4) {
    let sum: f64 = load<f32>(from);
    const stop = from + (<usize>row << 2);
    for (from += 4; from < stop; from += 4) sum = join(op, sum, load<f32>(from));
    store<f32>(to, <f32>sum);
  }
}

/** Whether `shortRows` does a reduction over rows of this length. */
export function hasShortRows(reduction: usize, row: i32): bool {
  return row <= 16 && load<i32>(reduction, 4) == at.CLASS_F32 && load<i32>(reduction, 16) == F32;
}

/** Results `first`, ... of `rows` rows of `row` f32. */
export function shortRows(reduction: usize, first: i32, from: usize, rows: i32, row: i32): void {
  const op = load<i32>(reduction);
  const to = load<usize>(reduction, 12) + (<usize>first << 2);
  if (op == at.REDUCE_SUM) shortRowsOf(at.REDUCE_SUM, to, from, rows, row);
  else if (op == at.REDUCE_PROD) shortRowsOf(at.REDUCE_PROD, to, from, rows, row);
  else if (op == at.REDUCE_MAX) shortRowsOf(at.REDUCE_MAX, to, from, rows, row);
  else shortRowsOf(at.REDUCE_MIN, to, from, rows, row);
}

/** Joins one cell to another. */
function joinCells(reduction: usize, cell: usize, other: usize): void {
  const op = load<i32>(reduction);
  const kind = load<i32>(reduction, 4);
  if (kind <= at.CLASS_F64) store<f64>(cell, join(op, load<f64>(cell), load<f64>(other)));
  else store<i32>(cell, joinIntegers(op, kind == at.CLASS_U32, load<i32>(cell), load<i32>(other)));
}

/** Writes a cell as element `index` of `dtype`. */
export function writeCell(dtype: i32, to: usize, index: usize, cell: usize): void {
  if (dtype == F64) store<f64>(to + (index << 3), load<f64>(cell));
  else if (dtype == F32) store<f32>(to + (index << 2), <f32>load<f64>(cell));
  else if (dtype == F16) store<u16>(to + (index << 1), f32ToF16(<f32>load<f64>(cell)));
  else if (dtype == BF16) store<u16>(to + (index << 1), f32ToBf16(<f32>load<f64>(cell)));
  else if (dtype <= 2) store<u8>(to + index, load<u8>(cell));
  else store<i32>(to + (index << 2), load<i32>(cell));
}

/** Fills `count` elements of an accumulator with the result of nothing. */
export function startBlock(reduction: usize, to: usize, count: i32): void {
  const kind = load<i32>(reduction, 4);
  const start = startOf(load<i32>(reduction));
  if (kind == at.CLASS_F64) for (let i = 0; i < count; i++, to += 8) store<f64>(to, start);
  else if (kind == at.CLASS_F32) for (let i = 0; i < count; i++, to += 4) store<f32>(to, <f32>start);
  else for (let i = 0; i < count; i++, to += 4) store<i32>(to, load<i32>(reduction, 20));
}

// @ts-ignore: decorator
@inline
function both<T>(to: usize, from: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const whole = count & ~7;
  if (whole) V.binary<T>(to, to, 16, from, 16, to + (<usize>whole << 2));
  for (let i = whole; i < count; i++) {
    const p = to + (<usize>i << 2);
    store<i32>(
      p,
      i32x4.extract_lane(t.f(v128.load32_zero(p), v128.load32_zero(from + (<usize>i << 2))), 0),
    );
  }
}

function bothDoubles<T>(to: usize, from: usize, count: i32): void {
  const t = changetype<T>(<usize>0);
  const whole = count & ~3;
  if (whole) V.binary<T>(to, to, 16, from, 16, to + (<usize>whole << 3));
  for (let i = <usize>whole << 3; i < <usize>count << 3; i += 8) {
    v128.store64_lane(to + i, t.f(v128.load64_zero(to + i), v128.load64_zero(from + i)), 0);
  }
}

/** Joins `count` elements of a block to an accumulator, element by element. */
export function accumulate(reduction: usize, to: usize, from: usize, count: i32): void {
  const op = load<i32>(reduction);
  const kind = load<i32>(reduction, 4);
  if (kind == at.CLASS_F32) {
    if (op == at.REDUCE_SUM) both<F.AddF>(to, from, count);
    else if (op == at.REDUCE_PROD) both<F.MulF>(to, from, count);
    else if (op == at.REDUCE_MAX) both<F.MaxF>(to, from, count);
    else both<F.MinF>(to, from, count);
  } else if (kind == at.CLASS_F64) {
    if (op == at.REDUCE_SUM) bothDoubles<D.AddD>(to, from, count);
    else if (op == at.REDUCE_PROD) bothDoubles<D.MulD>(to, from, count);
    else if (op == at.REDUCE_MAX) bothDoubles<D.MaxD>(to, from, count);
    else bothDoubles<D.MinD>(to, from, count);
  } else if (op == at.REDUCE_SUM) both<I.AddI>(to, from, count);
  else if (op == at.REDUCE_PROD) both<I.MulI>(to, from, count);
  else if (kind == at.CLASS_U32) {
    if (op == at.REDUCE_MAX) both<I.MaxU>(to, from, count);
    else both<I.MinU>(to, from, count);
  } else if (op == at.REDUCE_MAX) both<I.MaxI>(to, from, count);
  else both<I.MinI>(to, from, count);
}

/** Joins to a cell the element `index` of an accumulator. */
export function joinElement(reduction: usize, cell: usize, block: usize, index: i32): void {
  const op = load<i32>(reduction);
  const kind = load<i32>(reduction, 4);
  if (kind == at.CLASS_F32) {
    store<f64>(cell, join(op, load<f64>(cell), load<f32>(block + (<usize>index << 2))));
  } else if (kind == at.CLASS_F64) {
    store<f64>(cell, join(op, load<f64>(cell), load<f64>(block + (<usize>index << 3))));
  } else {
    const x = load<i32>(block + (<usize>index << 2));
    store<i32>(cell, joinIntegers(op, kind == at.CLASS_U32, load<i32>(cell), x));
  }
}

/**
 * Joins partial results in their order. args: table of reductions, count, results, parts of each.
 * Entries: op, class, partials (results × parts cells), address of the results, dtype, start value of integers.
 */
export function combine(args: usize, scratch: usize): void {
  const results = load<i32>(args, 8);
  const parts = load<i32>(args, 12);
  let reduction = load<usize>(args);
  for (let r = load<i32>(args, 4); r > 0; r--, reduction += at.REDUCTION_BYTES) {
    let from = load<usize>(reduction, 8);
    for (let k = 0; k < results; k++) {
      startCell(reduction, scratch);
      for (let p = 0; p < parts; p++, from += 8) joinCells(reduction, scratch, from);
      writeCell(load<i32>(reduction, 16), load<usize>(reduction, 12), k, scratch);
    }
  }
}
