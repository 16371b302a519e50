// The block interpreter: a fused loop is a program of instructions, each of which runs over a block of some hundred
// elements, so that what is between two instructions stays in the first-level cache. The idea is numexpr's (D. Cooke,
// F. Alted). A register that lies in memory as it is needed is not copied: its slot points there.
import { compute } from "./loop-compute";
import { copyWords, loadBlock, shiftOf, splat } from "./loop-load";
import { expectLinked } from "./link";
import { fillTile } from "./loop-tile";
import * as at from "./loop-ops";
import { LoopOp } from "./loop-ops";
import {
  accumulate,
  hasShortRows,
  joinElement,
  reduceInto,
  shortRows,
  startBlock,
  startCell,
  writeCell,
} from "./loop-reduce";
import { begin } from "./rows";
import { storeBlock } from "./loop-store";

/** Blocks added in f32 before they go to a second accumulator, so that long columns keep their last digits. */
const FLUSH = 16;

// State of the loop that this thread runs; globals belong to one instance, and each thread has its own.
let slots: usize = 0;
let program: usize = 0;
let programEnd: usize = 0;
let stores: usize = 0;
/** First scratch bytes after the slots, and after the tiles that begin there. */
let tiles: usize = 0;
let free: usize = 0;
let slotBytes: usize = 0;
/** Where the outputs of code are told to it. */
let outputs: usize = 0;
/** Row within the group of rows, and rows of the group. */
let groupRow: i32 = 0;
let groupRows: i32 = 0;
/** Of an epilogue: where element 0 of the product would lie if the part at hand were the whole. */
let product: usize = 0;

// @ts-ignore: decorator
@inline
function up8(n: i32): i32 {
  return (n + 7) & ~7;
}

/** Lays out the slots in scratch and fills those that hold constants. */
function prepare(args: usize, scratch: usize): void {
  const count = load<usize>(args, at.ARG_SLOTS);
  const bytes = load<usize>(args, at.ARG_SLOT_BYTES);
  slotBytes = bytes;
  slots = scratch;
  program = load<usize>(args, at.ARG_PROGRAM);
  programEnd = program + load<usize>(args, at.ARG_OPS) * at.OP_BYTES;
  stores = load<usize>(args, at.ARG_STORES);
  const splats = (slots + count * at.SLOT_BYTES + 63) & ~63;
  const blocks = splats + count * at.SPLAT_BYTES;
  for (let i: usize = 0; i < count; i++) {
    store<usize>(slots + i * at.SLOT_BYTES, blocks + i * bytes, 8);
    store<usize>(slots + i * at.SLOT_BYTES, splats + i * at.SPLAT_BYTES, 12);
  }
  outputs = blocks + count * bytes;
  tiles = outputs + 4 * at.MOST_OUTPUTS;
  let entry = load<usize>(args, at.ARG_CONSTS);
  for (let i = load<i32>(args, at.ARG_CONST_COUNT); i > 0; i--, entry += 12) {
    const slot = slots + load<usize>(entry);
    const to = load<usize>(slot, 12);
    const dtype = load<i32>(entry, 8);
    if (dtype == at.CONST_ZERO) memory.fill(to, 0, at.SPLAT_BYTES);
    else splatScalar(to, dtype, load<usize>(entry, 4));
    store<usize>(slot, to);
    store<usize>(slot, 0, 4);
  }
}

/** Scalars lie as 8 bytes (f64) or 4 (all others; bools as 0 or 1). */
function splatScalar(to: usize, dtype: i32, from: usize): void {
  if (dtype == 8) splat(to, 8, from);
  else if (dtype == 0) splat(to, 0, from);
  else splat(to, 7, from);
}

/** Runs the program over elements pos .. pos + count - 1. */
function runBlock(pos: i32, count: i32): void {
  const wide = up8(count);
  const whole = wide == count;
  for (let pc = program; pc < programEnd; pc += at.OP_BYTES) {
    const op = load<i32>(pc);
    const slot = slots + load<usize>(pc, 4);
    const flags = load<i32>(pc, 28);
    const storeNumber = load<usize>(pc, 24);
    if (op == LoopOp.Load) {
      let target = load<usize>(slot, 8);
      if (storeNumber) target = storeAddress(storeNumber, pos);
      const entry = load<usize>(pc, 8);
      if ((flags & at.FLAG_PRODUCT) != 0) {
        let from = product + (<usize>pos << 2);
        if ((flags & at.FLAG_COPY) != 0) {
          copyWords(target, from, <usize>count << 2);
          from = target;
        }
        store<usize>(slot, from);
        store<usize>(slot, 16, 4);
        continue;
      }
      if ((flags & at.FLAG_TILE) == 0) {
        loadBlock(slot, entry, pos, count, flags, target);
        continue;
      }
      const tile = tiles + load<usize>(pc, 12) * slotBytes * at.TILE_ROWS;
      if (groupRow == 0) fillTile(tile, slotBytes, entry, pos, count, groupRows);
      let row = tile + <usize>groupRow * slotBytes;
      if ((flags & at.FLAG_COPY) != 0) {
        copyWords(target, row, <usize>count << 2);
        row = target;
      }
      store<usize>(slot, row);
      store<usize>(slot, 16, 4);
      continue;
    }
    if (op == LoopOp.Code) {
      runCode(pc, pos, count);
      continue;
    }
    if (op == LoopOp.Store) {
      const entry = stores + (storeNumber - 1) * 8;
      storeBlock(storeAddress(storeNumber, pos), load<i32>(entry, 4), load<usize>(slot), count);
      continue;
    }
    const a = slots + load<usize>(pc, 8);
    const b = slots + load<usize>(pc, 12);
    const c = slots + load<usize>(pc, 16);
    const e = slots + load<usize>(pc, 20);
    const sa = load<usize>(a, 4);
    const sb = load<usize>(b, 4);
    const sc = load<usize>(c, 4);
    const se = load<usize>(e, 4);
    let d = load<usize>(slot, 8);
    let n = wide;
    let step: usize = 16;
    if ((sa | sb | sc | se) == 0 && (flags & at.FLAG_FULL) == 0) {
      // all sources are the same everywhere, and so is the result
      d = load<usize>(slot, 12);
      n = 8;
      step = 0;
    } else if (storeNumber && whole) d = storeAddress(storeNumber, pos);
    compute(op, n, d, load<usize>(a), sa, load<usize>(b), sb, load<usize>(c), sc, load<usize>(e), se);
    store<usize>(slot, d);
    store<usize>(slot, step, 4);
    // an odd end is computed aside, so that nothing is written beyond it
    if (storeNumber && !whole) {
      copyWords(storeAddress(storeNumber, pos), d, <usize>count << ((flags & at.FLAG_WIDE) != 0 ? 3 : 2));
    }
  }
}

/** Runs code that was made for this loop: it reads the slots of its inputs and writes its outputs where they go. */
function runCode(pc: usize, pos: i32, count: i32): void {
  const code = load<i32>(pc, 4);
  expectLinked(code);
  const first = load<usize>(pc, 8);
  const last = first + load<usize>(pc, 12) * at.OUTPUT_BYTES;
  const wide = up8(count);
  let to = outputs;
  for (let entry = first; entry < last; entry += at.OUTPUT_BYTES, to += 4) {
    const storeNumber = load<usize>(entry, 4);
    const direct = storeNumber != 0 && wide == count;
    store<usize>(to, direct ? storeAddress(storeNumber, pos) : load<usize>(slots + load<usize>(entry), 8));
  }
  call_indirect<void>(code, slots, outputs, <usize>wide << 2);
  to = outputs;
  for (let entry = first; entry < last; entry += at.OUTPUT_BYTES, to += 4) {
    const slot = slots + load<usize>(entry);
    const from = load<usize>(to);
    store<usize>(slot, from);
    store<usize>(slot, 16, 4);
    const storeNumber = load<usize>(entry, 4);
    if (storeNumber && wide != count) copyWords(storeAddress(storeNumber, pos), from, <usize>count << 2);
  }
}

// @ts-ignore: decorator
@inline
function storeAddress(storeNumber: usize, pos: i32): usize {
  const entry = stores + (storeNumber - 1) * 8;
  return load<usize>(entry) + (<usize>pos << shiftOf(load<i32>(entry, 4)));
}

export function runFusedLoop(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  prepare(args, scratch);
  const mode = load<i32>(args, at.ARG_MODE);
  if (mode == at.MODE_MAP) return runMap(args, chunk, chunks);
  free = tiles + load<usize>(args, at.ARG_TILE_BYTES);
  if (mode == at.MODE_ROWS) runRows(args, chunk, chunks);
  else runColumns(args, chunk, chunks);
}

function runMap(args: usize, chunk: i32, chunks: i32): void {
  const row = load<i32>(args, at.ARG_ROW);
  const block = load<i32>(args, at.ARG_BLOCK);
  const perRow = (row + block - 1) / block;
  const length = up8((row + perRow - 1) / perRow);
  const group = load<i32>(args, at.ARG_GROUP);
  const run = load<i32>(args, at.ARG_GROUP_RUN);
  const groups = (run + group - 1) / group;
  const total = (load<i32>(args, at.ARG_ROWS) / run) * groups * perRow;
  const last = begin(total, chunk + 1, chunks);
  for (let i = begin(total, chunk, chunks); i < last; i++) {
    const g = i / perRow;
    const from = (i - g * perRow) * length;
    if (from >= row) continue;
    const count = min(length, row - from);
    const first = (g % groups) * group;
    let pos = ((g / groups) * run + first) * row + from;
    groupRows = min(group, run - first);
    for (groupRow = 0; groupRow < groupRows; groupRow++, pos += row) runBlock(pos, count);
  }
}

/**
 * Runs a map over part of a kernel's result: `lines` stretches of `length` elements, the first from `pos` on, `stride`
 * elements apart. Their values lie at `from`, the stretches `step` bytes apart.
 */
export function runEpilogue(
  args: usize, pos: i32, length: i32, stride: i32, lines: i32, from: usize, step: usize, scratch: usize,
): void {
  prepare(args, scratch);
  const row = load<i32>(args, at.ARG_ROW);
  const block = load<i32>(args, at.ARG_BLOCK);
  if (length == stride && step == <usize>length << 2) {
    length *= lines;
    lines = 1;
  }
  for (; lines > 0; lines--, pos += stride, from += step) {
    product = from - (<usize>pos << 2);
    const end = pos + length;
    for (let i = pos; i < end; ) {
      // even blocks up to the end of a row
      const left = min(end - i, row - (i % row));
      const count = min(left, up8(left / ((left + block - 1) / block) + 1));
      runBlock(i, min(count, block));
      i += min(count, block);
    }
  }
}

/** Position of element `index` of the axes in a table of (size, step), the outermost first. */
function locate(table: usize, axes: i32, index: i32): i32 {
  let pos = 0;
  for (let axis = axes - 1; axis >= 0; axis--) {
    const entry = table + (<usize>axis << 3);
    const size = load<i32>(entry);
    const above = index / size;
    pos += (index - above * size) * load<i32>(entry, 4);
    index = above;
  }
  return pos;
}

/** Where a reduced register lies after a block. */
// @ts-ignore: decorator
@inline
function registerOf(reduction: usize): usize {
  return load<usize>(slots + load<usize>(reduction, 8));
}

// @ts-ignore: decorator
@inline
function bytesShift(reduction: usize): usize {
  return load<i32>(reduction, 4) == at.CLASS_F64 ? 3 : 2;
}

/** Writes a result, or a partial one if the reduced range is in several pieces. */
function finish(reduction: usize, pieces: i32, piece: i32, result: i32, cell: usize): void {
  const to = load<usize>(reduction, 12);
  if (pieces > 1) store<i64>(to + ((<usize>result * pieces + piece) << 3), load<i64>(cell));
  else writeCell(load<i32>(reduction, 16), to, result, cell);
}

/** Reductions whose innermost axis is reduced. */
function runRows(args: usize, chunk: i32, chunks: i32): void {
  const reductions = load<usize>(args, at.ARG_REDUCTIONS);
  const count = load<i32>(args, at.ARG_REDUCTION_COUNT);
  const last = reductions + <usize>count * at.REDUCTION_BYTES;
  const row = load<i32>(args, at.ARG_INNER_REDUCED);
  const block = load<i32>(args, at.ARG_BLOCK);
  const kept = load<i32>(args, at.ARG_KEPT_SIZE);
  const pieces = load<i32>(args, at.ARG_PIECES);
  const outer = load<i32>(args, at.ARG_REDUCED_SIZE);
  const cells = free;
  const together = load<i32>(args, at.ARG_TOGETHER);
  if (outer == 1 && pieces == 1 && row <= block && together == 1) {
    // short rows: as many as fit into a block at once
    const rows = block / row;
    const end = begin(kept, chunk + 1, chunks);
    for (let k = begin(kept, chunk, chunks); k < end; k += rows) {
      const n = min(rows, end - k);
      runBlock(k * row, n * row);
      for (let r = reductions; r < last; r += at.REDUCTION_BYTES) {
        let from = registerOf(r);
        if (hasShortRows(r, row)) {
          shortRows(r, k, from, n, row);
          continue;
        }
        const step = <usize>row << bytesShift(r);
        for (let i = 0; i < n; i++, from += step) {
          startCell(r, cells);
          reduceInto(r, cells, from, row);
          writeCell(load<i32>(r, 16), load<usize>(r, 12), k + i, cells);
        }
      }
    }
    return;
  }
  const piece = load<i32>(args, at.ARG_PIECE);
  const keptTable = load<usize>(args, at.ARG_KEPT);
  const keptAxes = load<i32>(args, at.ARG_KEPT_COUNT);
  const outerTable = load<usize>(args, at.ARG_REDUCED);
  const outerAxes = load<i32>(args, at.ARG_REDUCED_COUNT);
  // Rows in groups that share tiles, of the axis just above the rows: it is kept, and each row has cells, or reduced.
  const run = load<i32>(args, at.ARG_RUN);
  const groups = (run + together - 1) / together;
  const keptGroups = load<i32>(args, at.ARG_GROUP_KEPT) ? groups : 0;
  const reducedGroups = keptGroups ? 0 : groups;
  const items = (keptGroups ? (kept / run) * groups : kept) * pieces;
  const end = begin(items, chunk + 1, chunks);
  for (let item = begin(items, chunk, chunks); item < end; item++) {
    const g = item / pieces;
    const p = item - g * pieces;
    const k = firstOf(g, keptGroups, run, together);
    const results = keptGroups ? rowsOf(g, groups, run, together) : 1;
    const base = locate(keptTable, keptAxes, k);
    const stop = min(row, (p + 1) * piece);
    let cell = cells;
    for (let i = 0; i < results; i++) {
      for (let r = reductions; r < last; r += at.REDUCTION_BYTES, cell += 8) startCell(r, cell);
    }
    const outerGroups = reducedGroups ? (outer / run) * groups : outer;
    for (let o = 0; o < outerGroups; o++) {
      const from = base + locate(outerTable, outerAxes, firstOf(o, reducedGroups, run, together));
      groupRows = keptGroups ? results : rowsOf(o, groups, run, together);
      for (let x = p * piece; x < stop; x += block) {
        const n = min(block, stop - x);
        cell = cells;
        for (groupRow = 0; groupRow < groupRows; groupRow++) {
          runBlock(from + groupRow * row + x, n);
          if (reducedGroups) cell = cells;
          for (let r = reductions; r < last; r += at.REDUCTION_BYTES, cell += 8) {
            reduceInto(r, cell, registerOf(r), n);
          }
        }
      }
    }
    cell = cells;
    for (let i = 0; i < results; i++) {
      for (let r = reductions; r < last; r += at.REDUCTION_BYTES, cell += 8) finish(r, pieces, p, k + i, cell);
    }
  }
}

/** First row of group `g`, where `groups` groups of `together` rows make a run; without groups each row is one. */
// @ts-ignore: decorator
@inline
function firstOf(g: i32, groups: i32, run: i32, together: i32): i32 {
  return groups ? (g / groups) * run + (g % groups) * together : g;
}

/** Rows of group `g`: the last of a run may be smaller. */
// @ts-ignore: decorator
@inline
function rowsOf(g: i32, groups: i32, run: i32, together: i32): i32 {
  return min(together, run - (g % groups) * together);
}

/** Reductions whose innermost axis is kept: blocks are added up element by element. */
function runColumns(args: usize, chunk: i32, chunks: i32): void {
  const reductions = load<usize>(args, at.ARG_REDUCTIONS);
  const count = load<i32>(args, at.ARG_REDUCTION_COUNT);
  const last = reductions + <usize>count * at.REDUCTION_BYTES;
  const rows = load<i32>(args, at.ARG_INNER_REDUCED);
  const columns = load<i32>(args, at.ARG_INNER_KEPT);
  const block = load<i32>(args, at.ARG_BLOCK);
  const kept = load<i32>(args, at.ARG_KEPT_SIZE);
  const keptTable = load<usize>(args, at.ARG_KEPT);
  const keptAxes = load<i32>(args, at.ARG_KEPT_COUNT);
  const outer = load<i32>(args, at.ARG_REDUCED_SIZE);
  const outerTable = load<usize>(args, at.ARG_REDUCED);
  const outerAxes = load<i32>(args, at.ARG_REDUCED_COUNT);
  const pieces = load<i32>(args, at.ARG_PIECES);
  const piece = load<i32>(args, at.ARG_PIECE);
  // narrow rows go several to a block, wide ones in segments
  const together = load<i32>(args, at.ARG_TOGETHER);
  const segments = (columns + block - 1) / block;
  const length = segments == 1 ? columns : up8((columns + segments - 1) / segments);
  const width = together * length;
  // per reduction a cell, and two accumulators of 8 bytes per element at most
  const half = (<usize>up8(width) << 3) + 64;
  const total = kept * pieces * segments;
  const end = begin(total, chunk + 1, chunks);
  for (let item = begin(total, chunk, chunks); item < end; item++) {
    const which = item / segments;
    const column = (item - which * segments) * length;
    if (column >= columns) continue;
    const size = min(length, columns - column);
    const k = which / pieces;
    const p = which - k * pieces;
    const base = locate(keptTable, keptAxes, k) + column;
    const stop = min(rows, (p + 1) * piece);
    let acc = free + 64;
    for (let r = reductions; r < last; r += at.REDUCTION_BYTES, acc += half << 1) {
      startBlock(r, acc, together * size);
      startBlock(r, acc + half, together * size);
    }
    let added = 0;
    for (let o = 0; o < outer; o++) {
      const from = base + locate(outerTable, outerAxes, o);
      for (let x = p * piece; x < stop; x += together) {
        const n = min(together, stop - x) * size;
        groupRow = (x - p * piece) % at.TILE_ROWS; // where there are tiles, a block is one row
        if (groupRow == 0) groupRows = min(at.TILE_ROWS, stop - x);
        runBlock(from + x * columns, n);
        acc = free + 64;
        for (let r = reductions; r < last; r += at.REDUCTION_BYTES, acc += half << 1) {
          accumulate(r, acc, registerOf(r), n);
        }
        if (++added == FLUSH) {
          added = 0;
          flush(reductions, last, half, together * size);
        }
      }
    }
    flush(reductions, last, half, together * size);
    acc = free + 64 + half;
    for (let r = reductions; r < last; r += at.REDUCTION_BYTES, acc += half << 1) {
      for (let c = 0; c < size; c++) {
        startCell(r, free);
        for (let g = 0; g < together; g++) joinElement(r, free, acc, g * size + c);
        finish(r, pieces, p, k * columns + column + c, free);
      }
    }
  }
}

/** Moves the first accumulators into the second. */
function flush(reductions: usize, last: usize, half: usize, width: i32): void {
  let acc = free + 64;
  for (let r = reductions; r < last; r += at.REDUCTION_BYTES, acc += half << 1) {
    accumulate(r, acc + half, acc, width);
    startBlock(r, acc, width);
  }
}
