// Products with one row. Argument words: see matmul.ts.
import { loadF16x4 } from "./half";
import { cut, locateBatch, offsetA, offsetB, offsetC, word } from "./matmul";
import { load1, load4, packedSize } from "./matmul-pack";
import { madd, sumLanes } from "./simd";

const BF16 = 5;
const F16 = 6;

/** c[n] = Σ a[k] b[k, n] in f32: a chunk does some of the columns of some of the matrices. */
export function matmulThin(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const N = word(args, 4);
  const K = word(args, 5);
  const stepA = word(args, 7);
  const stepB = word(args, 8);
  const columnB = word(args, 9);
  const dtypeA = word(args, 10);
  const dtypeB = word(args, 11);
  const columnBlock = word(args, 13);
  const blocks = (N + columnBlock - 1) / columnBlock;
  const matrices = word(args, 18);
  const units = matrices * blocks;
  const sizeA = packedSize(dtypeA);
  const sizeB = packedSize(dtypeB);
  const last = cut(units, chunk + 1, chunks);
  for (let unit = cut(units, chunk, chunks); unit < last; unit++) {
    // All rows that share a b pass over one block of its columns before the next.
    locateBatch(args, unit % matrices, sizeA, sizeB, 4);
    const column = (unit / matrices) * columnBlock;
    const columns = min(columnBlock, N - column);
    copyVector(dtypeA, load<usize>(args) + offsetA(), stepA, K, scratch);
    const b = load<usize>(args, 4) + offsetB() + <usize>(column * columnB) * sizeB;
    const c = load<usize>(args, 8) + offsetC() + (<usize>(column * word(args, 17)) << 2);
    const stepC = <usize>word(args, 17) << 2;
    if (dtypeB == F16) vectorTimes<u16>(scratch, b, c, columns, K, stepB, columnB, stepC);
    else if (dtypeB == BF16) vectorTimes<i16>(scratch, b, c, columns, K, stepB, columnB, stepC);
    else vectorTimes<f32>(scratch, b, c, columns, K, stepB, columnB, stepC);
  }
}

function copyVector(dtype: i32, src: usize, step: i32, size: i32, dst: usize): void {
  if (dtype == F16) for (let i = 0; i < size; i++) store<f32>(dst + (<usize>i << 2), load1<u16>(src + (<usize>(i * step) << 1)));
  else if (dtype == BF16) for (let i = 0; i < size; i++) store<f32>(dst + (<usize>i << 2), load1<i16>(src + (<usize>(i * step) << 1)));
  else for (let i = 0; i < size; i++) store<f32>(dst + (<usize>i << 2), load<f32>(src + (<usize>(i * step) << 2)));
}

function vectorTimes<T>(x: usize, b: usize, c: usize, columns: i32, K: i32, stepB: i32, columnB: i32, stepC: usize): void {
  const step = <usize>stepB * sizeof<T>();
  const column = <usize>columnB * sizeof<T>();
  let j = 0;
  if (stepB == 1) {
    // Each column is contiguous: dot products, four columns at a time.
    for (; j + 4 <= columns; j += 4, b += 4 * column, c += 4 * stepC) dots<T>(x, b, column, c, stepC, K);
  } else if (columnB == 1 && stepC == 4) {
    // Each row is contiguous: rows times numbers, eight rows at a time.
    const whole = columns & ~3;
    sumRows<T>(x, b, step, c, whole, K);
    j = whole;
    b += <usize>whole * sizeof<T>();
    c += <usize>whole << 2;
  }
  for (; j < columns; j++, b += column, c += stepC) {
    let sum: f32 = 0;
    let at = b;
    for (let k = 0; k < K; k++, at += step) sum += load<f32>(x + (<usize>k << 2)) * load1<T>(at);
    store<f32>(c, sum);
  }
}

/** s + u · (first four f16 at `at`) + v · (next four). */
// @ts-ignore: decorator
@inline
function addF16x8(u: v128, v: v128, at: usize, s: v128): v128 {
  const bits = v128.load(at);
  const exponents = i16x8.splat(0x7c00);
  if (v128.any_true(i16x8.eq(v128.and(bits, exponents), exponents))) return addSpecialF16x8(u, v, at, s);
  // In the upper half of a lane, then three to the right: exponent and mantissa are where f32 has them, 112 too low.
  const zero = i32x4.splat(0);
  const mask = i32x4.splat(0x8fffffff);
  const scale = i32x4.splat(0x77800000);
  const low = v128.and(i32x4.shr_s(v128.shuffle<i16>(zero, bits, 0, 8, 1, 9, 2, 10, 3, 11), 3), mask);
  const high = v128.and(i32x4.shr_s(v128.shuffle<i16>(zero, bits, 4, 12, 5, 13, 6, 14, 7, 15), 3), mask);
  return madd(v, f32x4.mul(high, scale), madd(u, f32x4.mul(low, scale), s));
}

/** The same where one of them is infinite or NaN. */
function addSpecialF16x8(u: v128, v: v128, at: usize, s: v128): v128 {
  return madd(v, loadF16x4(at + 8), madd(u, loadF16x4(at), s));
}

// @ts-ignore: decorator
@inline
function dots<T>(x: usize, b: usize, column: usize, c: usize, stepC: usize, K: i32): void {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let t0 = s0;
  let t1 = s0;
  let t2 = s0;
  let t3 = s0;
  const b1 = b + column;
  const b2 = b1 + column;
  const b3 = b2 + column;
  let at: usize = 0;
  let k = 0;
  for (; k + 8 <= K; k += 8, at += 8 * sizeof<T>()) {
    const u = v128.load(x + (<usize>k << 2));
    const v = v128.load(x + (<usize>k << 2), 16);
    if (!isFloat<T>() && !isSigned<T>()) {
      s0 = addF16x8(u, v, b + at, s0);
      s1 = addF16x8(u, v, b1 + at, s1);
      s2 = addF16x8(u, v, b2 + at, s2);
      s3 = addF16x8(u, v, b3 + at, s3);
      continue;
    }
    const half = at + 4 * sizeof<T>();
    s0 = madd(u, load4<T>(b + at), s0);
    t0 = madd(v, load4<T>(b + half), t0);
    s1 = madd(u, load4<T>(b1 + at), s1);
    t1 = madd(v, load4<T>(b1 + half), t1);
    s2 = madd(u, load4<T>(b2 + at), s2);
    t2 = madd(v, load4<T>(b2 + half), t2);
    s3 = madd(u, load4<T>(b3 + at), s3);
    t3 = madd(v, load4<T>(b3 + half), t3);
  }
  let r0 = sumLanes(f32x4.add(s0, t0));
  let r1 = sumLanes(f32x4.add(s1, t1));
  let r2 = sumLanes(f32x4.add(s2, t2));
  let r3 = sumLanes(f32x4.add(s3, t3));
  for (; k < K; k++, at += sizeof<T>()) {
    const u = load<f32>(x + (<usize>k << 2));
    r0 += u * load1<T>(b + at);
    r1 += u * load1<T>(b1 + at);
    r2 += u * load1<T>(b2 + at);
    r3 += u * load1<T>(b3 + at);
  }
  store<f32>(c, r0);
  store<f32>(c + stepC, r1);
  store<f32>(c + 2 * stepC, r2);
  store<f32>(c + 3 * stepC, r3);
}

// @ts-ignore: decorator
@inline
function sumRows<T>(x: usize, b: usize, step: usize, c: usize, columns: i32, K: i32): void {
  for (let j = 0; j < columns; j += 4) v128.store(c + (<usize>j << 2), i32x4.splat(0));
  let k = 0;
  for (; k + 8 <= K; k += 8, b += 8 * step, x += 32) {
    const x0 = v128.load32_splat(x);
    const x1 = v128.load32_splat(x, 4);
    const x2 = v128.load32_splat(x, 8);
    const x3 = v128.load32_splat(x, 12);
    const x4 = v128.load32_splat(x, 16);
    const x5 = v128.load32_splat(x, 20);
    const x6 = v128.load32_splat(x, 24);
    const x7 = v128.load32_splat(x, 28);
    let at = b;
    for (let j = 0; j < columns; j += 4, at += 4 * sizeof<T>()) {
      const to = c + (<usize>j << 2);
      let s = v128.load(to);
      let t = f32x4.mul(x1, load4<T>(at + step));
      s = madd(x0, load4<T>(at), s);
      s = madd(x2, load4<T>(at + 2 * step), s);
      t = madd(x3, load4<T>(at + 3 * step), t);
      s = madd(x4, load4<T>(at + 4 * step), s);
      t = madd(x5, load4<T>(at + 5 * step), t);
      s = madd(x6, load4<T>(at + 6 * step), s);
      t = madd(x7, load4<T>(at + 7 * step), t);
      v128.store(to, f32x4.add(s, t));
    }
  }
  for (; k < K; k++, b += step, x += 4) {
    const x0 = v128.load32_splat(x);
    for (let j = 0; j < columns; j += 4) {
      const to = c + (<usize>j << 2);
      v128.store(to, madd(x0, load4<T>(b + <usize>j * sizeof<T>()), v128.load(to)));
    }
  }
}
