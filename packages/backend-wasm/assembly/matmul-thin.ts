// Products with one row. Argument words: see matmul.ts.
import { loadF16x4 } from "./half";
import { cut, locateBatch, offsetA, offsetB, offsetC, word } from "./matmul";
import { load1, load4, packedSize } from "./matmul-pack";
import { partAt } from "./quantized-codes";
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
  const stepC = <usize>word(args, 17) << 2;
  const inPlace = stepA == 1 && dtypeA != F16 && dtypeA != BF16;
  let ready: usize = 0;
  let fast = true;
  const last = cut(units, chunk + 1, chunks);
  for (let unit = cut(units, chunk, chunks); unit < last; unit++) {
    // All rows that share a b pass over one block of its columns before the next.
    locateBatch(args, unit % matrices, sizeA, sizeB, 4);
    const column = (unit / matrices) * columnBlock;
    const columns = min(columnBlock, N - column);
    const a = load<usize>(args) + offsetA();
    const x = inPlace ? a : scratch;
    if (a != ready) {
      if (!inPlace) copyVector(dtypeA, a, stepA, K, scratch);
      if (stepB == 1 && sizeB == 2) fast = splitVector(x, K, secondRow(scratch, K), dtypeB == F16);
      ready = a;
    }
    const b = load<usize>(args, 4) + offsetB() + <usize>(column * columnB) * sizeB;
    const c = load<usize>(args, 8) + offsetC() + (<usize>(column * word(args, 17)) << 2);
    const split = secondRow(scratch, K);
    if (dtypeB == F16) vectorTimes<u16>(x, split, fast, b, c, columns, K, stepB, columnB, stepC);
    else if (dtypeB == BF16) vectorTimes<i16>(x, split, fast, b, c, columns, K, stepB, columnB, stepC);
    else vectorTimes<f32>(x, x, true, b, c, columns, K, stepB, columnB, stepC);
  }
}

// @ts-ignore: decorator
@inline
function secondRow(scratch: usize, K: i32): usize {
  return scratch + (<usize>((K + 3) & ~3) << 2);
}

function copyVector(dtype: i32, src: usize, step: i32, size: i32, dst: usize): void {
  for (let i = 0; i < size; i++) store<f32>(dst + (<usize>i << 2), partAt(dtype, src, i * step));
}

function vectorTimes<T>(x: usize, split: usize, fast: bool, b: usize, c: usize, columns: i32, K: i32, stepB: i32, columnB: i32, stepC: usize): void {
  const step = <usize>stepB * sizeof<T>();
  const column = <usize>columnB * sizeof<T>();
  let j = 0;
  if (stepB == 1) {
    dots<T>(x, split, fast, b, column, c, stepC, columns, K);
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

// Constants are read from memory: see half.ts. Sign and magnitude of an f16 three places below those of an f32; the factors
// that bring the lower of two f16 there; the bit of all f16 from 2 on; the upper half of a lane.
const HALF: usize = memory.data<u32>([0x8fffe000, 0x2000, 0x40004000, 0xffff0000]);

/**
 * Copies the whole eights of x, numbers of even place before those of odd, as they meet the halves of lanes. For f16 they
 * are multiplied by 2^112, so that its bits may be taken for f32 whose exponent is 112 too low.
 *
 * @returns whether no product can overflow for that
 */
function splitVector(x: usize, K: i32, to: usize, isF16: bool): bool {
  const factor = f32x4.splat(isF16 ? reinterpret<f32>(0x77800000) : 1);
  let peak = i32x4.splat(0);
  for (let k = 0; k + 8 <= K; k += 8, x += 32, to += 32) {
    const u = v128.load(x);
    const v = v128.load(x, 16);
    peak = f32x4.pmax(peak, f32x4.pmax(f32x4.abs(u), f32x4.abs(v)));
    v128.store(to, f32x4.mul(v128.shuffle<i32>(u, v, 0, 2, 4, 6), factor));
    v128.store(to, f32x4.mul(v128.shuffle<i32>(u, v, 1, 3, 5, 7), factor), 16);
  }
  return !isF16 || !v128.any_true(f32x4.ge(peak, f32x4.splat(32768)));
}

/**
 * c = Σ x[k] b[k] over the whole sixteens of K for four columns, `far` bytes apart: memory is read ahead of several walks. For
 * halves x is what `splitVector` made.
 */
// @ts-ignore: decorator
@inline
function quad<T>(x: usize, b: usize, far: usize, c: usize, farC: usize, K: i32): void {
  const zero = i32x4.splat(0);
  let s0 = zero;
  let s1 = zero;
  let s2 = zero;
  let s3 = zero;
  let t0 = zero;
  let t1 = zero;
  let t2 = zero;
  let t3 = zero;
  const mask = v128.load32_splat(HALF, 12);
  for (let k = K & ~15; k > 0; k -= 8, b += 8 * sizeof<T>(), x += 32) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const b1 = b + far;
    const b2 = b1 + far;
    const b3 = b2 + far;
    if (isFloat<T>()) {
      s0 = madd(x0, v128.load(b), s0);
      t0 = madd(x1, v128.load(b, 16), t0);
      s1 = madd(x0, v128.load(b1), s1);
      t1 = madd(x1, v128.load(b1, 16), t1);
      s2 = madd(x0, v128.load(b2), s2);
      t2 = madd(x1, v128.load(b2, 16), t2);
      s3 = madd(x0, v128.load(b3), s3);
      t3 = madd(x1, v128.load(b3, 16), t3);
    } else {
      let u = v128.load(b);
      s0 = madd(x0, i32x4.shl(u, 16), s0);
      t0 = madd(x1, v128.and(u, mask), t0);
      u = v128.load(b1);
      s1 = madd(x0, i32x4.shl(u, 16), s1);
      t1 = madd(x1, v128.and(u, mask), t1);
      u = v128.load(b2);
      s2 = madd(x0, i32x4.shl(u, 16), s2);
      t2 = madd(x1, v128.and(u, mask), t2);
      u = v128.load(b3);
      s3 = madd(x0, i32x4.shl(u, 16), s3);
      t3 = madd(x1, v128.and(u, mask), t3);
    }
  }
  store<f32>(c, sumLanes(f32x4.add(s0, t0)));
  store<f32>(c + farC, sumLanes(f32x4.add(s1, t1)));
  store<f32>(c + 2 * farC, sumLanes(f32x4.add(s2, t2)));
  store<f32>(c + 3 * farC, sumLanes(f32x4.add(s3, t3)));
}

/**
 * The same for f16, whose bits are taken for numbers 2^112 times too small, and for eight columns. Infinities and NaN come out
 * wrong.
 *
 * @returns whether there may be some: an f16 is 2 or more
 */
function eightF16(x: usize, b: usize, far: usize, c: usize, farC: usize, K: i32): bool {
  let s0 = i32x4.splat(0);
  let s1 = s0;
  let s2 = s0;
  let s3 = s0;
  let s4 = s0;
  let s5 = s0;
  let s6 = s0;
  let s7 = s0;
  let seen = s0;
  const mask = v128.load32_splat(HALF);
  const up = v128.load32_splat(HALF, 4);
  for (let k = K & ~15; k > 0; k -= 8, b += 16, x += 32) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    let at = b;
    let u = v128.load(at);
    seen = v128.or(seen, u);
    s0 = addHalves(u, x0, x1, s0, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s1 = addHalves(u, x0, x1, s1, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s2 = addHalves(u, x0, x1, s2, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s3 = addHalves(u, x0, x1, s3, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s4 = addHalves(u, x0, x1, s4, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s5 = addHalves(u, x0, x1, s5, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s6 = addHalves(u, x0, x1, s6, mask, up);
    u = v128.load((at += far));
    seen = v128.or(seen, u);
    s7 = addHalves(u, x0, x1, s7, mask, up);
  }
  store<f32>(c, sumLanes(s0));
  store<f32>((c += farC), sumLanes(s1));
  store<f32>((c += farC), sumLanes(s2));
  store<f32>((c += farC), sumLanes(s3));
  store<f32>((c += farC), sumLanes(s4));
  store<f32>((c += farC), sumLanes(s5));
  store<f32>((c += farC), sumLanes(s6));
  store<f32>((c += farC), sumLanes(s7));
  return v128.any_true(v128.and(seen, v128.load32_splat(HALF, 8)));
}

/**
 * s + the products of the lower f16 of each lane with x0 and of the upper one with x1. Products with 2^13 and 0 bring the lower
 * one to its place in a lane and extend it, a shift the upper one.
 */
// @ts-ignore: decorator
@inline
function addHalves(lanes: v128, x0: v128, x1: v128, s: v128, mask: v128, up: v128): v128 {
  s = madd(x0, v128.and(i32x4.dot_i16x8_s(lanes, up), mask), s);
  return madd(x1, v128.and(i32x4.shr_s(lanes, 3), mask), s);
}

/** Whether some f16 of the whole sixteens is infinite or NaN. */
function isSpecial(b: usize, K: i32): bool {
  let peak = i32x4.splat(0);
  for (const end = b + (<usize>(K & ~15) << 1); b < end; b += 16) peak = i16x8.max_u(peak, i16x8.shl(v128.load(b), 1));
  return v128.any_true(i16x8.ge_u(peak, i16x8.splat(<i16>0xf800)));
}

/** Σ x[k] b[k] over the whole sixteens of K. */
function dotSixteens<T>(x: usize, b: usize, K: i32): f32 {
  let s = i32x4.splat(0);
  let t = s;
  for (let k = K & ~15; k > 0; k -= 8, b += 8 * sizeof<T>(), x += 32) {
    s = madd(v128.load(x), load4<T>(b), s);
    t = madd(v128.load(x, 16), load4<T>(b + 4 * sizeof<T>()), t);
  }
  return sumLanes(f32x4.add(s, t));
}

/** Dot products with contiguous columns: several walks through memory, then the columns that are left. */
// @ts-ignore: decorator
@inline
function dots<T>(x: usize, split: usize, fast: bool, b: usize, column: usize, c: usize, stepC: usize, columns: i32, K: i32): void {
  const isF16 = !isFloat<T>() && !isSigned<T>();
  const part = fast ? columns >> (isF16 ? 3 : 2) : 0;
  const far = <usize>part * column;
  const farC = <usize>part * stepC;
  for (let j = 0; j < part; j++) {
    const from = b + <usize>j * column;
    const to = c + <usize>j * stepC;
    if (!isF16) quad<T>(split, from, far, to, farC, K);
    else if (eightF16(split, from, far, to, farC, K)) {
      for (let i: usize = 0; i < 8; i++) {
        if (isSpecial(from + i * far, K)) store<f32>(to + i * farC, dotSixteens<T>(x, from + i * far, K));
      }
    }
  }
  for (let j = part << (isF16 ? 3 : 2); j < columns; j++) {
    store<f32>(c + <usize>j * stepC, dotSixteens<T>(x, b + <usize>j * column, K));
  }
  if ((K & 15) == 0) return;
  for (let j = 0; j < columns; j++, b += column, c += stepC) {
    let sum = load<f32>(c);
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
