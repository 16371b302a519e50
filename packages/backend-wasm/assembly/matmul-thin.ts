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
    dots<T>(x, b, column, c, stepC, columns, K);
    return;
  }
  if (columnB == 1 && stepC == 4) {
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

/** Infinities and NaN have the largest exponent: without the sign bit, what f16 bits are then at least. */
const SPECIAL: i32 = 0xf800;
// Constants are read from memory: see half.ts. Sign and magnitude of an f16 three places below those of an f32; 2^112.
const HALF: usize = memory.data<u32>([0x8fffffff, 0x77800000]);

/**
 * Copies x times 2^112 behind x, so that f16 bits may be taken for f32 whose exponent is 112 too low.
 *
 * @returns whether no product can overflow for that
 */
function scaleVector(x: usize, K: i32): bool {
  const to = x + (<usize>((K + 3) & ~3) << 2);
  let peak: f32 = 0;
  for (let k: usize = 0; k < <usize>K << 2; k += 4) {
    const v = load<f32>(x + k);
    if (abs(v) > peak) peak = abs(v);
    store<f32>(to + k, v * reinterpret<f32>(0x77800000));
  }
  return peak < 32768;
}

/** Σ x[k] b[k] over the whole sixteens of K where `scaled` is 2^112 x; NaN also where b is infinite. */
function dotF16(scaled: usize, b: usize, K: i32): f32 {
  const zero = i32x4.splat(0);
  let s0 = zero;
  let s1 = zero;
  let s2 = zero;
  let s3 = zero;
  let peak = zero;
  for (let k = 0; k + 16 <= K; k += 16, b += 32, scaled += 64) {
    const mask = v128.load32_splat(HALF);
    const u = v128.load(b);
    const v = v128.load(b, 16);
    peak = i16x8.max_u(peak, i16x8.max_u(i16x8.shl(u, 1), i16x8.shl(v, 1)));
    s0 = madd(v128.load(scaled), v128.and(i32x4.shr_s(v128.shuffle<i16>(zero, u, 0, 8, 1, 9, 2, 10, 3, 11), 3), mask), s0);
    s1 = madd(v128.load(scaled, 16), v128.and(i32x4.shr_s(v128.shuffle<i16>(zero, u, 4, 12, 5, 13, 6, 14, 7, 15), 3), mask), s1);
    s2 = madd(v128.load(scaled, 32), v128.and(i32x4.shr_s(v128.shuffle<i16>(zero, v, 0, 8, 1, 9, 2, 10, 3, 11), 3), mask), s2);
    s3 = madd(v128.load(scaled, 48), v128.and(i32x4.shr_s(v128.shuffle<i16>(zero, v, 4, 12, 5, 13, 6, 14, 7, 15), 3), mask), s3);
  }
  if (v128.any_true(i16x8.ge_u(peak, i16x8.splat(<i16>SPECIAL)))) return f32.NaN;
  return sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** Σ x[k] b[k] over the whole sixteens of K. */
// @ts-ignore: decorator
@inline
function dotSixteens<T>(x: usize, b: usize, K: i32): f32 {
  const zero = i32x4.splat(0);
  let s0 = zero;
  let s1 = zero;
  let s2 = zero;
  let s3 = zero;
  for (let k = 0; k + 16 <= K; k += 16, b += 16 * sizeof<T>(), x += 64) {
    if (!isFloat<T>() && isSigned<T>()) {
      const u = v128.load(b);
      const v = v128.load(b, 16);
      s0 = madd(v128.load(x), v128.shuffle<i16>(zero, u, 0, 8, 1, 9, 2, 10, 3, 11), s0);
      s1 = madd(v128.load(x, 16), v128.shuffle<i16>(zero, u, 4, 12, 5, 13, 6, 14, 7, 15), s1);
      s2 = madd(v128.load(x, 32), v128.shuffle<i16>(zero, v, 0, 8, 1, 9, 2, 10, 3, 11), s2);
      s3 = madd(v128.load(x, 48), v128.shuffle<i16>(zero, v, 4, 12, 5, 13, 6, 14, 7, 15), s3);
    } else {
      s0 = madd(v128.load(x), load4<T>(b), s0);
      s1 = madd(v128.load(x, 16), load4<T>(b + 4 * sizeof<T>()), s1);
      s2 = madd(v128.load(x, 32), load4<T>(b + 8 * sizeof<T>()), s2);
      s3 = madd(v128.load(x, 48), load4<T>(b + 12 * sizeof<T>()), s3);
    }
  }
  return sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** Dot products with contiguous columns, one after the other as they lie in memory. */
// @ts-ignore: decorator
@inline
function dots<T>(x: usize, b: usize, column: usize, c: usize, stepC: usize, columns: i32, K: i32): void {
  const isF16 = !isFloat<T>() && !isSigned<T>();
  const scaled = isF16 && scaleVector(x, K) ? x + (<usize>((K + 3) & ~3) << 2) : 0;
  for (let j = 0; j < columns; j++, b += column, c += stepC) {
    let sum: f32 = isF16 && scaled ? dotF16(scaled, b, K) : f32.NaN;
    if (isNaN(sum)) sum = dotSixteens<T>(x, b, K);
    for (let k = K & ~15; k < K; k++) sum += load<f32>(x + (<usize>k << 2)) * load1<T>(b + <usize>k * sizeof<T>());
    store<f32>(c, sum);
  }
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
