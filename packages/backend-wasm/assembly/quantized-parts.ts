// Scales and mins of a row of quantized weights, for the kernels of few rows.
import { loadBf16x4, loadF16x4 } from "./half";
import { word } from "./matmul";
import { partAt } from "./quantized-codes";
import { madd } from "./simd";

const F16 = 6;
const F32 = 7;
/** Where the addresses of scales and mins are in the arguments. */
export const SCALES: usize = 8;
export const MINS: usize = 12;

/**
 * Scales or mins of row n, whose address is at `at` in the arguments: an f32 for each of 4 or more blocks of 32.
 *
 * @returns where they are: at `to`, or where they are stored if they lie so there
 */
export function spread(args: usize, at: usize, dtype: i32, n: i32, to: usize): usize {
  const blocks = word(args, 7) >> 5;
  const per = word(args, 8) >> 5;
  let parts = load<usize>(args + at);
  if (per != 1) {
    let g = n * (blocks / per);
    for (let b = 0; b < blocks; b += per, g++) {
      const part = partAt(dtype, parts, g);
      for (let i = b; i < b + per; i++) store<f32>(to + (<usize>i << 2), part);
    }
    return to;
  }
  if (dtype == F32) return parts + (<usize>(n * blocks) << 2);
  parts += <usize>(n * blocks) << 1;
  for (let b = 0; b < blocks; b += 4) {
    const i = min(b, blocks - 4); // the last four once more
    const from = parts + (<usize>i << 1);
    v128.store(to + (<usize>i << 2), dtype == F16 ? loadF16x4(from) : loadBf16x4(from));
  }
  return to;
}

/** What of the last four blocks comes after all whole fours. */
// @ts-ignore: decorator
@inline
export function lastOf(blocks: i32): v128 {
  return i32x4.gt_s(i32x4.splat(blocks & 3), v128.load(BACKWARDS));
}

/** Adds mins times `sums` of so many blocks. */
// @ts-ignore: decorator
@inline
export function addMins(s: v128, mins: usize, sums: usize, blocks: i32): v128 {
  for (let b = blocks; b >= 4; b -= 4, mins += 16, sums += 16) s = madd(v128.load(mins), v128.load(sums), s);
  const back = <usize>(4 - (blocks & 3)) << 2;
  return madd(v128.and(v128.load(mins - back), lastOf(blocks)), v128.load(sums - back), s);
}

const BACKWARDS: usize = memory.data<u32>([3, 2, 1, 0]);
