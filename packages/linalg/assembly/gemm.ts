// C += alpha A B on one thread, any strides of A and B, rows of C contiguous. Panels of B (32 bytes of columns) are packed, and
// those of A (4 rows) where its rows are not contiguous; a tile of the result is 4 rows by two vectors, in eight accumulators.
import { cut, operand, word } from "./args";
import { lanes, loadSplat, madd, moveTile } from "./simd";

/** Depth, rows and columns of a packed block. */
const DEPTH = 256;
const ROWS = 128;
const COLUMNS = 256;
/** Bytes of scratch that `gemm` needs: a tile, a block of A, a block of B. */
export const GEMM_SCRATCH: usize = 128 + (ROWS + COLUMNS) * DEPTH * 8;

/** Panels of `width` lanes: dst[panel][k][lane] = alpha * src[lane * laneStep + k * step]; lanes beyond are 0. */
function pack<T>(src: usize, laneStep: usize, step: usize, count: i32, depth: i32, width: i32, alpha: T, dst: usize): void {
  const bytes = <usize>width * sizeof<T>();
  const factor = v128.splat<T>(alpha);
  for (let lane = 0; lane < count; lane += width, src += <usize>width * laneStep) {
    const valid = min(width, count - lane);
    if (laneStep == sizeof<T>() && valid == width) {
      let from = src;
      for (let k = 0; k < depth; k++, from += step, dst += bytes) {
        v128.store(dst, v128.mul<T>(v128.load(from), factor));
        if (bytes == 32) v128.store(dst, v128.mul<T>(v128.load(from, 16), factor), 16);
      }
      continue;
    }
    for (let i = 0; i < width; i += 4) {
      const to = dst + <usize>i * sizeof<T>();
      const from = src + <usize>i * laneStep;
      pack4<T>(from, laneStep, step, valid - i, depth, bytes, alpha, to);
    }
    dst += <usize>depth * bytes;
  }
}

/** Four lanes of a panel whose steps are `bytes` long. */
function pack4<T>(src: usize, laneStep: usize, step: usize, valid: i32, depth: i32, bytes: usize, alpha: T, dst: usize): void {
  const s1 = valid > 1 ? src + laneStep : src;
  const s2 = valid > 2 ? s1 + laneStep : src;
  const s3 = valid > 3 ? s2 + laneStep : src;
  const x0 = valid > 0 ? alpha : <T>0;
  const x1 = valid > 1 ? alpha : <T>0;
  const x2 = valid > 2 ? alpha : <T>0;
  const x3 = valid > 3 ? alpha : <T>0;
  if (valid <= 0) {
    for (let k = 0; k < depth; k++, dst += bytes) {
      v128.store(dst, i64x2.splat(0));
      if (sizeof<T>() == 8) v128.store(dst, i64x2.splat(0), 16);
    }
    return;
  }
  let k = 0;
  let at: usize = 0;
  if (step == sizeof<T>() && valid >= 4) {
    const factor = v128.splat<T>(alpha);
    for (; k + lanes<T>() <= depth; k += lanes<T>(), at += 16, dst += <usize>lanes<T>() * bytes) {
      moveTile<T>(src + at, laneStep, dst, bytes, factor);
      if (sizeof<T>() == 8) moveTile<T>(s2 + at, laneStep, dst + 16, bytes, factor);
    }
  }
  for (; k < depth; k++, dst += bytes) {
    store<T>(dst, load<T>(src + at) * x0);
    store<T>(dst, valid > 1 ? load<T>(s1 + at) * x1 : <T>0, sizeof<T>());
    store<T>(dst, valid > 2 ? load<T>(s2 + at) * x2 : <T>0, 2 * sizeof<T>());
    store<T>(dst, valid > 3 ? load<T>(s3 + at) * x3 : <T>0, 3 * sizeof<T>());
    at += step;
  }
}

// @ts-ignore: decorator
@inline
function add2<T>(at: usize, x: v128, y: v128): void {
  v128.store(at, v128.add<T>(v128.load(at), x));
  v128.store(at, v128.add<T>(v128.load(at, 16), y), 16);
}

/**
 * Full tiles below each other; `panel` is one of B. Rows of a tile of A are `row` bytes apart, those of the next tile `next`; an
 * element is one of `step` steps of its row.
 */
function tiles<T>(depth: i32, a: usize, row: usize, step: usize, next: usize, panel: usize, c: usize, rowC: usize, count: i32): void {
  for (; count > 0; count--) {
    let c00 = i64x2.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    let b = panel;
    let a0 = a;
    let a1 = a0 + row;
    let a2 = a1 + row;
    let a3 = a2 + row;
    for (let k = depth; k > 0; k--) {
      const b0 = v128.load(b);
      const b1 = v128.load(b, 16);
      let x = loadSplat<T>(a0);
      c00 = madd<T>(x, b0, c00);
      c01 = madd<T>(x, b1, c01);
      x = loadSplat<T>(a1);
      c10 = madd<T>(x, b0, c10);
      c11 = madd<T>(x, b1, c11);
      x = loadSplat<T>(a2);
      c20 = madd<T>(x, b0, c20);
      c21 = madd<T>(x, b1, c21);
      x = loadSplat<T>(a3);
      c30 = madd<T>(x, b0, c30);
      c31 = madd<T>(x, b1, c31);
      a0 += step;
      a1 += step;
      a2 += step;
      a3 += step;
      b += 32;
    }
    add2<T>(c, c00, c01);
    c += rowC;
    add2<T>(c, c10, c11);
    c += rowC;
    add2<T>(c, c20, c21);
    c += rowC;
    add2<T>(c, c30, c31);
    c += rowC;
    a += next;
  }
}

/** A tile at the edge: made aside, then added where it is part of the result. */
function edge<T>(
  depth: i32, a: usize, row: usize, step: usize, b: usize, c: usize, rowC: usize, rows: i32, columns: i32, spill: usize,
): void {
  memory.fill(spill, 0, 128);
  tiles<T>(depth, a, row, step, 0, b, spill, 32, 1);
  for (let i = 0; i < min(rows, 4); i++, c += rowC, spill += 32) {
    for (let j = 0; j < min(columns, 2 * lanes<T>()); j++) {
      const at = <usize>j * sizeof<T>();
      store<T>(c + at, load<T>(c + at) + load<T>(spill + at));
    }
  }
}

/** No diagonal: all of the result is wanted. */
const WHOLE: i32 = 0x7fffffff;

/**
 * C[M, N] += alpha A[M, K] B[K, N]; A: rowA, stepA; B: stepB, columnB; C: rowC (bytes). Tiles above the diagonal that begins
 * `diagonal` columns on are left as they are.
 */
export function gemm<T>(
  M: i32, N: i32, K: i32, alpha: T, a: usize, rowA: usize, stepA: usize, b: usize, stepB: usize, columnB: usize,
  c: usize, rowC: usize, scratch: usize, diagonal: i32 = WHOLE,
): void {
  const size = sizeof<T>();
  const packedA = scratch + 128;
  const packedB = packedA + ROWS * DEPTH * size;
  const width = 2 * lanes<T>();
  const direct = stepA == size;
  for (let j = 0; j < N; j += COLUMNS) {
    const columns = min(COLUMNS, N - j);
    for (let k = 0; k < K; k += DEPTH) {
      const depth = min(DEPTH, K - k);
      pack<T>(b + <usize>k * stepB + <usize>j * columnB, columnB, stepB, columns, depth, width, alpha, packedB);
      for (let i = 0; i < M; i += ROWS) {
        const rows = min(ROWS, M - i);
        const left = a + <usize>i * rowA + <usize>k * stepA;
        const whole = rows & ~3;
        // The last rows, fewer than a tile has, are packed in any case: there are none to read beyond them.
        if (!direct) pack<T>(left, rowA, stepA, rows, depth, 4, <T>1, packedA);
        else if (whole < rows) pack<T>(left + <usize>whole * rowA, rowA, stepA, rows - whole, depth, 4, <T>1, packedA);
        const from = direct ? left : packedA;
        const row = direct ? rowA : size;
        const step = direct ? size : 4 * size;
        const next = direct ? 4 * rowA : 4 * <usize>depth * size;
        const rest = direct ? packedA : packedA + <usize>(whole * depth) * size;
        const to = c + <usize>i * rowC + <usize>j * size;
        for (let q = 0; q < columns; q += width) {
          const panel = packedB + <usize>(q * depth) * size;
          const at = to + <usize>q * size;
          let p = diagonal == WHOLE ? 0 : max(0, (j + q - i - diagonal) & ~3);
          if (columns - q >= width) {
            if (p < whole)
              tiles<T>(depth, from + <usize>(p >> 2) * next, row, step, next, panel, at + <usize>p * rowC, rowC, (whole - p) >> 2);
          } else {
            for (; p < whole; p += 4) {
              const tile = from + <usize>(p >> 2) * next;
              edge<T>(depth, tile, row, step, panel, at + <usize>p * rowC, rowC, 4, columns - q, scratch);
            }
          }
          if (whole < rows)
            edge<T>(depth, rest, size, 4 * size, panel, at + <usize>whole * rowC, rowC, rows - whole, columns - q, scratch);
        }
      }
    }
  }
}

/**
 * A block of C += alpha A B: 6 c  8 rowC  9 a  11 rowA  12 stepA  13 b  15 stepB  16 columnB  17 M  18 N  19 K
 * 20 alpha  21 lower: nothing above the diagonal is wanted  22, 23 rows and columns of a block
 */
export function product<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const M = word(args, 17);
  const N = word(args, 18);
  const blockRows = word(args, 22);
  const blockColumns = word(args, 23);
  const across = (N + blockColumns - 1) / blockColumns;
  const i = (unit / across) * blockRows;
  const j = (unit % across) * blockColumns;
  const rows = min(blockRows, M - i);
  let columns = min(blockColumns, N - j);
  const diagonal = word(args, 21) ? i - j : WHOLE;
  if (diagonal < WHOLE) columns = min(columns, diagonal + rows);
  if (columns <= 0) return;
  const rowA = <usize>word(args, 11);
  const columnB = <usize>word(args, 16);
  const rowC = <usize>word(args, 8);
  gemm<T>(
    rows, columns, word(args, 19), <T>word(args, 20), operand(args, 9, b) + <usize>i * rowA, rowA, <usize>word(args, 12),
    operand(args, 13, b) + <usize>j * columnB, <usize>word(args, 15), columnB,
    operand(args, 6, b) + <usize>i * rowC + <usize>j * sizeof<T>(), rowC, scratch, diagonal,
  );
}
