// Gradients of attention, with the weights made again from lse, block by block.
import * as at from "./attention-blocks";
import {
  BLOCK,
  packedRow,
  packQueries,
  packRows,
  roundUp,
  rowAt,
  rowBlocks,
  ROWS,
  SCORE_ROW,
  SCORES,
  scoreBlock,
  word,
  writeLimits,
  writeVisible,
} from "./attention-blocks";
import { accumulate, product, productT, transposePanels } from "./attention-tiles";
import { begin, copyBytes, exp4, F32, rowDot } from "./rows";

/**
 * With P = exp(s - lse), dP = do vᵀ and dS = P · (dP - Σ o do) · scale: dv = Pᵀ do, dq = dS k, dk = dSᵀ q.
 *
 * A unit of work is a key head, whose dk and dv are summed over its blocks of rows in order. Where there are few heads,
 * each is cut in parts, which take every parts-th block and sum into dk and dv of their own, [parts, B, S, ...].
 */
export function attentionBackward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const batch = word(args, at.BATCH);
  const keyHeads = word(args, at.KEY_HEADS);
  const parts = word(args, at.PARTS);
  const heads = batch * keyHeads;
  const units = heads * parts;
  const blocks = rowBlocks(args);
  const width = word(args, at.WIDTH);
  const valueWidth = word(args, at.VALUE_WIDTH);
  const last = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < last; unit++) {
    const part = unit / heads;
    const b = (unit - part * heads) / keyHeads;
    const keyHead = unit % keyHeads;
    const slot = part * batch + b;
    for (let j = 0; j < word(args, at.KEYS); j++) {
      memory.fill(outputRow(args, at.DK, slot, j, keyHead, width), 0, <usize>width << 2);
      memory.fill(outputRow(args, at.DV, slot, j, keyHead, valueWidth), 0, <usize>valueWidth << 2);
    }
    for (let block = part; block < blocks; block += parts) {
      backwardBlock(args, b, slot, keyHead, block * BLOCK, scratch);
    }
  }
}

/** to[i] = Σ over parts of from[part, i], in order. args: from, to, n, parts. */
export function sumParts(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const n = load<i32>(args, 8);
  const parts = load<i32>(args, 12);
  const first = <usize>begin(n, chunk, chunks) << 2;
  const last = <usize>begin(n, chunk + 1, chunks) << 2;
  const stride = <usize>n << 2;
  const to = load<usize>(args, 4);
  let place = first;
  for (; place + 16 <= last; place += 16) {
    let from = load<usize>(args) + place;
    let sum = v128.load(from);
    for (let i = 1; i < parts; i++) sum = f32x4.add(sum, v128.load((from += stride)));
    v128.store(to + place, sum);
  }
  for (; place < last; place += 4) {
    let from = load<usize>(args) + place;
    let sum = load<f32>(from);
    for (let i = 1; i < parts; i++) sum += load<f32>((from += stride));
    store<f32>(to + place, sum);
  }
}

/** Row of key j in dk or dv, [parts · B, S, key heads, n]. */
// @ts-ignore: decorator
@inline
function outputRow(args: usize, tensor: usize, slot: i32, j: i32, keyHead: i32, n: i32): usize {
  const place = (slot * word(args, at.KEYS) + j) * word(args, at.KEY_HEADS) + keyHead;
  return load<usize>(args + tensor) + (<usize>place * <usize>n << 2);
}

function backwardBlock(args: usize, b: i32, slot: i32, keyHead: i32, r0: i32, scratch: usize): void {
  const heads = word(args, at.HEADS);
  const group = heads / word(args, at.KEY_HEADS);
  const count = min(BLOCK, word(args, at.QUERIES) * group - r0);
  const rows = roundUp(count, 8);
  const width = word(args, at.WIDTH);
  const valueWidth = word(args, at.VALUE_WIDTH);
  const kRow = packedRow(width);
  const vRow = packedRow(valueWidth);
  const scale = load<f32>(args + at.SCALE);
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
  const visible = deltas + 256;
  const starts = visible + 32;

  const end = writeLimits(args, r0, count, group, limits) + 1;
  packQueries(args, at.Q, at.Q_STRIDES, F32, b, keyHead, group, r0, count, width, queryRows);
  packQueries(args, at.DO, at.DO_STRIDES, F32, b, keyHead, group, r0, count, valueWidth, gradRows);
  transposePanels(queryRows, kRow, rows, width, scale, queries);
  transposePanels(gradRows, vRow, rows, valueWidth, 1, grads);
  for (let i = 0; i < rows; i++) {
    let lse: f32 = Infinity; // nothing seen: weights exp(s - inf) = 0
    let delta: f32 = 0;
    if (i < count) {
      const t = (r0 + i) / group;
      const h = keyHead * group + (r0 + i - t * group);
      const known = load<f32>(rowAt(args, at.LSE, at.LSE_STRIDES, 4, b, h, t));
      if (known != -Infinity) lse = known;
      delta = rowDot(rowAt(args, at.O, at.O_STRIDES, 4, b, t, h), gradRows + <usize>i * vRow, valueWidth);
    }
    store<f32>(lses + (<usize>i << 2), lse);
    store<f32>(deltas + (<usize>i << 2), delta);
  }
  const kStep = <usize>word(args, at.K_STRIDES + 4) << 2;
  const vStep = <usize>word(args, at.V_STRIDES + 4) << 2;
  const kOut = <usize>(word(args, at.KEY_HEADS) * width) << 2;
  const vOut = <usize>(word(args, at.KEY_HEADS) * valueWidth) << 2;
  const kColumns = roundUp(width, 8);
  const vColumns = roundUp(valueWidth, 8);
  for (let first = 0; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    packRows(F32, rowAt(args, at.K, at.K_STRIDES, 4, b, first, keyHead), kStep, keys, width, keyRows);
    packRows(F32, rowAt(args, at.V, at.V_STRIDES, 4, b, first, keyHead), vStep, keys, valueWidth, valueRows);
    writeVisible(limits, rows, first, keys, visible, starts);
    scoreBlock(args, b, keyHead, group, r0, count, first, keys, keyRows, queries, limits, visible, scores);
    product(
      keys, rows, valueWidth, visible, 0, valueRows, vRow, grads, <usize>valueWidth << 5, 32, slopes, SCORE_ROW,
    );
    slopeBlock(scores, slopes, visible, rows, lses, deltas, scale);
    product(keys, vColumns, count, 0, starts, scores, SCORE_ROW, gradRows, 32, vRow, part, vRow);
    accumulate(part, vRow, keys, valueWidth, outputRow(args, at.DV, slot, first, keyHead, valueWidth), vOut);
    product(keys, kColumns, count, 0, starts, slopes, SCORE_ROW, queryRows, 32, kRow, part, kRow);
    accumulate(part, kRow, keys, width, outputRow(args, at.DK, slot, first, keyHead, width), kOut);
    productT(roundUp(count, 4), kColumns, visible, slopes, SCORE_ROW, keyRows, 32, kRow, dq, kRow, first != 0);
  }
  for (let i = 0; i < count; i++) {
    const t = (r0 + i) / group;
    const place = (b * word(args, at.QUERIES) + t) * heads + keyHead * group + (r0 + i - t * group);
    const to = load<usize>(args + at.DQ) + (<usize>place * <usize>width << 2);
    if (end > 0) copyBytes(to, dq + <usize>i * kRow, <usize>width << 2);
    else memory.fill(to, 0, <usize>width << 2);
  }
}

/** Scores become weights P = exp(s - lse), dP becomes dS = P · (dP - delta) · scale. */
function slopeBlock(
  scores: usize,
  slopes: usize,
  visible: usize,
  rows: i32,
  lses: usize,
  deltas: usize,
  scale: f32,
): void {
  const factor = f32x4.splat(scale);
  for (let at: usize = 0; at < <usize>rows << 2; at += 16) {
    const keys = roundUp(load<i32>(visible + ((at >> 5) << 2)), 4);
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
