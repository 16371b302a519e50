// Attention of few rows, as in decoding: no block of scores is worth multiplying, so each key and each value is read once,
// in order, four at a time, as it lies in memory.
import * as at from "./attention-blocks";
import { BLOCK, packedRow, packQueries, rowAt, roundUp, word, writeLimits, writeOutput } from "./attention-blocks";
import { exp1, exp4, F32, rowMax, toF32, widthOf } from "./rows";
import { madd, sumLanes } from "./simd";

/** Most rows (queries of one key head) that are taken this way. */
export const FEW: i32 = 4;

/** Rows of scores, one of 64 keys per row. */
const SCORE_BYTES: usize = 4 * 64 * 4;

/** All rows of one key head. */
export function decodeHead(args: usize, b: i32, keyHead: i32, scratch: usize): void {
  const group = word(args, at.HEADS) / word(args, at.KEY_HEADS);
  const rows = word(args, at.QUERIES) * group;
  const width = word(args, at.WIDTH);
  const valueWidth = word(args, at.VALUE_WIDTH);
  const kRow = packedRow(width);
  const vRow = packedRow(valueWidth);
  const scores = scratch;
  const limits = scores + SCORE_BYTES;
  const queries = limits + 256;
  const sums = queries + 8 * kRow;
  const four = sums + 8 * vRow; // four rows of keys or values as padded f32
  packQueries(args, at.Q, at.Q_STRIDES, word(args, at.Q_DTYPE), b, keyHead, group, 0, rows, width, queries);
  for (let r = 0; r < rows; r++) scaleRow(queries + <usize>r * kRow, kRow, load<f32>(args + at.SCALE));
  memory.fill(sums, 0, <usize>rows * vRow);
  const end = writeLimits(args, 0, rows, group, limits) + 1;
  // Per row: the maximum and the sum so far, after the limits.
  for (let r = 0; r < rows; r++) {
    store<f32>(limits + (<usize>r << 2), -Infinity, 128);
    store<f32>(limits + (<usize>r << 2), 0, 160);
  }
  for (let first = 0; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    scoreRows(args, b, keyHead, first, keys, rows, queries, kRow, four, scores);
    hideScores(args, b, keyHead, group, first, keys, rows, limits, scores);
    for (let r = 0; r < rows; r++) {
      const row = scores + (<usize>r << 8);
      const known = limits + (<usize>r << 2);
      const old = load<f32>(known, 128);
      const most = max<f32>(old, rowMax(row, keys));
      const shift: f32 = most == -Infinity ? 0 : most;
      const factor = exp1(old - shift);
      store<f32>(known, most, 128);
      store<f32>(known, load<f32>(known, 160) * factor + weigh(row, roundUp(keys, 4), shift), 160);
      if (factor != 1) scaleRow(sums + <usize>r * vRow, vRow, factor);
    }
    addValues(args, b, keyHead, first, keys, rows, scores, sums, vRow, four);
  }
  for (let r = 0; r < rows; r++) {
    const known = limits + (<usize>r << 2);
    writeOutput(args, b, keyHead, group, r, sums + <usize>r * vRow, load<f32>(known, 128), load<f32>(known, 160));
  }
}

function scaleRow(x: usize, bytes: usize, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let place: usize = 0; place < bytes; place += 16) v128.store(x + place, f32x4.mul(v128.load(x + place), f));
}

/** Whether rows of n numbers can be read in place, four at a time. */
// @ts-ignore: decorator
@inline
function isDirect(dtype: i32, n: i32): bool {
  return dtype == F32 && (n & 3) == 0;
}

/** Row j of a block as padded f32: in place, or converted into slot j & 3 of `four`; beyond the last the last. */
function rowOf(dtype: i32, from: usize, step: usize, j: i32, keys: i32, n: i32, four: usize): usize {
  const row = from + <usize>min(j, keys - 1) * step;
  if (isDirect(dtype, n)) return row;
  const to = four + <usize>(j & 3) * packedRow(n);
  toF32(dtype, row, n, to);
  for (let i = n; i < roundUp(n, 4); i++) store<f32>(to + (<usize>i << 2), 0);
  return to;
}

/** scores[row, key] for a block of keys; places up to a multiple of 4 hold copies of the last key's. */
function scoreRows(
  args: usize,
  b: i32,
  keyHead: i32,
  first: i32,
  keys: i32,
  rows: i32,
  queries: usize,
  kRow: usize,
  four: usize,
  scores: usize,
): void {
  const dtype = word(args, at.K_DTYPE);
  const width = word(args, at.WIDTH);
  const from = rowAt(args, at.K, at.K_STRIDES, widthOf(dtype), b, first, keyHead);
  const step = <usize>(word(args, at.K_STRIDES + 4) * widthOf(dtype));
  const bytes = <usize>roundUp(width, 4) << 2;
  for (let j = 0; j < keys; j += 4) {
    const k0 = rowOf(dtype, from, step, j, keys, width, four);
    const k1 = rowOf(dtype, from, step, j + 1, keys, width, four);
    const k2 = rowOf(dtype, from, step, j + 2, keys, width, four);
    const k3 = rowOf(dtype, from, step, j + 3, keys, width, four);
    let q = queries;
    let to = scores + (<usize>j << 2);
    for (let r = 0; r < rows; r++, q += kRow, to += 256) {
      let s0 = f32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      for (let d: usize = 0; d < bytes; d += 16) {
        const x = v128.load(q + d);
        s0 = madd(x, v128.load(k0 + d), s0);
        s1 = madd(x, v128.load(k1 + d), s1);
        s2 = madd(x, v128.load(k2 + d), s2);
        s3 = madd(x, v128.load(k3 + d), s3);
      }
      store<f32>(to, sumLanes(s0));
      store<f32>(to, sumLanes(s1), 4);
      store<f32>(to, sumLanes(s2), 8);
      store<f32>(to, sumLanes(s3), 12);
    }
  }
}

/** Sets to -inf what a row may not see, and the places after the last key. */
function hideScores(
  args: usize,
  b: i32,
  keyHead: i32,
  group: i32,
  first: i32,
  keys: i32,
  rows: i32,
  limits: usize,
  scores: usize,
): void {
  const mask = load<usize>(args + at.MASK);
  const step = word(args, at.MASK_STRIDES + 12);
  for (let r = 0; r < rows; r++) {
    const row = scores + (<usize>r << 8);
    const seen = max(0, min(keys, load<i32>(limits + (<usize>r << 2)) - first + 1));
    for (let j = seen; j < roundUp(keys, 4); j++) store<f32>(row + (<usize>j << 2), -Infinity);
    if (mask == 0) continue;
    const t = r / group;
    const h = keyHead * group + (r - t * group);
    let from = mask + <usize>(b * word(args, at.MASK_STRIDES) + h * word(args, at.MASK_STRIDES + 4) +
      t * word(args, at.MASK_STRIDES + 8) + first * step);
    for (let j = 0; j < keys; j++, from += <usize>step) {
      if (load<u8>(from) == 0) store<f32>(row + (<usize>j << 2), -Infinity);
    }
  }
}

/** Turns scores into weights exp(s - shift) and returns their sum. */
function weigh(row: usize, keys: i32, shift: f32): f32 {
  const s = f32x4.splat(shift);
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < <usize>keys << 2; j += 16) {
    const w = exp4(f32x4.sub(v128.load(row + j), s));
    v128.store(row + j, w);
    sum = f32x4.add(sum, w);
  }
  return sumLanes(sum);
}

/** sums[row] += Σ weight · value over a block of keys. */
function addValues(
  args: usize,
  b: i32,
  keyHead: i32,
  first: i32,
  keys: i32,
  rows: i32,
  weights: usize,
  sums: usize,
  vRow: usize,
  four: usize,
): void {
  const dtype = word(args, at.V_DTYPE);
  const width = word(args, at.VALUE_WIDTH);
  const from = rowAt(args, at.V, at.V_STRIDES, widthOf(dtype), b, first, keyHead);
  const step = <usize>(word(args, at.V_STRIDES + 4) * widthOf(dtype));
  const bytes = <usize>roundUp(width, 4) << 2;
  for (let j = 0; j < keys; j += 4) {
    const v0 = rowOf(dtype, from, step, j, keys, width, four);
    const v1 = rowOf(dtype, from, step, j + 1, keys, width, four);
    const v2 = rowOf(dtype, from, step, j + 2, keys, width, four);
    const v3 = rowOf(dtype, from, step, j + 3, keys, width, four);
    let weight = weights + (<usize>j << 2);
    let to = sums;
    for (let r = 0; r < rows; r++, weight += 256, to += vRow) {
      const w0 = v128.load32_splat(weight);
      const w1 = v128.load32_splat(weight, 4);
      const w2 = v128.load32_splat(weight, 8);
      const w3 = v128.load32_splat(weight, 12);
      for (let d: usize = 0; d < bytes; d += 16) {
        const a = madd(w1, v128.load(v1 + d), madd(w0, v128.load(v0 + d), v128.load(to + d)));
        v128.store(to + d, madd(w3, v128.load(v3 + d), madd(w2, v128.load(v2 + d), a)));
      }
    }
  }
}
