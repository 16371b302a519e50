// Sorting, the first k, and the place of the extreme, along rows. Numbers become unsigned keys whose order is the wanted
// one (NaN last in both directions, -0 equal to 0); a key and its place make one integer, so equal numbers keep their
// order.
import { bf16ToF32, f16ToF32 } from "./half";
import { readNumber } from "./numbers";
import { begin, BF16, F16, F32, F64, widthOf } from "./rows";

/** Bytes of the digit counts of a radix sort. */
const COUNTS: usize = 4 * 256 * 4;
/** Rows up to this length are sorted by insertion. */
const SHORT: i32 = 48;
/** The first k are kept in a sorted list up to this k. */
const FEW: i32 = 128;

// @ts-ignore: decorator
@inline
function floatKey(value: f32): u32 {
  if (value != value) return 0xffffffff;
  const bits = reinterpret<u32>(value + 0);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000;
}

function narrowKey(dtype: i32, at: usize, descending: bool): u32 {
  let key: u32;
  if (dtype == F32) key = floatKey(load<f32>(at));
  else if (dtype == F16) key = floatKey(f16ToF32(load<u16>(at)));
  else if (dtype == BF16) key = floatKey(bf16ToF32(load<u16>(at)));
  else if (dtype == 4) key = load<u32>(at) ^ 0x80000000;
  else if (dtype == 3) return descending ? ~load<u32>(at) : load<u32>(at);
  else if (dtype == 2) key = <u32>(<i32>load<i8>(at) + 128);
  else key = <u32>load<u8>(at);
  if (!descending) return key;
  return dtype >= BF16 && key == 0xffffffff ? key : ~key;
}

function wideKey(at: usize, descending: bool): u64 {
  const value = load<f64>(at);
  if (value != value) return u64.MAX_VALUE;
  const bits = reinterpret<u64>(value + 0);
  const key = bits >> 63 != 0 ? ~bits : bits | 0x8000000000000000;
  return descending ? ~key : key;
}

/**
 * The first `keep` of each sorted row. args: x, values, indices, rows, n, keep, dtype, descending. Scratch: 16 n bytes and
 * 4 KiB; 32 n bytes for f64.
 */
export function sortRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 12);
  const n = load<i32>(args, 16);
  const keep = load<i32>(args, 20);
  const dtype = load<i32>(args, 24);
  const descending = load<i32>(args, 28) != 0;
  const width = <usize>widthOf(dtype);
  const end = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < end; row++) {
    const x = load<usize>(args) + <usize>(row * n) * width;
    let order: usize;
    let step: usize = 8;
    if (dtype == F64) {
      order = sortWide(x, n, descending, scratch);
      step = 16;
    } else if (keep <= FEW && keep < n) {
      order = firstFew(x, n, keep, dtype, descending, scratch);
    } else {
      order = sortNarrow(x, n, dtype, descending, scratch);
    }
    let value = load<usize>(args, 4) + <usize>(row * keep) * width;
    let index = load<usize>(args, 8) + (<usize>(row * keep) << 2);
    for (let i = 0; i < keep; i++, value += width, index += 4, order += step) {
      const place = load<u32>(order); // the low half is the place
      store<u32>(index, place);
      const from = x + <usize>place * width;
      if (width == 4) store<u32>(value, load<u32>(from));
      else if (width == 2) store<u16>(value, load<u16>(from));
      else if (width == 1) store<u8>(value, load<u8>(from));
      else store<u64>(value, load<u64>(from));
    }
  }
}

/** Keeps a sorted list of the k least seen so far. */
function firstFew(x: usize, n: i32, k: i32, dtype: i32, descending: bool, list: usize): usize {
  const width = <usize>widthOf(dtype);
  if (k == 0) return list;
  let count = 0;
  let worst: u64 = u64.MAX_VALUE;
  const end = list + (<usize>k << 3);
  for (let i = 0; i < n; i++, x += width) {
    const entry = (<u64>narrowKey(dtype, x, descending) << 32) | <u64>i;
    if (entry >= worst) continue;
    let at = end - 8;
    if (count < k) {
      at = list + (<usize>count << 3);
      count += 1;
    }
    for (; at > list && load<u64>(at - 8) > entry; at -= 8) store<u64>(at, load<u64>(at - 8));
    store<u64>(at, entry);
    if (count == k) worst = load<u64>(end - 8);
  }
  return list;
}

/** Entries (key, place) of one row in order; where they begin is returned. */
function sortNarrow(x: usize, n: i32, dtype: i32, descending: bool, scratch: usize): usize {
  const width = <usize>widthOf(dtype);
  const bytes = <usize>n << 3;
  let from = scratch + COUNTS;
  let to = from + bytes;
  for (let i = 0; i < n; i++, x += width) {
    store<u64>(from + (<usize>i << 3), (<u64>narrowKey(dtype, x, descending) << 32) | <u64>i);
  }
  if (n <= SHORT) {
    for (let at = from + 8; at < from + bytes; at += 8) {
      const entry = load<u64>(at);
      let hole = at;
      for (; hole > from && load<u64>(hole - 8) > entry; hole -= 8) store<u64>(hole, load<u64>(hole - 8));
      store<u64>(hole, entry);
    }
    return from;
  }
  memory.fill(scratch, 0, COUNTS);
  for (let at = from; at < from + bytes; at += 8) {
    const key = load<u32>(at, 4);
    count(scratch + ((<usize>key & 255) << 2));
    count(scratch + 1024 + ((<usize>(key >> 8) & 255) << 2));
    count(scratch + 2048 + ((<usize>(key >> 16) & 255) << 2));
    count(scratch + 3072 + ((<usize>(key >> 24) & 255) << 2));
  }
  for (let digit: u32 = 0; digit < 4; digit++) {
    const counts = scratch + (<usize>digit << 10);
    const shift = digit << 3;
    const first = <usize>(load<u32>(from, 4) >> shift) & 255;
    if (load<i32>(counts + (first << 2)) == n) continue; // all alike
    let sum = 0;
    for (let at = counts; at < counts + 1024; at += 4) {
      const here = load<i32>(at);
      store<i32>(at, sum);
      sum += here;
    }
    for (let at = from; at < from + bytes; at += 8) {
      const place = counts + ((<usize>(load<u32>(at, 4) >> shift) & 255) << 2);
      const i = load<i32>(place);
      store<i32>(place, i + 1);
      store<u64>(to + (<usize>i << 3), load<u64>(at));
    }
    const swap = from;
    from = to;
    to = swap;
  }
  return from;
}

// @ts-ignore: decorator
@inline
function count(at: usize): void {
  store<i32>(at, load<i32>(at) + 1);
}

/** Merge sort of (place, key) pairs of 16 bytes. */
function sortWide(x: usize, n: i32, descending: bool, scratch: usize): usize {
  let from = scratch;
  let to = scratch + (<usize>n << 4);
  for (let i = 0; i < n; i++) {
    const at = from + (<usize>i << 4);
    store<u64>(at, <u64>i);
    store<u64>(at, wideKey(x + (<usize>i << 3), descending), 8);
  }
  const bytes = <usize>n << 4;
  for (let run: usize = 16; run < bytes; run <<= 1) {
    for (let start: usize = 0; start < bytes; start += 2 * run) {
      let a = from + start;
      const middle = from + min(bytes, start + run);
      let b = middle;
      const end = from + min(bytes, start + 2 * run);
      for (let out = to + start; out < to + min(bytes, start + 2 * run); out += 16) {
        if (a < middle && (b >= end || load<u64>(a, 8) <= load<u64>(b, 8))) {
          v128.store(out, v128.load(a));
          a += 16;
        } else {
          v128.store(out, v128.load(b));
          b += 16;
        }
      }
    }
    const swap = from;
    from = to;
    to = swap;
  }
  return from;
}

/** Place of the greatest (least) number, the first of equal ones; NaN counts as that. args: x, y, rows, n, dtype, least. */
export function argExtreme(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const rows = load<i32>(args, 8);
  const n = load<i32>(args, 12);
  const dtype = load<i32>(args, 16);
  const sign: f64 = load<i32>(args, 20) != 0 ? -1 : 1;
  const width = <usize>widthOf(dtype);
  const end = begin(rows, chunk + 1, chunks);
  for (let row = begin(rows, chunk, chunks); row < end; row++) {
    let x = load<usize>(args) + <usize>(row * n) * width;
    let best = 0;
    if (dtype == F32) {
      best = extremeF32(x, n, sign < 0);
    } else {
      let most: f64 = sign * readNumber(dtype, x);
      for (let i = 1; i < n && most == most; i++) {
        x += width;
        const value = sign * readNumber(dtype, x);
        if (value > most || value != value) {
          most = value;
          best = i;
        }
      }
    }
    store<i32>(load<usize>(args, 4) + (<usize>row << 2), best);
  }
}

function extremeF32(x: usize, n: i32, least: bool): i32 {
  // First the extreme itself, four lanes at a time (f32x4.max keeps NaN), then its first place.
  let i = 0;
  let most: f32 = load<f32>(x);
  if (n >= 8) {
    let m = v128.load(x);
    for (i = 4; i + 4 <= n; i += 4) {
      const v = v128.load(x + (<usize>i << 2));
      m = least ? f32x4.min(m, v) : f32x4.max(m, v);
    }
    const a = f32x4.extract_lane(m, 0);
    const b = f32x4.extract_lane(m, 1);
    const c = f32x4.extract_lane(m, 2);
    const d = f32x4.extract_lane(m, 3);
    most = least ? min<f32>(min<f32>(a, b), min<f32>(c, d)) : max<f32>(max<f32>(a, b), max<f32>(c, d));
  }
  for (; i < n; i++) {
    const v = load<f32>(x + (<usize>i << 2));
    most = least ? min<f32>(most, v) : max<f32>(most, v);
  }
  for (i = 0; i < n - 1; i++, x += 4) {
    const v = load<f32>(x);
    if (most == most ? v == most : v != v) return i;
  }
  return i;
}
