// Attention without the matrix of scores: o = softmax(scale · q kᵀ + mask) v, block by block with a running maximum and
// sum (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691).
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
  writeOutput,
  writeVisible,
} from "./attention-blocks";
import { decodeHead, FEW } from "./attention-decode";
import { productT, transposePanels } from "./attention-tiles";
import { begin, exp4, widthOf } from "./rows";
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

/** A unit of work is a block of rows of one key head. */
export function attentionForward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const keyHeads = word(args, at.KEY_HEADS);
  const heads = word(args, at.BATCH) * keyHeads;
  const few = word(args, at.QUERIES) * (word(args, at.HEADS) / keyHeads) <= FEW;
  const blocks = rowBlocks(args);
  const units = heads * blocks;
  const last = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < last; unit++) {
    const head = unit / blocks;
    const b = head / keyHeads;
    const keyHead = head - b * keyHeads;
    if (few) decodeHead(args, b, keyHead, scratch);
    else forwardBlock(args, b, keyHead, (unit - head * blocks) * BLOCK, scratch);
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
    const known = <usize>i << 2;
    writeOutput(
      args, b, keyHead, group, r0 + i, sums + <usize>i * vRow, load<f32>(most + known), load<f32>(total + known),
    );
  }
}
