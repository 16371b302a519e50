// Panels of a quantized right operand for the tiles of matmul.ts: 8 columns over a block of k, widened on the way.
//
//   QUANTIZED_PACK  0 codes  1 scales  2 mins (0: none)  3 dst  4 depth K  5 columns N  6 first column
//                   7 depth of a block  8 bits  9 group size  10 columns of the stored matrix  11 dtype of scales
//                   12 dtype of mins  13 whether k runs over the rows of the stored matrix
import { cut, word } from "./matmul";
import { codeAt, codes8, highFloats, lowFloats, partAt } from "./quantized-codes";
import { madd } from "./simd";

/** A chunk packs some of the panels over the whole depth. */
export function quantizedPack(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const K = word(args, 4);
  const N = word(args, 5);
  const block = word(args, 7);
  const panels = (N + 7) >> 3;
  const first = cut(panels, chunk, chunks);
  const last = cut(panels, chunk + 1, chunks);
  const byRows = word(args, 13) != 0;
  for (let k = 0; k < K; k += block) {
    const kc = min(block, K - k);
    const base = load<usize>(args, 12) + (<usize>(k * panels) << 5);
    for (let panel = first; panel < last; panel++) {
      const dst = base + (<usize>(panel * kc) << 5);
      const columns = min(8, N - panel * 8);
      const column = word(args, 6) + panel * 8;
      if (byRows) packAcross(args, k, kc, column, columns, dst);
      else packAlong(args, k, kc, column, columns, dst);
    }
  }
}

/** Columns are rows of the stored matrix: each is widened along k and spread over its lane. */
function packAlong(args: usize, k0: i32, kc: i32, column: i32, columns: i32, dst: usize): void {
  const bits = word(args, 8);
  const group = word(args, 9);
  const width = word(args, 10);
  const mins = load<usize>(args, 8);
  const vectors = group & 7 ? 0 : kc & ~7;
  for (let j = 0; j < 8; j++, dst += 4) {
    if (j >= columns) {
      for (let k = 0; k < kc; k++) store<f32>(dst + (<usize>k << 5), 0);
      continue;
    }
    const row = column + j;
    const codes = load<usize>(args) + <usize>((row * width) >> (bits == 4 ? 1 : 0));
    const parts = row * (width / group);
    let k = 0;
    for (; k < vectors; k += 8) {
      const part = parts + (k0 + k) / group;
      const scale = f32x4.splat(partAt(word(args, 11), load<usize>(args, 4), part));
      const least = f32x4.splat(mins ? partAt(word(args, 12), mins, part) : 0);
      const q = codes8(bits, codes, k0 + k);
      const low = madd(lowFloats(q), scale, least);
      const high = madd(highFloats(q), scale, least);
      const to = dst + (<usize>k << 5);
      v128.store32_lane(to, low, 0);
      v128.store32_lane(to, low, 1, 32);
      v128.store32_lane(to, low, 2, 64);
      v128.store32_lane(to, low, 3, 96);
      v128.store32_lane(to, high, 0, 128);
      v128.store32_lane(to, high, 1, 160);
      v128.store32_lane(to, high, 2, 192);
      v128.store32_lane(to, high, 3, 224);
    }
    for (; k < kc; k++) store<f32>(dst + (<usize>k << 5), weight(args, codes, parts, k0 + k));
  }
}

/** k runs over the rows of the stored matrix: eight neighbours of each row are a line of the panel. */
function packAcross(args: usize, k0: i32, kc: i32, column: i32, columns: i32, dst: usize): void {
  const bits = word(args, 8);
  const group = word(args, 9);
  const width = word(args, 10);
  const mins = load<usize>(args, 8);
  const whole = columns == 8 && (group & 7) == 0;
  for (let k = 0; k < kc; k++, dst += 32) {
    const row = k0 + k;
    const codes = load<usize>(args) + <usize>((row * width) >> (bits == 4 ? 1 : 0));
    const parts = row * (width / group);
    if (whole) {
      const part = parts + column / group;
      const scale = f32x4.splat(partAt(word(args, 11), load<usize>(args, 4), part));
      const least = f32x4.splat(mins ? partAt(word(args, 12), mins, part) : 0);
      const q = codes8(bits, codes, column);
      v128.store(dst, madd(lowFloats(q), scale, least));
      v128.store(dst, madd(highFloats(q), scale, least), 16);
    } else {
      for (let j = 0; j < 8; j++) {
        store<f32>(dst + (<usize>j << 2), j < columns ? weight(args, codes, parts, column + j) : 0);
      }
    }
  }
}

/** One number of the matrix: `parts` is the index of the first scale of its row. */
function weight(args: usize, codes: usize, parts: i32, k: i32): f32 {
  const part = parts + k / word(args, 9);
  const mins = load<usize>(args, 8);
  const least: f32 = mins ? partAt(word(args, 12), mins, part) : 0;
  return <f32>codeAt(word(args, 8), codes, k) * partAt(word(args, 11), load<usize>(args, 4), part) + least;
}
