// Loads that lie side by side across rows instead of along them (a transposed matrix). Row by row they would touch a cache
// line per element and use a sixteenth of it, so the lines are read once for a group of rows.
import { loadWord, shiftOf } from "./loop-load";
import { BF16, F16 } from "./rows";

/**
 * Fills `rows` rows of a tile, `pitch` bytes apart, with elements pos .. pos + count - 1 of the space and those one, two, ...
 * rows below. The last axis of the entry has any stride, the one before it stride 1.
 */
export function fillTile(tile: usize, pitch: usize, entry: usize, pos: i32, count: i32, rows: i32): void {
  const dtype = load<i32>(entry, 4);
  const axes = load<i32>(entry, 8);
  let offset = 0;
  let rest = <u32>pos;
  let stride = 0;
  for (let axis = axes - 1; axis >= 0; axis--) {
    const size = load<u32>(entry + 12 + (<usize>axis << 3));
    const step = load<i32>(entry + 16 + (<usize>axis << 3));
    const above = rest / size;
    offset += <i32>(rest - above * size) * step;
    rest = above;
    if (axis == axes - 1) stride = step;
  }
  const shift = shiftOf(dtype);
  const from = load<usize>(entry) + (<usize>offset << shift);
  const step = <usize>stride << shift;
  let row = 0;
  if (dtype > 2 && dtype != BF16 && dtype != F16) {
    const whole = rows & ~3;
    let j = 0;
    for (; j + 4 <= count; j += 4) {
      const line = from + <usize>j * step;
      const to = tile + (<usize>j << 2);
      for (row = 0; row < whole; row += 4) {
        transpose4(to + <usize>row * pitch, pitch, line + (<usize>row << 2), step);
      }
    }
    for (; j < count; j++) {
      for (row = 0; row < whole; row++) {
        const word = load<i32>(from + <usize>j * step + (<usize>row << 2));
        store<i32>(tile + <usize>row * pitch + (<usize>j << 2), word);
      }
    }
    row = whole;
  }
  for (let j = 0; j < count; j++) {
    const line = from + <usize>j * step;
    for (let i = row; i < rows; i++) {
      store<i32>(tile + <usize>i * pitch + (<usize>j << 2), loadWord(dtype, line + (<usize>i << shift)));
    }
  }
}

// @ts-ignore: decorator
@inline
function transpose4(to: usize, pitch: usize, from: usize, step: usize): void {
  const a = v128.load(from);
  const b = v128.load(from + step);
  const c = v128.load(from + 2 * step);
  const d = v128.load(from + 3 * step);
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(to + pitch, v128.shuffle<i64>(ab, cd, 1, 3));
  v128.store(to + 2 * pitch, v128.shuffle<i64>(ef, gh, 0, 2));
  v128.store(to + 3 * pitch, v128.shuffle<i64>(ef, gh, 1, 3));
}
