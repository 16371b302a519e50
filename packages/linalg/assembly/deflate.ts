// What of two halves need not enter the secular equation: values that agree and parts of z that vanish (Dongarra and Sorensen
// 1987; LAPACK's laed2 and lasd2). Words: see divide.ts.
import { operand, word } from "./args";
import { BOTH, FIRST, node, numbers, POLES, RHO, whole } from "./divide";
import { hypot2, rotate } from "./vector";

/** Singular values of a matrix of size 1 that are zeros. */
const NOTHING: f64 = 1e-75;

/** Half the distance from 1 to the next number. */
// @ts-ignore: decorator
@inline
function unitOf<T>(): f64 {
  return sizeof<T>() == 8 ? 1.1102230246251565e-16 : 5.960464477539063e-8;
}

/** Sorts `count` indices by key[index], ascending, stably; room for as many. */
export function sortIndices(key: usize, indices: usize, room: usize, count: i32): void {
  let from = indices;
  let to = room;
  for (let width = 1; width < count; width <<= 1) {
    for (let lo = 0; lo < count; lo += 2 * width) {
      const mid = min(lo + width, count);
      const hi = min(lo + 2 * width, count);
      let i = lo;
      let j = mid;
      for (let at = lo; at < hi; at++) {
        let left = i < mid;
        if (left && j < hi) {
          const x = load<f64>(key + (<usize>load<i32>(from + (<usize>i << 2)) << 3));
          const y = load<f64>(key + (<usize>load<i32>(from + (<usize>j << 2)) << 3));
          left = x <= y;
        }
        store<i32>(to + (<usize>at << 2), load<i32>(from + (<usize>(left ? i++ : j++) << 2)));
      }
    }
    const other = from;
    from = to;
    to = other;
  }
  if (from != indices) memory.copy(indices, from, <usize>count << 2);
}

// Lists of one node, in scratch: indices in order, those that stay and those that go, and where each row has columns: 1 in the
// first half, 3 in the second, 2 in both.
let order: usize = 0;
let kept: usize = 0;
let gone: usize = 0;
let kinds: usize = 0;
let keptCount = 0;
let goneCount = 0;

// @ts-ignore: decorator
@inline
function list(at: usize, i: i32): i32 {
  return load<i32>(at + (<usize>i << 2));
}

function keep(row: i32): void {
  store<i32>(kept + (<usize>(keptCount++) << 2), row);
}

function drop(row: i32): void {
  store<i32>(gone + (<usize>(goneCount++) << 2), row);
}

/** Turns two rows so that all of z is in the second. */
// @ts-ignore: decorator
@inline
function turn<T>(q: usize, row: usize, first: i32, second: i32, from: i32, to: i32, c: f64, s: f64): void {
  const at = q + <usize>from * sizeof<T>();
  rotate<T>(at + <usize>first * row, at + <usize>second * row, to - from, <T>c, <T>s);
}

/** Where the columns of the first half end and those of the second begin: zeros in the other half of each row. */
function separate<T>(q: usize, row: usize, lo: i32, middle: i32, hi: i32, end: i32): void {
  const size = sizeof<T>();
  for (let r = lo; r < middle; r++)
    memory.fill(q + <usize>r * row + <usize>middle * size, 0, <usize>(end - middle) * size);
  for (let r = middle; r < hi; r++) memory.fill(q + <usize>r * row + <usize>lo * size, 0, <usize>(middle - lo) * size);
}

export function deflate<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const lo = node(args, unit, 0);
  const hi = node(args, unit, 2);
  const bytes = <usize>(hi - lo) << 2;
  order = scratch;
  kept = order + bytes;
  gone = kept + bytes;
  kinds = gone + bytes - (<usize>lo << 2);
  keptCount = goneCount = 0;
  const room = scratch + 4 * bytes;
  if (word(args, 8)) deflateSingular<T>(args, b, lo, node(args, unit, 1), hi, room);
  else deflateEigen<T>(args, b, lo, node(args, unit, 1), hi, room);
  settle(args, b, lo, hi, room);
}

function deflateEigen<T>(args: usize, b: i32, lo: i32, mid: i32, hi: i32, room: usize): void {
  const size = sizeof<T>();
  const q = operand(args, 10, b);
  const row = <usize>word(args, 12);
  const d = numbers(args, 20, b, 0);
  const z = numbers(args, 26, b, 0);
  const e = load<f64>(numbers(args, 24, b, mid - 1));
  separate<T>(q, row, lo, mid, hi, hi);
  const half: f64 = 0.7071067811865476;
  let most: f64 = 0;
  let largest: f64 = 0;
  for (let r = lo; r < hi; r++) {
    const last = <f64>load<T>(q + <usize>r * row + <usize>(r < mid ? mid - 1 : mid) * size);
    const value = (r >= mid && e < 0 ? -last : last) * half;
    store<f64>(z + (<usize>r << 3), value);
    store<i32>(kinds + (<usize>r << 2), r < mid ? 1 : 3);
    store<i32>(order + (<usize>(r - lo) << 2), r);
    largest = max(largest, abs(value));
    most = max(most, abs(load<f64>(d + (<usize>r << 3))));
  }
  const rho = 2 * abs(e);
  store<f64>(numbers(args, 36, b, lo) + RHO, rho);
  sortIndices(d, order, room, hi - lo);
  const tolerance = 8 * unitOf<T>() * max(most, largest);
  const none = rho * largest <= tolerance;
  let before = -1;
  for (let i = 0; i < hi - lo; i++) {
    const r = list(order, i);
    const at = z + (<usize>r << 3);
    if (none || rho * abs(load<f64>(at)) <= tolerance) {
      drop(r);
      continue;
    }
    if (before >= 0) {
      const from = z + (<usize>before << 3);
      const size = hypot2(load<f64>(at), load<f64>(from));
      const c = load<f64>(at) / size;
      const s = -load<f64>(from) / size;
      const x = load<f64>(d + (<usize>before << 3));
      const y = load<f64>(d + (<usize>r << 3));
      if (abs((y - x) * c * s) <= tolerance) {
        store<f64>(at, size);
        store<f64>(from, 0);
        turn<T>(q, row, before, r, lo, hi, c, s);
        store<f64>(d + (<usize>before << 3), x * c * c + y * s * s);
        store<f64>(d + (<usize>r << 3), x * s * s + y * c * c);
        if (list(kinds, before) != list(kinds, r)) store<i32>(kinds + (<usize>r << 2), 2);
        drop(before);
      } else keep(before);
    }
    before = r;
  }
  if (before >= 0) keep(before);
}

function deflateSingular<T>(args: usize, b: i32, lo: i32, mid: i32, hi: i32, room: usize): void {
  const size = sizeof<T>();
  const u = operand(args, 10, b);
  const rowU = <usize>word(args, 12);
  const v = operand(args, 13, b);
  const rowV = <usize>word(args, 15);
  const d = numbers(args, 20, b, 0);
  const z = numbers(args, 26, b, 0);
  const wide = hi < word(args, 9);
  const end = wide ? hi + 1 : hi;
  const alpha = load<f64>(numbers(args, 22, b, mid));
  const beta = load<f64>(numbers(args, 24, b, mid));
  separate<T>(u, rowU, lo, mid + 1, hi, hi);
  for (let r = lo; r < mid; r++) store<T>(u + <usize>r * rowU + <usize>mid * size, <T>0);
  memory.fill(u + <usize>mid * rowU + <usize>lo * size, 0, <usize>(hi - lo) * size);
  store<T>(u + <usize>mid * (rowU + size), <T>1);
  separate<T>(v, rowV, lo, mid + 1, end, end);
  let most = max(abs(alpha), abs(beta));
  let count = 0;
  store<f64>(d + (<usize>mid << 3), 0);
  for (let r = lo; r < end; r++) {
    const value = <f64>load<T>(v + <usize>r * rowV + <usize>(r <= mid ? mid : mid + 1) * size);
    const at = r == hi ? numbers(args, 28, b, lo) : z + (<usize>r << 3);
    store<f64>(at, value * (r <= mid ? alpha : beta));
    if (r == hi) break;
    store<i32>(kinds + (<usize>r << 2), r < mid ? 1 : r == mid ? 2 : 3);
    if (r != mid) store<i32>(order + (<usize>(count++) << 2), r);
    most = max(most, abs(load<f64>(d + (<usize>r << 3))));
  }
  let first = load<f64>(z + (<usize>mid << 3));
  if (wide) {
    // The two rows of the null space become one that z sees and one that it does not.
    const other = load<f64>(numbers(args, 28, b, lo));
    const length = hypot2(first, other);
    if (length != 0) turn<T>(v, rowV, mid, hi, lo, end, first / length, other / length);
    first = length;
  }
  const tolerance = max(8 * unitOf<T>() * most, NOTHING); // the slopes of the secular equation are numbers still
  if (abs(first) <= tolerance) first = tolerance;
  store<f64>(z + (<usize>mid << 3), first);
  store<f64>(numbers(args, 36, b, lo) + RHO, 1);
  keep(mid);
  sortIndices(d, order, room, count);
  let before = -1;
  for (let i = 0; i < count; i++) {
    const r = list(order, i);
    const at = z + (<usize>r << 3);
    if (abs(load<f64>(at)) <= tolerance) {
      drop(r);
      continue;
    }
    if (before >= 0) {
      const from = z + (<usize>before << 3);
      if (load<f64>(d + (<usize>r << 3)) - load<f64>(d + (<usize>before << 3)) <= tolerance) {
        const length = hypot2(load<f64>(at), load<f64>(from));
        const c = load<f64>(at) / length;
        const s = -load<f64>(from) / length;
        store<f64>(at, length);
        store<f64>(from, 0);
        turn<T>(u, rowU, before, r, lo, hi, c, s);
        turn<T>(v, rowV, before, r, lo, end, c, s);
        if (list(kinds, before) != list(kinds, r)) store<i32>(kinds + (<usize>r << 2), 2);
        drop(before);
      } else keep(before);
    }
    before = r;
  }
  if (before >= 0) keep(before);
  if (keptCount > 1) {
    const at = d + (<usize>list(kept, 1) << 3);
    store<f64>(at, max(load<f64>(at), tolerance * 0.5));
  }
}

/** Poles and their z in order; new rows: those of the first half, of both, of the second, then those that stay as they are. */
function settle(args: usize, b: i32, lo: i32, hi: i32, room: usize): void {
  const k = keptCount;
  const d = numbers(args, 20, b, 0);
  const facts = numbers(args, 36, b, lo);
  const counts = room + (<usize>goneCount << 3);
  memory.fill(counts, 0, 16);
  for (let j = 0; j < k; j++) {
    const row = list(kept, j);
    const at = <usize>(lo + j) << 3;
    store<f64>(numbers(args, 28, b, 0) + at, load<f64>(d + (<usize>row << 3)));
    store<f64>(numbers(args, 30, b, 0) + at, load<f64>(numbers(args, 26, b, row)));
    const count = counts + (<usize>list(kinds, row) << 2);
    store<i32>(count, load<i32>(count) + 1);
  }
  for (let i = 0; i < goneCount; i++) store<f64>(room + (<usize>i << 3), load<f64>(d + (<usize>list(gone, i) << 3)));
  for (let i = 0; i < goneCount; i++) {
    const at = lo + k + i;
    store<f64>(d + (<usize>at << 3), load<f64>(room + (<usize>i << 3)));
    store<i32>(whole(args, 32, b, at), list(gone, i));
  }
  store<i32>(facts + POLES, k);
  store<i32>(facts + FIRST, load<i32>(counts, 4));
  store<i32>(facts + BOTH, load<i32>(counts, 8));
  // From counts to places.
  store<i32>(counts, load<i32>(counts, 4) + load<i32>(counts, 8), 12);
  store<i32>(counts, load<i32>(counts, 4), 8);
  store<i32>(counts, 0, 4);
  for (let j = 0; j < k; j++) {
    const row = list(kept, j);
    const place = counts + (<usize>list(kinds, row) << 2);
    const c = load<i32>(place);
    store<i32>(place, c + 1);
    store<i32>(whole(args, 32, b, lo + c), row);
    store<i32>(whole(args, 34, b, lo + c), j);
  }
}
