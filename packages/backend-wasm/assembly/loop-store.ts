// Writing block registers to memory, narrowed to the dtype of the stored value.
import { f32ToBf16, f32ToF16, f32x4ToBf16, f32x4ToF16 } from "./half";
import { copyWords } from "./loop-load";
import { BF16, F16, F64 } from "./rows";

const BOOL: i32 = 0;
const I8: i32 = 2;

/** Writes exactly `count` elements of the block at `from`. Bools are masks in registers; integers are in range. */
export function storeBlock(to: usize, dtype: i32, from: usize, count: i32): void {
  if (dtype == F64) {
    copyWords(to, from, <usize>count << 3);
  } else if (dtype == F16) {
    let i = 0;
    for (; i + 8 <= count; i += 8, to += 16, from += 32) {
      v128.store(to, i16x8.narrow_i32x4_u(f32x4ToF16(v128.load(from)), f32x4ToF16(v128.load(from, 16))));
    }
    for (; i < count; i++, to += 2, from += 4) store<u16>(to, f32ToF16(load<f32>(from)));
  } else if (dtype == BF16) {
    let i = 0;
    for (; i + 8 <= count; i += 8, to += 16, from += 32) {
      const a = f32x4ToBf16(v128.load(from));
      const b = f32x4ToBf16(v128.load(from, 16));
      v128.store(to, i16x8.narrow_i32x4_u(a, b));
    }
    for (; i < count; i++, to += 2, from += 4) store<u16>(to, f32ToBf16(load<f32>(from)));
  } else if (dtype <= I8) {
    const mask = dtype == BOOL ? 1 : 255;
    const lanes = i32x4.splat(mask);
    let i = 0;
    for (; i + 8 <= count; i += 8, to += 8, from += 32) {
      const a = v128.and(v128.load(from), lanes);
      const b = v128.and(v128.load(from, 16), lanes);
      const halves = i16x8.narrow_i32x4_u(a, b);
      v128.store64_lane(to, i8x16.narrow_i16x8_u(halves, halves), 0);
    }
    for (; i < count; i++, to++, from += 4) store<u8>(to, load<i32>(from) & mask);
  } else {
    copyWords(to, from, <usize>count << 2);
  }
}
