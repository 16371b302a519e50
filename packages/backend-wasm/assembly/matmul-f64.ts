// Products of f64, and zeros where K is 0. Argument words: see matmul.ts.
import { cut, locateBatch, offsetA, offsetB, offsetC, word } from "./matmul";

// @ts-ignore: decorator
@inline
function madd64(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    return f64x2.relaxed_madd(a, b, c);
  } else {
    return f64x2.add(f64x2.mul(a, b), c);
  }
}

/** Panels of 4 lanes: dst[panel][k][lane] = src[lane * laneStep + k * step] (steps in bytes); lanes beyond are 0. */
function pack(src: usize, laneStep: usize, step: usize, lanes: i32, depth: i32, dst: usize): void {
  for (let lane = 0; lane < lanes; lane += 4, src += 4 * laneStep) {
    const valid = lanes - lane;
    let at = src;
    for (let k = 0; k < depth; k++, at += step, dst += 32) {
      store<f64>(dst, load<f64>(at));
      store<f64>(dst, valid > 1 ? load<f64>(at + laneStep) : 0, 8);
      store<f64>(dst, valid > 2 ? load<f64>(at + 2 * laneStep) : 0, 16);
      store<f64>(dst, valid > 3 ? load<f64>(at + 3 * laneStep) : 0, 24);
    }
  }
}

/** A tile of 4 rows by 4 columns; c is row-major with rows `rowStep` bytes apart. */
function tile(depth: i32, a: usize, b: usize, c: usize, rowStep: usize, rows: i32, columns: i32, accumulate: bool, spill: usize): void {
  let c00 = i64x2.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  for (let k = depth; k > 0; k--, a += 32, b += 32) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load64_splat(a);
    c00 = madd64(x, b0, c00);
    c01 = madd64(x, b1, c01);
    x = v128.load64_splat(a, 8);
    c10 = madd64(x, b0, c10);
    c11 = madd64(x, b1, c11);
    x = v128.load64_splat(a, 16);
    c20 = madd64(x, b0, c20);
    c21 = madd64(x, b1, c21);
    x = v128.load64_splat(a, 24);
    c30 = madd64(x, b0, c30);
    c31 = madd64(x, b1, c31);
  }
  v128.store(spill, c00);
  v128.store(spill, c01, 16);
  v128.store(spill, c10, 32);
  v128.store(spill, c11, 48);
  v128.store(spill, c20, 64);
  v128.store(spill, c21, 80);
  v128.store(spill, c30, 96);
  v128.store(spill, c31, 112);
  for (let i = 0; i < min(rows, 4); i++, c += rowStep, spill += 32) {
    for (let j = 0; j < min(columns, 4); j++) {
      const to = c + (<usize>j << 3);
      const value = load<f64>(spill + (<usize>j << 3));
      store<f64>(to, accumulate ? load<f64>(to) + value : value);
    }
  }
}

/** The unit of work is one block of rows by one block of columns of one matrix. */
export function matmulF64(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const M = word(args, 3);
  const N = word(args, 4);
  const K = word(args, 5);
  const rowA = <usize>word(args, 6) << 3;
  const stepA = <usize>word(args, 7) << 3;
  const stepB = <usize>word(args, 8) << 3;
  const columnB = <usize>word(args, 9) << 3;
  const rowBlock = word(args, 12);
  const columnBlock = word(args, 13);
  const depth = word(args, 14);
  const rowC = <usize>word(args, 16) << 3;
  const columnBlocks = (N + columnBlock - 1) / columnBlock;
  const perMatrix = ((M + rowBlock - 1) / rowBlock) * columnBlocks;
  const units = word(args, 18) * perMatrix;
  const packedA = scratch + 128;
  const packedB = packedA + (<usize>(((rowBlock + 3) & ~3) * depth) << 3);
  const last = cut(units, chunk + 1, chunks);
  for (let unit = cut(units, chunk, chunks); unit < last; unit++) {
    const within = unit % perMatrix;
    locateBatch(args, unit / perMatrix, 8, 8, 8);
    const row = (within / columnBlocks) * rowBlock;
    const column = (within % columnBlocks) * columnBlock;
    const rows = min(rowBlock, M - row);
    const columns = min(columnBlock, N - column);
    const a = load<usize>(args) + offsetA() + <usize>row * rowA;
    const b = load<usize>(args, 4) + offsetB() + <usize>column * columnB;
    const c = load<usize>(args, 8) + offsetC() + <usize>row * rowC + (<usize>column << 3);
    for (let k = 0; k < K; k += depth) {
      const kc = min(depth, K - k);
      pack(a + <usize>k * stepA, rowA, stepA, rows, kc, packedA);
      pack(b + <usize>k * stepB, columnB, stepB, columns, kc, packedB);
      for (let j = 0; j < columns; j += 4) {
        for (let i = 0; i < rows; i += 4) {
          const to = c + <usize>i * rowC + (<usize>j << 3);
          const fromA = packedA + (<usize>(i * kc) << 3);
          tile(kc, fromA, packedB + (<usize>(j * kc) << 3), to, rowC, rows - i, columns - j, k > 0, scratch);
        }
      }
    }
  }
}

/** An empty sum: 0 size  1 c  (words of its own). */
export function matmulZero(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  memory.fill(load<usize>(args, 4), 0, load<usize>(args));
}
