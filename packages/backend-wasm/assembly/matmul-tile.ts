// The inner kernels: a tile of 4 rows by 8 columns of the product, in eight vectors of accumulators.
import { madd } from "./simd";

// 4 x 8 is what fits the sixteen vector registers of x64 beside the operands; larger tiles spill. The step over k is not
// unrolled where `a` is packed: V8 then keeps everything in registers (52 GFLOP/s against 35 unrolled by four).

/**
 * c (+)= a b for a full or partial tile. `a`: packed [depth][4]; `b`: packed [depth][8].
 * `rows` and `columns` tell how much of the tile is stored; c[i][j] is at c + i * rowStep + j * columnStep (bytes),
 * where one of the steps is 4.
 */
export function tilePacked(
  depth: i32, a: usize, b: usize, c: usize, rowStep: usize, columnStep: usize, rows: i32, columns: i32,
  accumulate: bool, spill: usize,
): void {
  let c00 = i32x4.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  for (let k = depth; k > 0; k--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load32_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a, 4);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a, 8);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a, 12);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    a += 16;
    b += 32;
  }
  storeTile(c00, c01, c10, c11, c20, c21, c30, c31, c, rowStep, columnStep, rows, columns, accumulate, spill);
}

/**
 * The same for full tiles below each other, and rows of c that are contiguous. Panels of `a` follow one another; `panel`
 * is one of `b`. A call for each tile would cost as much as a depth of 4, and more to decide would spill registers.
 */
export function tilesPacked(
  depth: i32, a: usize, panel: usize, c: usize, rowStep: usize, tiles: i32, accumulate: bool,
): void {
  for (; tiles > 0; tiles--) {
    let c00 = i32x4.splat(0);
    let c01 = c00;
    let c10 = c00;
    let c11 = c00;
    let c20 = c00;
    let c21 = c00;
    let c30 = c00;
    let c31 = c00;
    let b = panel;
    for (let k = depth; k > 0; k--) {
      const b0 = v128.load(b);
      const b1 = v128.load(b, 16);
      let x = v128.load32_splat(a);
      c00 = madd(x, b0, c00);
      c01 = madd(x, b1, c01);
      x = v128.load32_splat(a, 4);
      c10 = madd(x, b0, c10);
      c11 = madd(x, b1, c11);
      x = v128.load32_splat(a, 8);
      c20 = madd(x, b0, c20);
      c21 = madd(x, b1, c21);
      x = v128.load32_splat(a, 12);
      c30 = madd(x, b0, c30);
      c31 = madd(x, b1, c31);
      a += 16;
      b += 32;
    }
    c = putRows(c00, c01, c10, c11, c20, c21, c30, c31, c, rowStep, accumulate);
  }
}

/** The same with the rows of `a` where they are: element [i][k] at a_i + k * step (bytes). */
export function tileDirect(
  depth: i32, a0: usize, a1: usize, a2: usize, a3: usize, step: usize, b: usize,
  c: usize, rowStep: usize, columnStep: usize, rows: i32, columns: i32, accumulate: bool, spill: usize,
): void {
  let c00 = i32x4.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  let k = depth;
  if (ASC_FEATURE_RELAXED_SIMD && step == 4) {
    // older engines, which lack relaxed SIMD, are slower unrolled
    for (; k >= 2; k -= 2) {
      let b0 = v128.load(b);
      let b1 = v128.load(b, 16);
      let x = v128.load32_splat(a0);
      c00 = madd(x, b0, c00);
      c01 = madd(x, b1, c01);
      x = v128.load32_splat(a1);
      c10 = madd(x, b0, c10);
      c11 = madd(x, b1, c11);
      x = v128.load32_splat(a2);
      c20 = madd(x, b0, c20);
      c21 = madd(x, b1, c21);
      x = v128.load32_splat(a3);
      c30 = madd(x, b0, c30);
      c31 = madd(x, b1, c31);
      b0 = v128.load(b, 32);
      b1 = v128.load(b, 48);
      x = v128.load32_splat(a0, 4);
      c00 = madd(x, b0, c00);
      c01 = madd(x, b1, c01);
      x = v128.load32_splat(a1, 4);
      c10 = madd(x, b0, c10);
      c11 = madd(x, b1, c11);
      x = v128.load32_splat(a2, 4);
      c20 = madd(x, b0, c20);
      c21 = madd(x, b1, c21);
      x = v128.load32_splat(a3, 4);
      c30 = madd(x, b0, c30);
      c31 = madd(x, b1, c31);
      a0 += 8;
      a1 += 8;
      a2 += 8;
      a3 += 8;
      b += 64;
    }
  }
  for (; k > 0; k--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load32_splat(a0);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load32_splat(a1);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load32_splat(a2);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load32_splat(a3);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    a0 += step;
    a1 += step;
    a2 += step;
    a3 += step;
    b += 32;
  }
  storeTile(c00, c01, c10, c11, c20, c21, c30, c31, c, rowStep, columnStep, rows, columns, accumulate, spill);
}

// @ts-ignore: decorator
@inline
function put(at: usize, value: v128, accumulate: bool): void {
  v128.store(at, accumulate ? f32x4.add(v128.load(at), value) : value);
}

/** Writes a full tile; returns where the next one below begins. */
// @ts-ignore: decorator
@inline
function putRows(
  c00: v128, c01: v128, c10: v128, c11: v128, c20: v128, c21: v128, c30: v128, c31: v128,
  c: usize, rowStep: usize, accumulate: bool,
): usize {
  put(c, c00, accumulate);
  put(c + 16, c01, accumulate);
  c += rowStep;
  put(c, c10, accumulate);
  put(c + 16, c11, accumulate);
  c += rowStep;
  put(c, c20, accumulate);
  put(c + 16, c21, accumulate);
  c += rowStep;
  put(c, c30, accumulate);
  put(c + 16, c31, accumulate);
  return c + rowStep;
}

// @ts-ignore: decorator
@inline
function storeTile(
  c00: v128, c01: v128, c10: v128, c11: v128, c20: v128, c21: v128, c30: v128, c31: v128,
  c: usize, rowStep: usize, columnStep: usize, rows: i32, columns: i32, accumulate: bool, spill: usize,
): void {
  if (rows >= 4 && columns >= 8) {
    if (columnStep == 4) {
      putRows(c00, c01, c10, c11, c20, c21, c30, c31, c, rowStep, accumulate);
      return;
    }
    // The result lies transposed: four rows of a column are one vector.
    putTransposed(c00, c10, c20, c30, c, columnStep, accumulate);
    putTransposed(c01, c11, c21, c31, c + 4 * columnStep, columnStep, accumulate);
    return;
  }
  v128.store(spill, c00);
  v128.store(spill, c01, 16);
  v128.store(spill, c10, 32);
  v128.store(spill, c11, 48);
  v128.store(spill, c20, 64);
  v128.store(spill, c21, 80);
  v128.store(spill, c30, 96);
  v128.store(spill, c31, 112);
  storeEdge(c, rowStep, columnStep, min(rows, 4), min(columns, 8), accumulate, spill);
}

// @ts-ignore: decorator
@inline
function putTransposed(r0: v128, r1: v128, r2: v128, r3: v128, c: usize, columnStep: usize, accumulate: bool): void {
  const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
  const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
  const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
  const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
  put(c, v128.shuffle<i64>(low01, low23, 0, 2), accumulate);
  put(c + columnStep, v128.shuffle<i64>(low01, low23, 1, 3), accumulate);
  put(c + 2 * columnStep, v128.shuffle<i64>(high01, high23, 0, 2), accumulate);
  put(c + 3 * columnStep, v128.shuffle<i64>(high01, high23, 1, 3), accumulate);
}

function storeEdge(c: usize, rowStep: usize, columnStep: usize, rows: i32, columns: i32, accumulate: bool, spill: usize): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const at = c + <usize>i * rowStep + <usize>j * columnStep;
      const value = load<f32>(spill + (<usize>(i * 8 + j) << 2));
      store<f32>(at, accumulate ? load<f32>(at) + value : value);
    }
  }
}
