// Attention without the matrix of scores: o = softmax(scale · q kᵀ + mask) v, block by block with a running maximum and
// sum (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691).
import * as at from "./attention-blocks";
import { packedRow, packQueries, packRows, roundUp, rowAt, rowBlocks, ROWS, BLOCK, SCORE_ROW, SCORES, scoreBlock, word, writeLimits, writeVisible } from "./attention-blocks";
import { productT, transposePanels } from "./attention-tiles";
import { begin, exp4, F32, fromF32, widthOf } from "./rows";
import { madd } from "./simd";

/**
 * One block of the running softmax: scores become weights exp(s - m); maxima m, sums l and the factors by which what was
 * summed before shrinks are updated, all [rows].
 */
function softmaxBlock(scores: usize, visible: usize, rows: i32, most: usize, sums: usize, factors: usize): void {
  const zero = f32x4.splat(0);
  const none = f32x4.splat(-Infinity);
  for (let at: usize = 0; at < <usize>rows << 2; at += 32) {
    const keys = load<i32>(visible + (at >> 3));
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

/** Forward. A unit of work is a block of rows of one key head; the last blocks, the longest if causal, come first. */
export function attentionForward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const heads = word(args, at.BATCH) * word(args, at.KEY_HEADS);
  const blocks = rowBlocks(args);
  const units = heads * blocks;
  const last = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < last; unit++) {
    const head = unit / blocks;
    const b = head / word(args, at.KEY_HEADS);
    forwardBlock(args, b, head - b * word(args, at.KEY_HEADS), (unit - head * blocks) * BLOCK, scratch);
  }
}

function forwardBlock(args: usize, b: i32, keyHead: i32, r0: i32, scratch: usize): void {
  const group = word(args, at.HEADS) / word(args, at.KEY_HEADS);
  const count = min(BLOCK, word(args, at.QUERIES) * group - r0);
  const width = word(args, at.WIDTH);
  const valueWidth = word(args, at.VALUE_WIDTH);
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
  const visible = factors + 256;
  const starts = visible + 32;

  packQueries(args, at.Q, at.Q_STRIDES, word(args, at.Q_DTYPE), b, keyHead, group, r0, count, width, queryRows);
  transposePanels(queryRows, kRow, roundUp(count, 8), width, load<f32>(args + at.SCALE), queries);
  const end = writeLimits(args, r0, count, group, limits) + 1;
  const rows = roundUp(count, 8);
  const columns = roundUp(valueWidth, 8);
  for (let i = 0; i < rows; i++) {
    store<f32>(most + (<usize>i << 2), -Infinity);
    store<f32>(total + (<usize>i << 2), 0);
  }
  if (end <= 0) memory.fill(sums, 0, <usize>rows * vRow);
  const kDtype = word(args, at.K_DTYPE);
  const vDtype = word(args, at.V_DTYPE);
  const kStep = <usize>(word(args, at.K_STRIDES + 4) * widthOf(kDtype));
  const vStep = <usize>(word(args, at.V_STRIDES + 4) * widthOf(vDtype));
  for (let first = 0; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    packRows(kDtype, rowAt(args, at.K, at.K_STRIDES, widthOf(kDtype), b, first, keyHead), kStep, keys, width, keyRows);
    packRows(vDtype, rowAt(args, at.V, at.V_STRIDES, widthOf(vDtype), b, first, keyHead), vStep, keys, valueWidth, valueRows);
    writeVisible(limits, rows, first, keys, visible, starts);
    scoreBlock(args, b, keyHead, group, r0, count, first, keys, keyRows, queries, limits, visible, scores);
    softmaxBlock(scores, visible, rows, most, total, factors);
    if (first != 0) {
      for (let i = 0; i < count; i++) {
        const factor = load<f32>(factors + (<usize>i << 2));
        if (factor != 1) scaleRow(sums + <usize>i * vRow, <usize>columns << 2, factor);
      }
    }
    productT(roundUp(count, 4), columns, visible, scores, SCORE_ROW, valueRows, 32, vRow, sums, vRow, first != 0);
  }
  for (let i = 0; i < count; i++) {
    const r = r0 + i;
    const t = r / group;
    const h = keyHead * group + (r - t * group);
    const sum = load<f32>(total + (<usize>i << 2));
    const heads = word(args, at.HEADS);
    const place = (b * word(args, at.QUERIES) + t) * heads + h;
    const dtype = word(args, at.O_DTYPE);
    const o = load<usize>(args + at.O) + <usize>(place * valueWidth * widthOf(dtype));
    const lse = load<usize>(args + at.LSE) + (<usize>((b * heads + h) * word(args, at.QUERIES) + t) << 2);
    writeOutput(sums + <usize>i * vRow, o, valueWidth, dtype, load<f32>(most + (<usize>i << 2)), sum, lse);
  }
}
