// Products of matrices. Argument words are written by src/kernels/matmul.ts; strides count elements, sizes are ints.
//
//   MATMUL_PACK_B   0 b  1 dst  2 K  3 N  4 stride of k  5 stride of n  6 dtype  7 depth of a block
//                   8 depth in front of each block, written before  9 depth left free behind the last block
//   MATMUL_TILES, MATMUL_ROWS, MATMUL_THIN, MATMUL_F64
//      0 a  1 b  2 c  3 M  4 N  5 K  6 row stride of a  7 k stride of a  8 k stride of b  9 column stride of b
//     10 dtype of a  11 dtype of b  12 rows of a block  13 columns of a block  14 depth of a block
//     15 flags  16 row stride of c  17 column stride of c  18 matrices  19 batch axes
//     20.. per batch axis, the outermost first: size, stride of a, stride of b, stride of c
//     then, if fused (c holds sums, or is not used): arguments of the epilogue, its element at which c begins, bytes of the part in
//     scratch
//     then, if joined, there being no batch axes and three words as if fused: the left operand of a product that is added, its
//     depth, row stride, k stride, dtype; its right operand lies packed behind the last block of b
//   MATMUL_NARROW   0 src (f32)  1 dst  2 size  3 dtype of dst
//   MATMUL_ZERO     0 bytes  1 dst
import { f32ToBf16, f32ToF16, f32x4ToBf16, f32x4ToF16 } from "./half";
import { runEpilogue } from "./loop";
import { dotRows, packDots } from "./matmul-narrow";
import { packColumns, packedSize, packRows } from "./matmul-pack";
import { tileDirect, tilePacked, tilesPacked } from "./matmul-tile";

const BF16 = 5;
const F32 = 7;

/** `b` is what MATMUL_PACK_B made, not the matrix. */
const PREPACKED = 1;
/** The rows of `a` (f32) are read where they are. */
const DIRECT = 2;
/** Parts of c are made in scratch, and an epilogue runs over each. */
export const FUSED = 4;
/** The product is added to sums that lie at c. */
const ADDED = 8;
/** A second product is added: the last block of k goes on with its operands. */
const JOINED = 16;

// @ts-ignore: decorator
@inline
export function word(args: usize, index: i32): i32 {
  return load<i32>(args + (<usize>index << 2));
}

/** First part of an even cut of `total` into `chunks`. */
// @ts-ignore: decorator
@inline
export function cut(total: i32, chunk: i32, chunks: i32): i32 {
  return <i32>((<i64>total * chunk) / chunks);
}

/** Packs a whole matrix: for each block of k all panels of 8 columns. A chunk does some of the panels. */
export function matmulPackB(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const depth = word(args, 2);
  const columns = word(args, 3);
  const stepStride = word(args, 4);
  const columnStride = word(args, 5);
  const dtype = word(args, 6);
  const block = word(args, 7);
  const before = word(args, 8);
  const size = packedSize(dtype);
  const panels = (columns + 7) >> 3;
  const first = cut(panels, chunk, chunks) * 8;
  const last = min(columns, cut(panels, chunk + 1, chunks) * 8);
  if (first >= last) return;
  let dst = load<usize>(args, 4);
  for (let k = 0; k < depth; k += block) {
    const kc = min(block, depth - k);
    const from = load<usize>(args) + <usize>(k * stepStride + first * columnStride) * size;
    const whole = before + kc + (k + kc == depth ? word(args, 9) : 0);
    const to = dst + (<usize>(first * whole + before * 8) << 2);
    packColumns(dtype, from, columnStride, stepStride, last - first, kc, to, whole);
    dst += <usize>(panels * 8 * whole) << 2;
  }
}

/** Byte offsets of matrix `index` in its operands, by its place in the batch axes. */
let batchA: usize = 0;
let batchB: usize = 0;
let batchC: usize = 0;

export function locateBatch(args: usize, index: i32, sizeA: usize, sizeB: usize, sizeC: usize): void {
  batchA = 0;
  batchB = 0;
  batchC = 0;
  for (let axis = word(args, 19) - 1; axis >= 0; axis--) {
    const at = args + (<usize>(20 + 4 * axis) << 2);
    const size = load<i32>(at);
    const i = index % size;
    index /= size;
    batchA += <usize>(i * load<i32>(at, 4)) * sizeA;
    batchB += <usize>(i * load<i32>(at, 8)) * sizeB;
    batchC += <usize>(i * load<i32>(at, 12)) * sizeC;
  }
}

/** Words of the epilogue, behind the batch axes. */
export function epilogueWords(args: usize): usize {
  return args + (<usize>(20 + 4 * word(args, 19)) << 2);
}

export function offsetA(): usize {
  return batchA;
}
export function offsetB(): usize {
  return batchB;
}
export function offsetC(): usize {
  return batchC;
}

/** Tiles of f32 products. The unit of work is one block of rows by one block of columns of one matrix. */
export function matmulTiles(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const M = word(args, 3);
  const N = word(args, 4);
  const rowBlock = word(args, 12);
  const columnBlock = word(args, 13);
  const rowBlocks = (M + rowBlock - 1) / rowBlock;
  const columnBlocks = (N + columnBlock - 1) / columnBlock;
  const perMatrix = rowBlocks * columnBlocks;
  const units = word(args, 18) * perMatrix;
  const sizeA = packedSize(word(args, 10));
  const sizeB = word(args, 15) & PREPACKED ? <usize>4 : packedSize(word(args, 11));
  const last = cut(units, chunk + 1, chunks);
  for (let unit = cut(units, chunk, chunks); unit < last; unit++) {
    const within = unit % perMatrix;
    locateBatch(args, unit / perMatrix, sizeA, sizeB, 4);
    const row = (within / columnBlocks) * rowBlock;
    const column = (within % columnBlocks) * columnBlock;
    const rows = min(rowBlock, M - row);
    const columns = min(columnBlock, N - column);
    const a = load<usize>(args) + batchA + <usize>(row * word(args, 6)) * sizeA;
    const b = load<usize>(args, 4) + batchB;
    const rowC = word(args, 16);
    const columnC = word(args, 17);
    const c = (<usize>(row * rowC + column * columnC) << 2) + batchC;
    const to = load<usize>(args, 8) + c;
    if ((word(args, 15) & FUSED) == 0) {
      block(args, a, b, to, <usize>rowC << 2, <usize>columnC << 2, row, rows, column, columns, scratch);
      continue;
    }
    // The part lies in scratch as it would in c, line by line of c.
    const fused = epilogueWords(args);
    const rest = scratch + load<usize>(fused, 8);
    const turned = columnC != 1;
    const size = turned ? rows : columns;
    const lines = turned ? columns : rows;
    const step = turned ? columnC : rowC;
    const line = <usize>size << 2;
    if (word(args, 15) & ADDED) {
      for (let i = 0; i < lines; i++) memory.copy(scratch + <usize>i * line, to + (<usize>(i * step) << 2), line);
    }
    block(args, a, b, scratch, turned ? 4 : line, turned ? line : 4, row, rows, column, columns, rest);
    runEpilogue(load<usize>(fused), load<i32>(fused, 4) + <i32>(c >> 2), size, step, lines, scratch, line, rest);
  }
}

/** One block of the product over the whole depth. */
function block(
  args: usize, a: usize, b: usize, c: usize, rowC: usize, columnC: usize, row: i32, rows: i32, column: i32, columns: i32,
  scratch: usize,
): void {
  const N = word(args, 4);
  const K = word(args, 5);
  const rowA = word(args, 6);
  const stepA = word(args, 7);
  const stepB = word(args, 8);
  const columnB = word(args, 9);
  const dtypeA = word(args, 10);
  const dtypeB = word(args, 11);
  const depth = word(args, 14);
  const flags = word(args, 15);
  const prepacked = (flags & PREPACKED) != 0;
  const direct = (flags & DIRECT) != 0;
  const added = (flags & ADDED) != 0;
  const joined = flags & JOINED ? epilogueWords(args) + 12 : 0;
  const sizeA = packedSize(dtypeA);
  const sizeB = packedSize(dtypeB);
  const spill = scratch;
  const packedA = scratch + 128;
  const packedB = direct ? packedA : packedA + (<usize>(((rows + 3) & ~3) * depth) << 2);
  const padded = (N + 7) & ~7;
  // At most 4 columns beyond whole panels are dot products where the rows of a are contiguous.
  const beyond = columns & 7;
  const dots = direct && stepA == 1 && dtypeB == F32 && beyond <= 4 ? beyond : 0;
  columns -= dots;
  for (let k = 0; k < K; k += depth) {
    const kc = min(depth, K - k);
    const fromA = a + <usize>(k * stepA) * sizeA;
    const more = joined && k + kc == K ? load<i32>(joined, 4) : 0;
    const whole = kc + more;
    if (!direct) packRows(dtypeA, fromA, rowA, stepA, rows, kc, packedA, whole);
    if (more) {
      const dtype = load<i32>(joined, 16);
      const step = load<i32>(joined, 8);
      const from = load<usize>(joined) + <usize>(row * step) * packedSize(dtype);
      packRows(dtype, from, step, load<i32>(joined, 12), rows, more, packedA + (<usize>kc << 4), whole);
    }
    if (dots > 0) {
      packDots(b + (<usize>(k * stepB + (column + columns) * columnB) << 2), <usize>columnB << 2, <usize>stepB << 2, dots, kc, packedB);
      const to = c + <usize>columns * columnC;
      dotRows(kc, fromA, <usize>rowA << 2, packedB, to, rowC, columnC, rows, dots, added || k > 0);
      if (columns == 0) continue;
    }
    let panels = packedB;
    if (prepacked) {
      panels = b + (<usize>(k * padded + column * whole) << 2);
    } else {
      packColumns(dtypeB, b + <usize>(k * stepB + column * columnB) * sizeB, columnB, stepB, columns, kc, packedB, kc);
    }
    if (direct) sweepDirect(kc, fromA, <usize>rowA << 2, <usize>stepA << 2, panels, c, rowC, columnC, rows, columns, added || k > 0, spill);
    else sweepPacked(whole, packedA, panels, c, rowC, columnC, rows, columns, added || k > 0, spill);
  }
}

/** All tiles of a block: a panel of b stays in the first cache while the rows pass by. */
function sweepPacked(
  kc: i32, a: usize, b: usize, c: usize, rowC: usize, columnC: usize, rows: i32, columns: i32, accumulate: bool, spill: usize,
): void {
  const panelA = <usize>kc << 4;
  const panelB = <usize>kc << 5;
  const whole = columnC == 4 ? rows & ~3 : 0;
  for (let j = 0; j < columns; j += 8, b += panelB, c += 8 * columnC) {
    let i = 0;
    if (j + 8 <= columns) {
      i = whole;
      tilesPacked(kc, a, b, c, rowC, i >> 2, accumulate);
    }
    let atA = a + <usize>i * (<usize>kc << 2);
    let atC = c + <usize>i * rowC;
    for (; i < rows; i += 4, atA += panelA, atC += 4 * rowC) {
      tilePacked(kc, atA, b, atC, rowC, columnC, rows - i, columns - j, accumulate, spill);
    }
  }
}

/** The same for few columns: four rows stay in the first cache while the panels of b pass by. */
function sweepDirect(
  kc: i32, a: usize, rowA: usize, stepA: usize, b: usize, c: usize, rowC: usize, columnC: usize, rows: i32, columns: i32,
  accumulate: bool, spill: usize,
): void {
  const panelB = <usize>kc << 5;
  for (let i = 0; i < rows; i += 4, a += 4 * rowA, c += 4 * rowC) {
    const left = rows - i;
    const a1 = left > 1 ? a + rowA : a;
    const a2 = left > 2 ? a1 + rowA : a1;
    const a3 = left > 3 ? a2 + rowA : a2;
    let atB = b;
    let atC = c;
    for (let j = 0; j < columns; j += 8, atB += panelB, atC += 8 * columnC) {
      tileDirect(kc, a, a1, a2, a3, stepA, atB, atC, rowC, columnC, left, columns - j, accumulate, spill);
    }
  }
}

/** Rounds an f32 result to a half type. */
export function matmulNarrow(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const size = word(args, 2);
  const isBf16 = word(args, 3) == BF16;
  let i = cut(size, chunk, chunks);
  const last = cut(size, chunk + 1, chunks);
  const src = load<usize>(args);
  const dst = load<usize>(args, 4);
  for (; i + 4 <= last; i += 4) {
    const value = v128.load(src + (<usize>i << 2));
    const bits = isBf16 ? f32x4ToBf16(value) : f32x4ToF16(value);
    // the values fit 16 bits, so unsigned saturation keeps them
    v128.store64_lane(dst + (<usize>i << 1), i16x8.narrow_i32x4_u(bits, bits), 0);
  }
  for (; i < last; i++) {
    const value = load<f32>(src + (<usize>i << 2));
    store<u16>(dst + (<usize>i << 1), isBf16 ? f32ToBf16(value) : f32ToF16(value));
  }
}
