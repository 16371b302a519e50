// Narrow products in f32, which read the large operand once, in order, and where it is. Argument words: see matmul.ts.
import { runEpilogue } from "./loop";
import { cut, epilogueWords, FUSED, locateBatch, offsetA, offsetB, offsetC, word } from "./matmul";
import { madd } from "./simd";

/**
 * c[i, j] = Σ a[i, k] b[k, j] for few rows and rows of `b` that are contiguous. A block of columns of c stays in the first
 * cache while four rows of `b` at a time are added to two rows of it. The unit of work is such a block of one matrix.
 */
export function matmulRows(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const M = word(args, 3);
  const N = word(args, 4);
  const K = word(args, 5);
  const rowA = <usize>word(args, 6) << 2;
  const stepA = <usize>word(args, 7) << 2;
  const stepB = <usize>word(args, 8) << 2;
  const columnBlock = word(args, 13);
  const rowC = <usize>word(args, 16) << 2;
  const columnC = <usize>word(args, 17) << 2;
  const fused = word(args, 15) & FUSED ? epilogueWords(args) : 0;
  const blocks = (N + columnBlock - 1) / columnBlock;
  const last = cut(word(args, 18) * blocks, chunk + 1, chunks);
  for (let unit = cut(word(args, 18) * blocks, chunk, chunks); unit < last; unit++) {
    locateBatch(args, unit / blocks, 4, 4, 4);
    const column = (unit % blocks) * columnBlock;
    const columns = min(columnBlock, N - column);
    const whole = columns & ~3;
    const line = <usize>whole << 2;
    const a = load<usize>(args) + offsetA();
    const b = load<usize>(args, 4) + offsetB() + (<usize>column << 2);
    const at = offsetC() + <usize>column * columnC;
    // Sums lie close together in scratch, unless they are to stay there as rows. An odd last row is computed twice, the second
    // time for nothing.
    const turned = columnC != 4;
    let c = load<usize>(args, 8) + at;
    let toRow = rowC;
    let toColumn = columnC;
    let spare = scratch;
    if (fused) {
      // a part of c in scratch, row by row of c
      c = scratch;
      toRow = turned ? 4 : <usize>((columns + 3) & ~3) << 2;
      toColumn = turned ? <usize>M << 2 : 4;
      spare += load<usize>(fused, 8);
    }
    const apart = fused == 0 || turned;
    const sums = apart ? spare + line : c;
    const rowSums = apart ? line : toRow;
    for (let i = 0; i < M; i++) memory.fill(sums + <usize>i * rowSums, 0, line);
    let k = 0;
    for (; k + 4 <= K; k += 4) {
      const from = b + <usize>k * stepB;
      for (let i = 0; i < M; i += 2) {
        const x = a + <usize>i * rowA + <usize>k * stepA;
        const to = sums + <usize>i * rowSums;
        const both = i + 1 < M;
        addRows(from, stepB, whole, x, both ? x + rowA : x, stepA, to, both ? to + rowSums : spare);
      }
    }
    for (; k < K; k++) {
      for (let i = 0; i < M; i++) {
        addRow(b + <usize>k * stepB, whole, a + <usize>i * rowA + <usize>k * stepA, sums + <usize>i * rowSums);
      }
    }
    for (let i = 0; i < M; i++) {
      const to = c + <usize>i * toRow;
      if (apart) {
        const from = sums + <usize>i * line;
        for (let j = 0; j < whole; j++) store<f32>(to + <usize>j * toColumn, load<f32>(from + (<usize>j << 2)));
      }
      for (let j = whole; j < columns; j++) {
        let sum: f32 = 0;
        for (let k = 0; k < K; k++) {
          sum += load<f32>(a + <usize>i * rowA + <usize>k * stepA) * load<f32>(b + <usize>k * stepB + (<usize>j << 2));
        }
        store<f32>(to + <usize>j * toColumn, sum);
      }
    }
    if (!fused) continue;
    const first = load<i32>(fused, 4) + <i32>(at >> 2);
    if (turned) runEpilogue(load<usize>(fused), first, M, word(args, 17), columns, c, toColumn, spare);
    else runEpilogue(load<usize>(fused), first, columns, word(args, 16), M, c, toRow, spare);
  }
}

/** Adds to two rows of c four rows of b, each times its number. */
function addRows(b: usize, stepB: usize, columns: i32, a0: usize, a1: usize, stepA: usize, c0: usize, c1: usize): void {
  const x0 = v128.load32_splat(a0);
  const y0 = v128.load32_splat(a1);
  const x1 = v128.load32_splat(a0 + stepA);
  const y1 = v128.load32_splat(a1 + stepA);
  const x2 = v128.load32_splat(a0 + 2 * stepA);
  const y2 = v128.load32_splat(a1 + 2 * stepA);
  const x3 = v128.load32_splat(a0 + 3 * stepA);
  const y3 = v128.load32_splat(a1 + 3 * stepA);
  const b1 = b + stepB;
  const b2 = b1 + stepB;
  const b3 = b2 + stepB;
  const end = <usize>columns << 2;
  for (let at: usize = 0; at < end; at += 16) {
    let v = v128.load(b + at);
    let s = madd(x0, v, v128.load(c0 + at));
    let t = madd(y0, v, v128.load(c1 + at));
    v = v128.load(b1 + at);
    s = madd(x1, v, s);
    t = madd(y1, v, t);
    v = v128.load(b2 + at);
    s = madd(x2, v, s);
    t = madd(y2, v, t);
    v = v128.load(b3 + at);
    v128.store(c0 + at, madd(x3, v, s));
    v128.store(c1 + at, madd(y3, v, t));
  }
}

function addRow(b: usize, columns: i32, a: usize, c: usize): void {
  const x = v128.load32_splat(a);
  const end = <usize>columns << 2;
  for (let at: usize = 0; at < end; at += 16) v128.store(c + at, madd(x, v128.load(b + at), v128.load(c + at)));
}

/** Four rows of `depth` numbers for dotRows: row j is column j of b; those beyond `columns` are 0. */
export function packDots(b: usize, columnB: usize, stepB: usize, columns: i32, depth: i32, dst: usize): void {
  for (let j = 0; j < 4; j++, b += columnB) {
    let at = b;
    for (let k = 0; k < depth; k++, at += stepB, dst += 4) store<f32>(dst, j < columns ? load<f32>(at) : 0);
  }
}

/**
 * c[i, j] (+)= Σ a[i, k] b[k, j] for at most 4 columns, packed by packDots, and rows of `a` that are contiguous. Two rows
 * by four columns of dot products keep both multipliers busy.
 */
export function dotRows(
  depth: i32, a: usize, rowA: usize, b: usize, c: usize, rowC: usize, columnC: usize, rows: i32, columns: i32, accumulate: bool,
): void {
  const line = <usize>depth << 2;
  const b1 = b + line;
  const b2 = b1 + line;
  const b3 = b2 + line;
  for (let i = 0; i < rows; i += 2, a += 2 * rowA, c += 2 * rowC) {
    const both = i + 1 < rows;
    const below = both ? a + rowA : a;
    let s0 = i32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    let t0 = s0;
    let t1 = s0;
    let t2 = s0;
    let t3 = s0;
    const end = <usize>(depth & ~3) << 2;
    for (let at: usize = 0; at < end; at += 16) {
      const x = v128.load(a + at);
      const y = v128.load(below + at);
      let v = v128.load(b + at);
      s0 = madd(x, v, s0);
      t0 = madd(y, v, t0);
      v = v128.load(b1 + at);
      s1 = madd(x, v, s1);
      t1 = madd(y, v, t1);
      v = v128.load(b2 + at);
      s2 = madd(x, v, s2);
      t2 = madd(y, v, t2);
      v = v128.load(b3 + at);
      s3 = madd(x, v, s3);
      t3 = madd(y, v, t3);
    }
    writeDots(sumEach(s0, s1, s2, s3), depth, a, b, c, columnC, columns, accumulate);
    if (both) writeDots(sumEach(t0, t1, t2, t3), depth, below, b, c + rowC, columnC, columns, accumulate);
  }
}

/** The sums of four vectors as one. */
// @ts-ignore: decorator
@inline
function sumEach(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}

/** Adds what is left of the depth after whole vectors, and stores. */
function writeDots(sums: v128, depth: i32, a: usize, b: usize, c: usize, columnC: usize, columns: i32, accumulate: bool): void {
  const line = <usize>depth << 2;
  for (let k = depth & ~3; k < depth; k++) {
    const at = b + (<usize>k << 2);
    let v = v128.load32_splat(at);
    v = f32x4.replace_lane(v, 1, load<f32>(at + line));
    v = f32x4.replace_lane(v, 2, load<f32>(at + 2 * line));
    v = f32x4.replace_lane(v, 3, load<f32>(at + 3 * line));
    sums = madd(v128.load32_splat(a + (<usize>k << 2)), v, sums);
  }
  for (let j = 0; j < columns; j++, c += columnC) {
    const sum = f32x4.extract_lane(sums, 0);
    store<f32>(c, accumulate ? load<f32>(c) + sum : sum);
    sums = v128.shuffle<i32>(sums, sums, 1, 2, 3, 3);
  }
}
