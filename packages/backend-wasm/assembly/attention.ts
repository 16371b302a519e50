// Attention without the matrix of scores: o = softmax(scale · q kᵀ + mask) v, block by block with a running maximum and
// sum (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691), and its gradients.
//
// The query heads that share a key head are rows of one problem: row r is query t = r / group of head r % group, so that
// dk and dv of grouped heads are sums inside one product, in a fixed order. Scores are kept transposed, [keys, rows]:
// the keys are then read row by row as they are, and maxima and sums over keys run down the lanes.
import { accumulate, product, productT, transposePanels } from "./attention-tiles";
import { begin, copyBytes, exp4, F32, fromF32, rowDot, toF32, widthOf } from "./rows";
import { madd } from "./simd";

/** Rows and keys of a block, and the row length of a block of scores. */
const BLOCK: i32 = 64;
const ROWS: usize = 64;
const SCORE_ROW: usize = 72 * 4;
const SCORES: usize = 64 * 72 * 4;

// Argument words; strides are in elements.
const Q: usize = 0;
const K: usize = 4;
const V: usize = 8;
const O: usize = 12;
const LSE: usize = 16;
const MASK: usize = 20; // 0: none
const OFFSET: usize = 24; // address of an i32
const BATCH: usize = 28;
const QUERIES: usize = 32;
const KEYS: usize = 36;
const HEADS: usize = 40;
const KEY_HEADS: usize = 44;
const WIDTH: usize = 48; // of q and k
const VALUE_WIDTH: usize = 52;
const SCALE: usize = 56;
const CAUSAL: usize = 60;
const Q_STRIDES: usize = 64; // batch, query, head
const K_STRIDES: usize = 76;
const V_STRIDES: usize = 88;
const MASK_STRIDES: usize = 100; // batch, head, query, key
const Q_DTYPE: usize = 116;
const K_DTYPE: usize = 120;
const V_DTYPE: usize = 124;
const DO: usize = 128;
const DO_STRIDES: usize = 132;
const DQ: usize = 144;
const DK: usize = 148;
const DV: usize = 152;
const O_DTYPE: usize = 156;
const O_STRIDES: usize = 160; // of o and lse as inputs
const LSE_STRIDES: usize = 172; // batch, head, query

// @ts-ignore: decorator
@inline
function word(args: usize, at: usize): i32 {
  return load<i32>(args + at);
}

/** Bytes of a packed row of n f32: a multiple of 32, and no power of two, so that rows do not share cache sets. */
// @ts-ignore: decorator
@inline
function packedRow(n: i32): usize {
  return <usize>(((n + 7) & ~7) + 8) << 2;
}

// @ts-ignore: decorator
@inline
function roundUp(n: i32, to: i32): i32 {
  return (n + to - 1) & -to;
}

/** Address of element [b, i, h] of a tensor with three strides and then contiguous rows. */
// @ts-ignore: decorator
@inline
function rowAt(args: usize, tensor: usize, strides: usize, width: i32, b: i32, i: i32, h: i32): usize {
  const place = b * word(args, strides) + i * word(args, strides + 4) + h * word(args, strides + 8);
  return load<usize>(args + tensor) + <usize>(place * width);
}

/** Copies `count` rows of n numbers, `step` bytes apart, to packed rows of f32 whose padding is zero. */
function packRows(dtype: i32, from: usize, step: usize, count: i32, n: i32, to: usize): void {
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
function packQueries(
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

/** Last key that each row may see, as i32; rows of padding see all. Returns the least and, shifted by 32, the most. */
function writeLimits(args: usize, r0: i32, count: i32, group: i32, limits: usize): i64 {
  const end = word(args, KEYS) - 1;
  const padded = roundUp(count, 8);
  let least = end;
  let most = -1;
  const causal = word(args, CAUSAL) != 0;
  const offset = causal ? load<i32>(load<usize>(args + OFFSET)) : 0;
  for (let i = 0; i < padded; i++) {
    let limit = end;
    if (i < count) {
      if (causal) limit = min(end, (r0 + i) / group + offset);
      least = min(least, limit);
      most = max(most, limit);
    }
    store<i32>(limits + (<usize>i << 2), limit);
  }
  return (<i64>most << 32) | (<i64>least & 0xffffffff);
}

/** Sets scores of keys beyond each row's limit to -inf. */
function maskLimits(scores: usize, first: i32, keys: i32, rows: i32, limits: usize): void {
  const none = f32x4.splat(-Infinity);
  for (let j = 0; j < keys; j++) {
    const key = i32x4.splat(first + j);
    const row = scores + <usize>j * SCORE_ROW;
    for (let at: usize = 0; at < <usize>rows << 2; at += 16) {
      const hidden = i32x4.gt_s(key, v128.load(limits + at));
      v128.store(row + at, v128.bitselect(none, v128.load(row + at), hidden));
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
    let mask = base + <usize>(h * headStride + t * queryStride);
    let score = scores + (<usize>i << 2);
    for (let j = 0; j < keys; j++) {
      if (load<u8>(mask) == 0) store<f32>(score, -Infinity);
      mask += <usize>step;
      score += SCORE_ROW;
    }
  }
}

/** Scores [keys, rows] of one block, masked. */
function scoreBlock(
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
  leastLimit: i32,
  scores: usize,
): void {
  const width = word(args, WIDTH);
  const rows = roundUp(count, 8);
  const panel = <usize>width << 5;
  product(roundUp(keys, 4), rows, width, packedKeys, packedRow(width), queries, panel, 32, scores, SCORE_ROW);
  if (first + keys - 1 > leastLimit) maskLimits(scores, first, keys, rows, limits);
  if (load<usize>(args + MASK) != 0) maskScores(args, scores, b, keyHead, group, r0, count, first, keys);
}

/**
 * One block of the running softmax: scores become weights exp(s - m); maxima m, sums l and the factors by which what was
 * summed before shrinks are updated, all [rows].
 */
function softmaxBlock(scores: usize, keys: i32, rows: i32, most: usize, sums: usize, factors: usize): void {
  const zero = f32x4.splat(0);
  const none = f32x4.splat(-Infinity);
  for (let at: usize = 0; at < <usize>rows << 2; at += 32) {
    const old0 = v128.load(most + at);
    const old1 = v128.load(most + at, 16);
    let m0 = old0;
    let m1 = old1;
    let p = scores + at;
    for (let j = 0; j < keys; j++, p += SCORE_ROW) {
      m0 = f32x4.pmax(m0, v128.load(p));
      m1 = f32x4.pmax(m1, v128.load(p, 16));
    }
    v128.store(most + at, m0);
    v128.store(most + at, m1, 16);
    // A row that has seen nothing yet is shifted by 0, so that exp(-inf - 0) = 0.
    m0 = v128.bitselect(zero, m0, f32x4.eq(m0, none));
    m1 = v128.bitselect(zero, m1, f32x4.eq(m1, none));
    let s0 = zero;
    let s1 = zero;
    p = scores + at;
    for (let j = 0; j < keys; j++, p += SCORE_ROW) {
      const w0 = exp4(f32x4.sub(v128.load(p), m0));
      const w1 = exp4(f32x4.sub(v128.load(p, 16), m1));
      v128.store(p, w0);
      v128.store(p, w1, 16);
      s0 = f32x4.add(s0, w0);
      s1 = f32x4.add(s1, w1);
    }
    const f0 = exp4(f32x4.sub(old0, m0));
    const f1 = exp4(f32x4.sub(old1, m1));
    v128.store(factors + at, f0);
    v128.store(factors + at, f1, 16);
    v128.store(sums + at, madd(v128.load(sums + at), f0, s0));
    v128.store(sums + at, madd(v128.load(sums + at, 16), f1, s1), 16);
  }
}

function scaleRow(x: usize, bytes: usize, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let at: usize = 0; at < bytes; at += 16) v128.store(x + at, f32x4.mul(v128.load(x + at), f));
}

/** y[i] = x[i] · factor for n numbers. */
function scaleInto(x: usize, y: usize, n: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4, x += 16, y += 16) v128.store(y, f32x4.mul(v128.load(x), f));
  for (; i < n; i++, x += 4, y += 4) store<f32>(y, load<f32>(x) * factor);
}

/** Divides a row of weighted values by its sum of weights; a row that saw nothing gives 0 and lse -inf. */
function writeOutput(row: usize, o: usize, n: i32, dtype: i32, most: f32, sum: f32, lse: usize): void {
  store<f32>(lse, sum == 0 ? -Infinity : most + <f32>Math.log(sum));
  const factor: f32 = sum == 0 ? 0 : <f32>1.0 / sum;
  if (dtype == F32) {
    scaleInto(row, o, n, factor);
  } else {
    scaleInto(row, row, n, factor);
    fromF32(dtype, row, n, o);
  }
}

/** Blocks of rows of one key head. */
// @ts-ignore: decorator
@inline
function rowBlocks(args: usize): i32 {
  const rows = word(args, QUERIES) * (word(args, HEADS) / word(args, KEY_HEADS));
  return (rows + BLOCK - 1) / BLOCK;
}

/** Forward. A unit of work is a block of rows of one key head; the last blocks, the longest if causal, come first. */
export function attentionForward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const heads = word(args, BATCH) * word(args, KEY_HEADS);
  const blocks = rowBlocks(args);
  const units = heads * blocks;
  const last = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < last; unit++) {
    const head = unit / blocks;
    const b = head / word(args, KEY_HEADS);
    forwardBlock(args, b, head - b * word(args, KEY_HEADS), (unit - head * blocks) * BLOCK, scratch);
  }
}

function forwardBlock(args: usize, b: i32, keyHead: i32, r0: i32, scratch: usize): void {
  const group = word(args, HEADS) / word(args, KEY_HEADS);
  const count = min(BLOCK, word(args, QUERIES) * group - r0);
  const width = word(args, WIDTH);
  const valueWidth = word(args, VALUE_WIDTH);
  const kRow = packedRow(width);
  const vRow = packedRow(valueWidth);
  const scores = scratch;
  const keyRows = scores + SCORES;
  const valueRows = keyRows + ROWS * kRow;
  const queryRows = valueRows + ROWS * vRow;
  const queries = queryRows + ROWS * kRow;
  const sums = queries + ROWS * kRow;
  const limits = sums + ROWS * vRow;
  const most = limits + 256;
  const total = most + 256;
  const factors = total + 256;

  packQueries(args, Q, Q_STRIDES, word(args, Q_DTYPE), b, keyHead, group, r0, count, width, queryRows);
  transposePanels(queryRows, kRow, roundUp(count, 8), width, load<f32>(args + SCALE), queries);
  const range = writeLimits(args, r0, count, group, limits);
  const leastLimit = <i32>range;
  const end = <i32>(range >> 32) + 1;
  const rows = roundUp(count, 8);
  const columns = roundUp(valueWidth, 8);
  for (let i = 0; i < rows; i++) {
    store<f32>(most + (<usize>i << 2), -Infinity);
    store<f32>(total + (<usize>i << 2), 0);
  }
  if (end <= 0) memory.fill(sums, 0, <usize>rows * vRow);
  const kDtype = word(args, K_DTYPE);
  const vDtype = word(args, V_DTYPE);
  const kStep = <usize>(word(args, K_STRIDES + 4) * widthOf(kDtype));
  const vStep = <usize>(word(args, V_STRIDES + 4) * widthOf(vDtype));
  for (let first = 0; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    packRows(kDtype, rowAt(args, K, K_STRIDES, widthOf(kDtype), b, first, keyHead), kStep, keys, width, keyRows);
    packRows(vDtype, rowAt(args, V, V_STRIDES, widthOf(vDtype), b, first, keyHead), vStep, keys, valueWidth, valueRows);
    scoreBlock(
      args, b, keyHead, group, r0, count, first, keys, keyRows, queries, limits, leastLimit, scores,
    );
    softmaxBlock(scores, keys, rows, most, total, factors);
    if (first != 0) {
      for (let i = 0; i < count; i++) {
        const factor = load<f32>(factors + (<usize>i << 2));
        if (factor != 1) scaleRow(sums + <usize>i * vRow, <usize>columns << 2, factor);
      }
    }
    productT(roundUp(count, 4), columns, keys, scores, SCORE_ROW, valueRows, 32, vRow, sums, vRow, first != 0);
  }
  for (let i = 0; i < count; i++) {
    const r = r0 + i;
    const t = r / group;
    const h = keyHead * group + (r - t * group);
    const sum = load<f32>(total + (<usize>i << 2));
    const heads = word(args, HEADS);
    const place = (b * word(args, QUERIES) + t) * heads + h;
    const dtype = word(args, O_DTYPE);
    const o = load<usize>(args + O) + <usize>(place * valueWidth * widthOf(dtype));
    const lse = load<usize>(args + LSE) + (<usize>((b * heads + h) * word(args, QUERIES) + t) << 2);
    writeOutput(sums + <usize>i * vRow, o, valueWidth, dtype, load<f32>(most + (<usize>i << 2)), sum, lse);
  }
}

/**
 * Backward. With P = exp(s - lse), dP = do vᵀ and dS = P · (dP - Σ o do) · scale:
 * dv = Pᵀ do, dq = dS k, dk = dSᵀ q. A unit of work is a key head, whose dk and dv are summed over the blocks in order.
 */
export function attentionBackward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const keyHeads = word(args, KEY_HEADS);
  const units = word(args, BATCH) * keyHeads;
  const blocks = rowBlocks(args);
  const last = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < last; unit++) {
    const b = unit / keyHeads;
    const keyHead = unit - b * keyHeads;
    for (let j = 0; j < word(args, KEYS); j++) {
      memory.fill(outputRow(args, DK, b, j, keyHead, word(args, WIDTH)), 0, <usize>word(args, WIDTH) << 2);
      memory.fill(outputRow(args, DV, b, j, keyHead, word(args, VALUE_WIDTH)), 0, <usize>word(args, VALUE_WIDTH) << 2);
    }
    for (let block = 0; block < blocks; block++) backwardBlock(args, b, keyHead, block * BLOCK, scratch);
  }
}

/** Row of key j in dk or dv, [B, S, key heads, n]. */
// @ts-ignore: decorator
@inline
function outputRow(args: usize, tensor: usize, b: i32, j: i32, keyHead: i32, n: i32): usize {
  const place = (b * word(args, KEYS) + j) * word(args, KEY_HEADS) + keyHead;
  return load<usize>(args + tensor) + (<usize>place * <usize>n << 2);
}

function backwardBlock(args: usize, b: i32, keyHead: i32, r0: i32, scratch: usize): void {
  const heads = word(args, HEADS);
  const group = heads / word(args, KEY_HEADS);
  const count = min(BLOCK, word(args, QUERIES) * group - r0);
  const rows = roundUp(count, 8);
  const width = word(args, WIDTH);
  const valueWidth = word(args, VALUE_WIDTH);
  const kRow = packedRow(width);
  const vRow = packedRow(valueWidth);
  const scale = load<f32>(args + SCALE);
  const scores = scratch;
  const slopes = scores + SCORES;
  const keyRows = slopes + SCORES;
  const valueRows = keyRows + ROWS * kRow;
  const queryRows = valueRows + ROWS * vRow;
  const queries = queryRows + ROWS * kRow;
  const gradRows = queries + ROWS * kRow;
  const grads = gradRows + ROWS * vRow;
  const dq = grads + ROWS * vRow;
  const part = dq + ROWS * kRow;
  const limits = part + ROWS * max(kRow, vRow);
  const lses = limits + 256;
  const deltas = lses + 256;

  const range = writeLimits(args, r0, count, group, limits);
  const leastLimit = <i32>range;
  const end = <i32>(range >> 32) + 1;
  packQueries(args, Q, Q_STRIDES, F32, b, keyHead, group, r0, count, width, queryRows);
  packQueries(args, DO, DO_STRIDES, F32, b, keyHead, group, r0, count, valueWidth, gradRows);
  transposePanels(queryRows, kRow, rows, width, scale, queries);
  transposePanels(gradRows, vRow, rows, valueWidth, 1, grads);
  for (let i = 0; i < rows; i++) {
    let lse: f32 = Infinity; // nothing seen: weights exp(s - inf) = 0
    let delta: f32 = 0;
    if (i < count) {
      const t = (r0 + i) / group;
      const h = keyHead * group + (r0 + i - t * group);
      const known = load<f32>(rowAt(args, LSE, LSE_STRIDES, 4, b, h, t));
      if (known != -Infinity) lse = known;
      delta = rowDot(rowAt(args, O, O_STRIDES, 4, b, t, h), gradRows + <usize>i * vRow, valueWidth);
    }
    store<f32>(lses + (<usize>i << 2), lse);
    store<f32>(deltas + (<usize>i << 2), delta);
  }
  const kStep = <usize>word(args, K_STRIDES + 4) << 2;
  const vStep = <usize>word(args, V_STRIDES + 4) << 2;
  const kColumns = roundUp(width, 8);
  const vColumns = roundUp(valueWidth, 8);
  for (let first = 0; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    const paddedKeys = roundUp(keys, 4);
    packRows(F32, rowAt(args, K, K_STRIDES, 4, b, first, keyHead), kStep, keys, width, keyRows);
    packRows(F32, rowAt(args, V, V_STRIDES, 4, b, first, keyHead), vStep, keys, valueWidth, valueRows);
    scoreBlock(
      args, b, keyHead, group, r0, count, first, keys, keyRows, queries, limits, leastLimit, scores,
    );
    product(paddedKeys, rows, valueWidth, valueRows, vRow, grads, <usize>valueWidth << 5, 32, slopes, SCORE_ROW);
    slopeBlock(scores, slopes, keys, rows, lses, deltas, scale);
    product(paddedKeys, vColumns, count, scores, SCORE_ROW, gradRows, 32, vRow, part, vRow);
    accumulate(part, vRow, keys, valueWidth, outputRow(args, DV, b, first, keyHead, valueWidth), <usize>(word(args, KEY_HEADS) * valueWidth) << 2);
    product(paddedKeys, kColumns, count, slopes, SCORE_ROW, queryRows, 32, kRow, part, kRow);
    accumulate(part, kRow, keys, width, outputRow(args, DK, b, first, keyHead, width), <usize>(word(args, KEY_HEADS) * width) << 2);
    productT(roundUp(count, 4), kColumns, keys, slopes, SCORE_ROW, keyRows, 32, kRow, dq, kRow, first != 0);
  }
  for (let i = 0; i < count; i++) {
    const t = (r0 + i) / group;
    const place = (b * word(args, QUERIES) + t) * heads + keyHead * group + (r0 + i - t * group);
    const to = load<usize>(args + DQ) + (<usize>place * <usize>width << 2);
    if (end > 0) copyBytes(to, dq + <usize>i * kRow, <usize>width << 2);
    else memory.fill(to, 0, <usize>width << 2);
  }
}

/** Scores become weights P = exp(s - lse), dP becomes dS = P · (dP - delta) · scale. */
function slopeBlock(
  scores: usize,
  slopes: usize,
  keys: i32,
  rows: i32,
  lses: usize,
  deltas: usize,
  scale: f32,
): void {
  const factor = f32x4.splat(scale);
  for (let at: usize = 0; at < <usize>rows << 2; at += 16) {
    const lse = v128.load(lses + at);
    const delta = v128.load(deltas + at);
    let p = scores + at;
    let s = slopes + at;
    for (let j = 0; j < keys; j++, p += SCORE_ROW, s += SCORE_ROW) {
      const weight = exp4(f32x4.sub(v128.load(p), lse));
      v128.store(p, weight);
      v128.store(s, f32x4.mul(f32x4.mul(weight, f32x4.sub(v128.load(s), delta)), factor));
    }
  }
}
