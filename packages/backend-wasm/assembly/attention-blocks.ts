// What the directions of attention share: the argument words, packing of blocks, masks and the blocks of scores.
//
// The query heads that share a key head are rows of one problem: row r is query t = r / group of head r % group, so that
// dk and dv of grouped heads are sums inside one product, in a fixed order. Scores are kept transposed, [keys, rows]:
// the keys are then read row by row as they are, and maxima and sums over keys run down the lanes.
import { HostMath } from "./host-math";
import { product } from "./attention-tiles";
import { F32, fromF32, toF32, widthOf } from "./rows";

/** Rows and keys of a block, and the row length of a block of scores. */
export const BLOCK: i32 = 64;
export const ROWS: usize = 64;
export const SCORE_ROW: usize = 72 * 4;
export const SCORES: usize = 64 * 72 * 4;
const MINUS_INFINITY: usize = memory.data<f32>([-Infinity]);

// Argument words; strides are in elements.
export const Q: usize = 0;
export const K: usize = 4;
export const V: usize = 8;
export const O: usize = 12;
export const LSE: usize = 16;
export const MASK: usize = 20; // 0: none
export const OFFSET: usize = 24; // address of an i32
export const BATCH: usize = 28;
export const QUERIES: usize = 32;
export const KEYS: usize = 36;
export const HEADS: usize = 40;
export const KEY_HEADS: usize = 44;
export const WIDTH: usize = 48; // of q and k
export const VALUE_WIDTH: usize = 52;
export const SCALE: usize = 56;
export const CAUSAL: usize = 60;
export const Q_STRIDES: usize = 64; // batch, query, head
export const K_STRIDES: usize = 76;
export const V_STRIDES: usize = 88;
export const MASK_STRIDES: usize = 100; // batch, head, query, key
export const Q_DTYPE: usize = 116;
export const K_DTYPE: usize = 120;
export const V_DTYPE: usize = 124;
export const DO: usize = 128;
export const DO_STRIDES: usize = 132;
export const DQ: usize = 144;
export const DK: usize = 148;
export const DV: usize = 152;
export const O_DTYPE: usize = 156;
export const O_STRIDES: usize = 160; // of o and lse as inputs
export const LSE_STRIDES: usize = 172; // batch, head, query
export const PARTS: usize = 184; // of dk and dv, to be summed afterwards
export const SPAN: usize = 188; // blocks of rows that share what is packed of a block of keys

// @ts-ignore: decorator
@inline
export function word(args: usize, at: usize): i32 {
  return load<i32>(args + at);
}

/** Bytes of a packed row of n f32: a multiple of 32, and no power of two, so that rows do not share cache sets. */
// @ts-ignore: decorator
@inline
export function packedRow(n: i32): usize {
  return <usize>(((n + 7) & ~7) + 8) << 2;
}

// @ts-ignore: decorator
@inline
export function roundUp(n: i32, to: i32): i32 {
  return (n + to - 1) & -to;
}

/** Address of element [b, i, h] of a tensor with three strides and then contiguous rows. */
// @ts-ignore: decorator
@inline
export function rowAt(args: usize, tensor: usize, strides: usize, width: i32, b: i32, i: i32, h: i32): usize {
  const place = b * word(args, strides) + i * word(args, strides + 4) + h * word(args, strides + 8);
  return load<usize>(args + tensor) + <usize>(place * width);
}

/** Copies `count` rows of n numbers, `step` bytes apart, to packed rows of f32 whose padding is zero. */
export function packRows(dtype: i32, from: usize, step: usize, count: i32, n: i32, to: usize): void {
  const stride = packedRow(n);
  const used = <usize>n << 2;
  const padded = <usize>((n + 7) & ~7) << 2;
  for (let i = 0; i < count; i++) {
    toF32(dtype, from, n, to);
    for (let at = used; at < padded; at += 4) store<f32>(to + at, 0);
    from += step;
    to += stride;
  }
}

/** Packs the rows r0.. of a query-shaped tensor for one key head; rows up to a multiple of 8 become zero. */
export function packQueries(
  args: usize,
  tensor: usize,
  strides: usize,
  dtype: i32,
  b: i32,
  keyHead: i32,
  group: i32,
  r0: i32,
  count: i32,
  n: i32,
  to: usize,
): void {
  const stride = packedRow(n);
  const width = widthOf(dtype);
  for (let i = 0; i < count; i++) {
    const r = r0 + i;
    const t = r / group;
    packRows(dtype, rowAt(args, tensor, strides, width, b, t, keyHead * group + (r - t * group)), 0, 1, n, to);
    to += stride;
  }
  const rest = <usize>(roundUp(count, 8) - count);
  if (rest != 0) memory.fill(to, 0, rest * stride);
}

/** Last key that each row may see, as i32; rows of padding are like the last row. Returns the last key seen by any. */
export function writeLimits(args: usize, r0: i32, count: i32, group: i32, limits: usize): i32 {
  const end = word(args, KEYS) - 1;
  const padded = roundUp(count, 8);
  const causal = word(args, CAUSAL) != 0;
  const offset = causal ? load<i32>(load<usize>(args + OFFSET)) : 0;
  let limit = end;
  for (let i = 0; i < padded; i++) {
    if (causal && i < count) limit = <i32>min<i64>(end, <i64>((r0 + i) / group) + offset);
    store<i32>(limits + (<usize>i << 2), limit);
  }
  return limit;
}

/** Whether a block of keys holds any of a range. */
// @ts-ignore: decorator
@inline
export function overlaps(range: usize, first: i32, keys: i32): bool {
  return first < load<i32>(range, 4) && first + keys > load<i32>(range);
}

/**
 * What of a block lies under the diagonal: for each panel of 8 rows how many of its keys some row sees, and for each
 * group of 4 keys the first row (of a panel) that sees one.
 */
export function writeVisible(
  limits: usize,
  rows: i32,
  first: i32,
  keys: i32,
  visible: usize,
  starts: usize,
): void {
  let group = 0;
  for (let i = 0; i < rows; i += 8) {
    const seen = max(0, min(keys, load<i32>(limits + (<usize>i << 2), 28) - first + 1));
    store<i32>(visible + (<usize>i >> 1), seen);
    for (; group < seen; group += 4) store<i32>(starts + <usize>group, i);
  }
  for (; group < keys; group += 4) store<i32>(starts + <usize>group, rows);
}

/** Sets scores of keys beyond each row's limit to -inf. */
function maskLimits(scores: usize, first: i32, rows: i32, limits: usize, visible: usize): void {
  const none = v128.load32_splat(MINUS_INFINITY);
  for (let i = 0; i < rows; i += 8) {
    const panel = <usize>i << 2;
    const keys = roundUp(load<i32>(visible + (<usize>i >> 1)), 4);
    // Limits do not fall from row to row.
    const known = max(0, load<i32>(limits + panel) - first + 1);
    const limit0 = v128.load(limits + panel);
    const limit1 = v128.load(limits + panel, 16);
    for (let j = known; j < keys; j++) {
      const key = i32x4.splat(first + j);
      const at = scores + <usize>j * SCORE_ROW + panel;
      v128.store(at, v128.bitselect(none, v128.load(at), i32x4.gt_s(key, limit0)));
      v128.store(at, v128.bitselect(none, v128.load(at, 16), i32x4.gt_s(key, limit1)), 16);
    }
  }
}

/** Sets scores where the boolean mask is false to -inf. */
function maskScores(
  args: usize,
  scores: usize,
  b: i32,
  keyHead: i32,
  group: i32,
  r0: i32,
  count: i32,
  first: i32,
  keys: i32,
): void {
  const batchStride = word(args, MASK_STRIDES);
  const headStride = word(args, MASK_STRIDES + 4);
  const queryStride = word(args, MASK_STRIDES + 8);
  const step = word(args, MASK_STRIDES + 12);
  const base = load<usize>(args + MASK) + <usize>(b * batchStride + first * step);
  if (headStride == 0 && queryStride == 0) {
    for (let j = 0; j < keys; j++) {
      if (load<u8>(base + <usize>(j * step)) != 0) continue;
      const row = scores + <usize>j * SCORE_ROW;
      for (let at: usize = 0; at < <usize>count << 2; at += 4) store<f32>(row + at, -Infinity);
    }
    return;
  }
  for (let i = 0; i < count; i++) {
    const t = (r0 + i) / group;
    const h = keyHead * group + (r0 + i - t * group);
    const mask = base + <usize>(h * headStride + t * queryStride);
    const score = scores + (<usize>i << 2);
    for (let j = 0; j < keys; j++) {
      // Where 16 keys are visible there is nothing to do.
      if (step == 1 && (j & 15) == 0 && j + 16 <= keys && i8x16.all_true(v128.load(mask + <usize>j))) j += 15;
      else if (load<u8>(mask + <usize>(j * step)) == 0) store<f32>(score + <usize>j * SCORE_ROW, -Infinity);
    }
  }
}

/**
 * Narrows the keys `range` = [first, end) of a block of rows to those that its mask may show to any of them, in steps of 16
 * keys.
 */
function narrowRange(args: usize, b: i32, keyHead: i32, group: i32, r0: i32, count: i32, range: usize): void {
  const end = load<i32>(range, 4);
  const headStride = word(args, MASK_STRIDES + 4);
  const base = load<usize>(args + MASK) + <usize>(b * word(args, MASK_STRIDES));
  let first = end;
  let last = 0;
  let before: usize = 0;
  for (let i = 0; i < count; i++) {
    const t = (r0 + i) / group;
    const h = keyHead * group + (r0 + i - t * group);
    const row = base + <usize>(h * headStride + t * word(args, MASK_STRIDES + 8));
    if (row == before) continue;
    before = row;
    let j = 0;
    while (j + 16 <= first && !v128.any_true(v128.load(row + <usize>j))) j += 16;
    first = min(first, j);
    j = end;
    while (j - 16 >= last && !v128.any_true(v128.load(row + <usize>(j - 16)))) j -= 16;
    last = max(last, j);
  }
  store<i32>(range, first);
  store<i32>(range, last, 4);
}

/** Writes the last key of each row to `limits` and the keys that a block of rows may see, [first, end), to `range`. */
export function writeRange(
  args: usize,
  b: i32,
  keyHead: i32,
  group: i32,
  r0: i32,
  count: i32,
  limits: usize,
  range: usize,
): void {
  store<i32>(range, 0);
  store<i32>(range, writeLimits(args, r0, count, group, limits) + 1, 4);
  if (load<usize>(args + MASK) != 0 && word(args, MASK_STRIDES + 12) == 1) {
    narrowRange(args, b, keyHead, group, r0, count, range);
  }
}

/** Scores [keys, rows] of one block, masked; those above the diagonal are not touched. */
export function scoreBlock(
  args: usize,
  b: i32,
  keyHead: i32,
  group: i32,
  r0: i32,
  count: i32,
  first: i32,
  keys: i32,
  packedKeys: usize,
  queries: usize,
  limits: usize,
  visible: usize,
  scores: usize,
): void {
  const width = word(args, WIDTH);
  const rows = roundUp(count, 8);
  product(
    keys, rows, width, visible, 0, packedKeys, packedRow(width), queries, <usize>width << 5, 32, scores, SCORE_ROW,
    false,
  );
  maskLimits(scores, first, rows, limits, visible);
  if (load<usize>(args + MASK) != 0) maskScores(args, scores, b, keyHead, group, r0, count, first, keys);
}

/** Blocks of rows of one key head. */
// @ts-ignore: decorator
@inline
export function rowBlocks(args: usize): i32 {
  const rows = word(args, QUERIES) * (word(args, HEADS) / word(args, KEY_HEADS));
  return (rows + BLOCK - 1) / BLOCK;
}

/** y[i] = x[i] · factor for n numbers. */
function scaleInto(x: usize, y: usize, n: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4, x += 16, y += 16) v128.store(y, f32x4.mul(v128.load(x), f));
  for (; i < n; i++, x += 4, y += 4) store<f32>(y, load<f32>(x) * factor);
}

/**
 * Divides row r of weighted values by its sum of weights and stores it, with lse = log sum + most; a row that saw nothing
 * gives 0 and -inf.
 */
export function writeOutput(
  args: usize,
  b: i32,
  keyHead: i32,
  group: i32,
  r: i32,
  row: usize,
  most: f32,
  sum: f32,
): void {
  const t = r / group;
  const h = keyHead * group + (r - t * group);
  const heads = word(args, HEADS);
  const queries = word(args, QUERIES);
  const n = word(args, VALUE_WIDTH);
  const dtype = word(args, O_DTYPE);
  const o = load<usize>(args + O) + <usize>(((b * queries + t) * heads + h) * n * widthOf(dtype));
  const lse = load<usize>(args + LSE) + (<usize>((b * heads + h) * queries + t) << 2);
  store<f32>(lse, sum == 0 ? -Infinity : most + <f32>HostMath.log(sum));
  const factor: f32 = sum == 0 ? 0 : <f32>1.0 / sum;
  if (dtype == F32) {
    scaleInto(row, o, n, factor);
  } else {
    scaleInto(row, row, n, factor);
    fromF32(dtype, row, n, o);
  }
}
