// Products of small blocks for attention: register tiles of 4 × 8, accumulated along the inner dimension. Strides are in
// bytes; blocks are padded by the caller, so there are no edges.
import { madd } from "./simd";

/**
 * c[m, n] = a[m, k] · b[k, n], or += where `adds`, for n a multiple of 8. a has rows `aRow` apart; b has panels of 8 columns, `bPanel` apart,
 * whose rows are `bRow` apart. Rows come in groups of 4. Where `visible` (a list of i32, or 0) is given, of panel j only the
 * first visible[j] rows are computed; where `starts` is given, row group i sums from place starts[i] on.
 */
export function product(
  m: i32,
  n: i32,
  k: i32,
  visible: usize,
  starts: usize,
  a: usize,
  aRow: usize,
  b: usize,
  bPanel: usize,
  bRow: usize,
  c: usize,
  cRow: usize,
  adds: bool,
): void {
  const end = <usize>k << 2;
  for (let j = 0; j < n; j += 8, b += bPanel, c += 32) {
    let a0 = a;
    let to = c;
    const rows = visible != 0 ? load<i32>(visible + (<usize>j >> 1)) : m;
    for (let i = 0; i < rows; i += 4) {
      const start = starts != 0 ? load<i32>(starts + <usize>i) : 0;
      const a1 = a0 + aRow;
      const a2 = a1 + aRow;
      const a3 = a2 + aRow;
      let c00 = f32x4.splat(0);
      let c01 = c00;
      let c10 = c00;
      let c11 = c00;
      let c20 = c00;
      let c21 = c00;
      let c30 = c00;
      let c31 = c00;
      if (adds) {
        c00 = v128.load(to);
        c01 = v128.load(to, 16);
        c10 = v128.load(to + cRow);
        c11 = v128.load(to + cRow, 16);
        c20 = v128.load(to + 2 * cRow);
        c21 = v128.load(to + 2 * cRow, 16);
        c30 = v128.load(to + 3 * cRow);
        c31 = v128.load(to + 3 * cRow, 16);
      }
      let from = b + <usize>start * bRow;
      for (let p = <usize>start << 2; p < end; p += 4, from += bRow) {
        const b0 = v128.load(from);
        const b1 = v128.load(from, 16);
        let x = v128.load32_splat(a0 + p);
        c00 = madd(x, b0, c00);
        c01 = madd(x, b1, c01);
        x = v128.load32_splat(a1 + p);
        c10 = madd(x, b0, c10);
        c11 = madd(x, b1, c11);
        x = v128.load32_splat(a2 + p);
        c20 = madd(x, b0, c20);
        c21 = madd(x, b1, c21);
        x = v128.load32_splat(a3 + p);
        c30 = madd(x, b0, c30);
        c31 = madd(x, b1, c31);
      }
      v128.store(to, c00);
      v128.store(to, c01, 16);
      to += cRow;
      v128.store(to, c10);
      v128.store(to, c11, 16);
      to += cRow;
      v128.store(to, c20);
      v128.store(to, c21, 16);
      to += cRow;
      v128.store(to, c30);
      v128.store(to, c31, 16);
      to += cRow;
      a0 = a3 + aRow;
    }
  }
}

/**
 * c[m, n] += aᵀ · b with a[k, m] of rows `aRow` apart; m a multiple of 4, n of 8. For the columns of a in panel i
 * (8 of them) the sum goes up to place visible[i].
 */
export function productT(
  m: i32,
  n: i32,
  visible: usize,
  a: usize,
  aRow: usize,
  b: usize,
  bPanel: usize,
  bRow: usize,
  c: usize,
  cRow: usize,
): void {
  for (let j = 0; j < n; j += 8, b += bPanel, c += 32) {
    let to0 = c;
    for (let i = 0; i < m; i += 4) {
      const to1 = to0 + cRow;
      const to2 = to1 + cRow;
      const to3 = to2 + cRow;
      let c00 = v128.load(to0);
      let c01 = v128.load(to0, 16);
      let c10 = v128.load(to1);
      let c11 = v128.load(to1, 16);
      let c20 = v128.load(to2);
      let c21 = v128.load(to2, 16);
      let c30 = v128.load(to3);
      let c31 = v128.load(to3, 16);
      let from = b;
      let column = a + (<usize>i << 2);
      const last = load<i32>(visible + (<usize>(i >> 3) << 2));
      for (let p = 0; p < last; p++) {
        const b0 = v128.load(from);
        const b1 = v128.load(from, 16);
        let x = v128.load32_splat(column);
        c00 = madd(x, b0, c00);
        c01 = madd(x, b1, c01);
        x = v128.load32_splat(column, 4);
        c10 = madd(x, b0, c10);
        c11 = madd(x, b1, c11);
        x = v128.load32_splat(column, 8);
        c20 = madd(x, b0, c20);
        c21 = madd(x, b1, c21);
        x = v128.load32_splat(column, 12);
        c30 = madd(x, b0, c30);
        c31 = madd(x, b1, c31);
        from += bRow;
        column += aRow;
      }
      v128.store(to0, c00);
      v128.store(to0, c01, 16);
      v128.store(to1, c10);
      v128.store(to1, c11, 16);
      v128.store(to2, c20);
      v128.store(to2, c21, 16);
      v128.store(to3, c30);
      v128.store(to3, c31, 16);
      to0 = to3 + cRow;
    }
  }
}

/** Rows of n f32 (n padded to a multiple of 4 by readable numbers) to panels of 8 rows, [rows / 8, n, 8], scaled. */
export function transposePanels(from: usize, row: usize, rows: i32, n: i32, scale: f32, to: usize): void {
  const s = f32x4.splat(scale);
  for (let i = 0; i < rows; i += 8) {
    for (let half: usize = 0; half < 2; half++) {
      const r0 = from + (<usize>i + half * 4) * row;
      const r1 = r0 + row;
      const r2 = r1 + row;
      const r3 = r2 + row;
      let out = to + half * 16;
      for (let d = 0; d < n; d += 4) {
        const at = <usize>d << 2;
        const v0 = v128.load(r0 + at);
        const v1 = v128.load(r1 + at);
        const v2 = v128.load(r2 + at);
        const v3 = v128.load(r3 + at);
        const t0 = v128.shuffle<f32>(v0, v1, 0, 4, 1, 5);
        const t1 = v128.shuffle<f32>(v2, v3, 0, 4, 1, 5);
        const t2 = v128.shuffle<f32>(v0, v1, 2, 6, 3, 7);
        const t3 = v128.shuffle<f32>(v2, v3, 2, 6, 3, 7);
        v128.store(out, f32x4.mul(v128.shuffle<f32>(t0, t1, 0, 1, 4, 5), s));
        if (d + 1 < n) v128.store(out, f32x4.mul(v128.shuffle<f32>(t0, t1, 2, 3, 6, 7), s), 32);
        if (d + 2 < n) v128.store(out, f32x4.mul(v128.shuffle<f32>(t2, t3, 0, 1, 4, 5), s), 64);
        if (d + 3 < n) v128.store(out, f32x4.mul(v128.shuffle<f32>(t2, t3, 2, 3, 6, 7), s), 96);
        out += 128;
      }
    }
    to += <usize>n << 5;
  }
}

/** out += part for `rows` rows of n numbers. */
export function accumulate(part: usize, partRow: usize, rows: i32, n: i32, out: usize, outRow: usize): void {
  const bytes = <usize>n << 2;
  const whole = bytes & ~15;
  for (let i = 0; i < rows; i++) {
    let at: usize = 0;
    for (; at < whole; at += 16) v128.store(out + at, f32x4.add(v128.load(out + at), v128.load(part + at)));
    for (; at < bytes; at += 4) store<f32>(out + at, load<f32>(out + at) + load<f32>(part + at));
    part += partRow;
    out += outRow;
  }
}
