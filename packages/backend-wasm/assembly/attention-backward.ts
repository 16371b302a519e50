// Gradients of attention, with the weights made again from lse, block by block.
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
  writeRange,
  writeVisible,
} from "./attention-blocks";
import { accumulate, product, productT, transposePanels } from "./attention-tiles";
import { begin, copyBytes, exp4, F32, rowDot } from "./rows";

/**
 * With P = exp(s - lse), dP = do vᵀ and dS = P · (dP - Σ o do) · scale: dv = Pᵀ do, dq = dS k, dk = dSᵀ q.
 *
 * A unit of work is a key head, whose dk and dv are summed over its blocks of rows in order. Where there are few heads,
 * each is cut in parts, which take every parts-th span of blocks and sum into dk and dv of their own, [parts, B, S, ...].
 */
export function attentionBackward(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const batch = word(args, at.BATCH);
  const keyHeads = word(args, at.KEY_HEADS);
  const parts = word(args, at.PARTS);
  const heads = batch * keyHeads;
  const units = heads * parts;
  const blocks = rowBlocks(args);
  const span = word(args, at.SPAN);
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
    for (let block = part * span; block < blocks; block += parts * span) {
      backwardSpan(args, b, slot, keyHead, block, scratch);
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

// What is kept of a block of rows while the keys pass by, behind its panels, rows and gradients.
const LIMITS: usize = 0;
const LSES: usize = 256;
const DELTAS: usize = 512;
const RANGE: usize = 768;
const STATE: usize = 832;

/** The blocks of rows from `block` on, up to a span of them: each block of keys is packed once for all. */
function backwardSpan(args: usize, b: i32, slot: i32, keyHead: i32, block: i32, scratch: usize): void {
  const group = word(args, at.HEADS) / word(args, at.KEY_HEADS);
  const allRows = word(args, at.QUERIES) * group;
  const blocks = min(word(args, at.SPAN), rowBlocks(args) - block);
  const width = word(args, at.WIDTH);
  const valueWidth = word(args, at.VALUE_WIDTH);
  const kRow = packedRow(width);
  const vRow = packedRow(valueWidth);
  const kColumns = roundUp(width, 8);
  const vColumns = roundUp(valueWidth, 8);
  const kStep = <usize>word(args, at.K_STRIDES + 4) << 2;
  const vStep = <usize>word(args, at.V_STRIDES + 4) << 2;
  const kOut = <usize>(word(args, at.KEY_HEADS) * width) << 2;
  const vOut = <usize>(word(args, at.KEY_HEADS) * valueWidth) << 2;
  const scale = load<f32>(args + at.SCALE);
  const scores = scratch;
  const slopes = scores + SCORES;
  const keyRows = slopes + SCORES;
  const valueRows = keyRows + ROWS * kRow;
  const dk = valueRows + ROWS * vRow;
  const dv = dk + ROWS * kRow;
  const visible = dv + ROWS * vRow;
  const starts = visible + 32;
  const states = starts + 256;
  const queriesAt = ROWS * kRow;
  const gradRowsAt = queriesAt + ROWS * kRow;
  const gradsAt = gradRowsAt + ROWS * vRow;
  const dqAt = gradsAt + ROWS * vRow;
  const stateAt = dqAt + ROWS * kRow;
  const size = stateAt + STATE;

  let from = word(args, at.KEYS);
  let end = 0;
  for (let i = 0; i < blocks; i++) {
    const r0 = (block + i) * BLOCK;
    const count = min(BLOCK, allRows - r0);
    const rows = roundUp(count, 8);
    const queryRows = states + <usize>i * size;
    const gradRows = queryRows + gradRowsAt;
    const state = queryRows + stateAt;
    packQueries(args, at.Q, at.Q_STRIDES, F32, b, keyHead, group, r0, count, width, queryRows);
    packQueries(args, at.DO, at.DO_STRIDES, F32, b, keyHead, group, r0, count, valueWidth, gradRows);
    transposePanels(queryRows, kRow, rows, width, scale, queryRows + queriesAt);
    transposePanels(gradRows, vRow, rows, valueWidth, 1, queryRows + gradsAt);
    writeRange(args, b, keyHead, group, r0, count, state + LIMITS, state + RANGE);
    from = min(from, load<i32>(state + RANGE));
    end = max(end, load<i32>(state + RANGE, 4));
    memory.fill(queryRows + dqAt, 0, <usize>rows * kRow);
    for (let r = 0; r < rows; r++) {
      let lse: f32 = Infinity; // nothing seen: weights exp(s - inf) = 0
      let delta: f32 = 0;
      if (r < count) {
        const t = (r0 + r) / group;
        const h = keyHead * group + (r0 + r - t * group);
        const known = load<f32>(rowAt(args, at.LSE, at.LSE_STRIDES, 4, b, h, t));
        if (known != -Infinity) lse = known;
        delta = rowDot(rowAt(args, at.O, at.O_STRIDES, 4, b, t, h), gradRows + <usize>r * vRow, valueWidth);
      }
      store<f32>(state + LSES + (<usize>r << 2), lse);
      store<f32>(state + DELTAS + (<usize>r << 2), delta);
    }
  }
  for (let first = from; first < end; first += BLOCK) {
    const keys = min(BLOCK, end - first);
    packRows(F32, rowAt(args, at.K, at.K_STRIDES, 4, b, first, keyHead), kStep, keys, width, keyRows);
    packRows(F32, rowAt(args, at.V, at.V_STRIDES, 4, b, first, keyHead), vStep, keys, valueWidth, valueRows);
    let adds = false;
    for (let i = 0; i < blocks; i++) {
      const r0 = (block + i) * BLOCK;
      const count = min(BLOCK, allRows - r0);
      const rows = roundUp(count, 8);
      const queryRows = states + <usize>i * size;
      const queries = queryRows + queriesAt;
      const gradRows = queryRows + gradRowsAt;
      const grads = queryRows + gradsAt;
      const state = queryRows + stateAt;
      if (!overlaps(state + RANGE, first, keys)) continue;
      writeVisible(state + LIMITS, rows, first, keys, visible, starts);
      scoreBlock(args, b, keyHead, group, r0, count, first, keys, keyRows, queries, state + LIMITS, visible, scores);
      product(
        keys, rows, valueWidth, visible, 0, valueRows, vRow, grads, <usize>valueWidth << 5, 32, slopes, SCORE_ROW,
        false,
      );
      slopeBlock(scores, slopes, visible, rows, state + LSES, state + DELTAS, scale);
      product(keys, vColumns, count, 0, starts, scores, SCORE_ROW, gradRows, 32, vRow, dv, vRow, adds);
      product(keys, kColumns, count, 0, starts, slopes, SCORE_ROW, queryRows, 32, kRow, dk, kRow, adds);
      productT(roundUp(count, 4), kColumns, visible, slopes, SCORE_ROW, keyRows, 32, kRow, queryRows + dqAt, kRow);
      adds = true;
    }
    if (!adds) continue;
    accumulate(dv, vRow, keys, valueWidth, outputRow(args, at.DV, slot, first, keyHead, valueWidth), vOut);
    accumulate(dk, kRow, keys, width, outputRow(args, at.DK, slot, first, keyHead, width), kOut);
  }
  for (let i = 0; i < blocks; i++) {
    const r0 = (block + i) * BLOCK;
    const dq = states + <usize>i * size + dqAt;
    for (let r = 0; r < min(BLOCK, allRows - r0); r++) {
      const t = (r0 + r) / group;
      const place = (b * word(args, at.QUERIES) + t) * word(args, at.HEADS) + keyHead * group + (r0 + r - t * group);
      const to = load<usize>(args + at.DQ) + (<usize>place * <usize>width << 2);
      copyBytes(to, dq + <usize>r * kRow, <usize>width << 2);
    }
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
