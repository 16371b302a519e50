// Attention without the matrix of scores: o = softmax(scale · q kᵀ + mask) v, block by block with a running maximum and
// sum (Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691).
import * as at from "./attention-blocks";
import {
  BLOCK,
  overlaps,
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
  writeOutput,
  writeRange,
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
  const one = f32x4.splat(1);
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
    // What was nothing before needs no factor.
    const f0 = v128.bitselect(one, exp4(f32x4.sub(old0, m0)), f32x4.eq(old0, none));
    const f1 = v128.bitselect(one, exp4(f32x4.sub(old1, m1)), f32x4.eq(old1, none));
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

/** A unit of work is a span of blocks of rows of one key head. */
export function attentionForward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const keyHeads = word(args, at.KEY_HEADS);
  const heads = word(args, at.BATCH) * keyHeads;
  const few = word(args, at.QUERIES) * (word(args, at.HEADS) / keyHeads) <= FEW;
  const span = word(args, at.SPAN);
  const spans = (rowBlocks(args) + span - 1) / span;
  const units = heads * spans;
  const last = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < last; unit++) {
    const head = unit / spans;
    const b = head / keyHeads;
    const keyHead = head - b * keyHeads;
    if (few) decodeHead(args, b, keyHead, scratch);
    else forwardSpan(args, b, keyHead, (unit - head * spans) * span, scratch);
  }
}

// What is kept of a block of rows while the keys pass by, behind its queries [rows / 8, width, 8] and its sums.
const MOST: usize = 0;
const TOTAL: usize = 256;
const LIMITS: usize = 512;
const RANGE: usize = 768;
const STATE: usize = 832;

/** The blocks of rows from `block` on, up to a span of them: each block of keys is packed once for all. */
function forwardSpan(args: usize, b: i32, keyHead: i32, block: i32, scratch: usize): void {
  const group = word(args, at.HEADS) / word(args, at.KEY_HEADS);
  const allRows = word(args, at.QUERIES) * group;
  const blocks = min(word(args, at.SPAN), rowBlocks(args) - block);
  const width = word(args, at.WIDTH);
  const valueWidth = word(args, at.VALUE_WIDTH);
  const kRow = packedRow(width);
  const vRow = packedRow(valueWidth);
  const columns = roundUp(valueWidth, 8);
  const scores = scratch;
  const keyRows = scores + SCORES;
  const valueRows = keyRows + ROWS * kRow;
  const queryRows = valueRows + ROWS * vRow;
  const factors = queryRows + ROWS * kRow;
  const visible = factors + 256;
  const starts = visible + 32;
  const states = starts + 256;
  const sumsAt = ROWS * kRow;
  const stateAt = sumsAt + ROWS * vRow;
  const size = stateAt + STATE;

  let from = word(args, at.KEYS);
  let end = 0;
  for (let i = 0; i < blocks; i++) {
    const r0 = (block + i) * BLOCK;
    const count = min(BLOCK, allRows - r0);
    const queries = states + <usize>i * size;
    const state = queries + stateAt;
    packQueries(args, at.Q, at.Q_STRIDES, word(args, at.Q_DTYPE), b, keyHead, group, r0, count, width, queryRows);
    transposePanels(queryRows, kRow, roundUp(count, 8), width, load<f32>(args + at.SCALE), queries);
    writeRange(args, b, keyHead, group, r0, count, state + LIMITS, state + RANGE);
    from = min(from, load<i32>(state + RANGE));
    end = max(end, load<i32>(state + RANGE, 4));
    for (let r: usize = 0; r < 256; r += 16) {
      v128.store(state + MOST + r, f32x4.splat(-Infinity));
      v128.store(state + TOTAL + r, f32x4.splat(0));
    }
    memory.fill(queries + sumsAt, 0, <usize>roundUp(count, 8) * vRow);
  }
  const kDtype = word(args, at.K_DTYPE);
  const vDtype = word(args, at.V_DTYPE);
  const kStep = <usize>(word(args, at.K_STRIDES + 4) * widthOf(kDtype));
  const vStep = <usize>(word(args, at.V_STRIDES + 4) * widthOf(vDtype));
  for (let first = from; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    packRows(kDtype, rowAt(args, at.K, at.K_STRIDES, widthOf(kDtype), b, first, keyHead), kStep, keys, width, keyRows);
    packRows(vDtype, rowAt(args, at.V, at.V_STRIDES, widthOf(vDtype), b, first, keyHead), vStep, keys, valueWidth, valueRows);
    for (let i = 0; i < blocks; i++) {
      const r0 = (block + i) * BLOCK;
      const count = min(BLOCK, allRows - r0);
      const queries = states + <usize>i * size;
      const sums = queries + sumsAt;
      const state = queries + stateAt;
      if (!overlaps(state + RANGE, first, keys)) continue;
      const rows = roundUp(count, 8);
      writeVisible(state + LIMITS, rows, first, keys, visible, starts);
      scoreBlock(args, b, keyHead, group, r0, count, first, keys, keyRows, queries, state + LIMITS, visible, scores);
      softmaxBlock(scores, visible, rows, state + MOST, state + TOTAL, factors);
      for (let r = 0; r < count; r++) {
        const factor = load<f32>(factors + (<usize>r << 2));
        if (factor != 1) scaleRow(sums + <usize>r * vRow, <usize>columns << 2, factor);
      }
      productT(roundUp(count, 4), columns, visible, scores, SCORE_ROW, valueRows, 32, vRow, sums, vRow);
    }
  }
  for (let i = 0; i < blocks; i++) {
    const r0 = (block + i) * BLOCK;
    const sums = states + <usize>i * size + sumsAt;
    const state = states + <usize>i * size + stateAt;
    for (let r = 0; r < min(BLOCK, allRows - r0); r++) {
      const most = load<f32>(state + MOST + (<usize>r << 2));
      const total = load<f32>(state + TOTAL + (<usize>r << 2));
      writeOutput(args, b, keyHead, group, r0 + r, sums + <usize>r * vRow, most, total);
    }
  }
}
