// Solving with triangles: blocks of the diagonal by substitution on packed columns, the rest by `gemm`.
import { fail, operand, word } from "./args";
import { SINGULAR } from "./faults";
import { gemm, GEMM_SCRATCH } from "./gemm";
import { transpose } from "./prepare";
import { loadSplat, madd } from "./simd";

/** Size of a block of the diagonal, and most columns that are solved at once. */
const BLOCK = 64;
const COLUMNS = 64;
const DIAGONAL_BYTES: usize = BLOCK * BLOCK * 8;
export const TRIANGLE_SCRATCH: usize = GEMM_SCRATCH + DIAGONAL_BYTES + BLOCK * (COLUMNS + 8) * 8;

/** D X = P in place, D lower [n, n] with negated elements below the diagonal; rows of P are `width` bytes, whole 64s. */
function substitute<T>(d: usize, p: usize, width: usize, n: i32, unit: bool): void {
  const row = <usize>n * sizeof<T>();
  for (let g: usize = 0; g < width; g += 64) {
    let i = 0;
    for (; i + 2 <= n; i += 2) {
      const d0 = d + <usize>i * row;
      const d1 = d0 + row;
      const at = p + <usize>i * width + g;
      let x0 = v128.load(at);
      let x1 = v128.load(at, 16);
      let x2 = v128.load(at, 32);
      let x3 = v128.load(at, 48);
      let y0 = v128.load(at + width);
      let y1 = v128.load(at + width, 16);
      let y2 = v128.load(at + width, 32);
      let y3 = v128.load(at + width, 48);
      let q = p + g;
      for (let j = 0; j < i; j++, q += width) {
        const q0 = v128.load(q);
        const q1 = v128.load(q, 16);
        const q2 = v128.load(q, 32);
        const q3 = v128.load(q, 48);
        let s = loadSplat<T>(d0 + <usize>j * sizeof<T>());
        x0 = madd<T>(s, q0, x0);
        x1 = madd<T>(s, q1, x1);
        x2 = madd<T>(s, q2, x2);
        x3 = madd<T>(s, q3, x3);
        s = loadSplat<T>(d1 + <usize>j * sizeof<T>());
        y0 = madd<T>(s, q0, y0);
        y1 = madd<T>(s, q1, y1);
        y2 = madd<T>(s, q2, y2);
        y3 = madd<T>(s, q3, y3);
      }
      if (!unit) {
        const s = loadSplat<T>(d0 + <usize>i * sizeof<T>());
        x0 = v128.div<T>(x0, s);
        x1 = v128.div<T>(x1, s);
        x2 = v128.div<T>(x2, s);
        x3 = v128.div<T>(x3, s);
      }
      v128.store(at, x0);
      v128.store(at, x1, 16);
      v128.store(at, x2, 32);
      v128.store(at, x3, 48);
      const s = loadSplat<T>(d1 + <usize>i * sizeof<T>());
      y0 = madd<T>(s, x0, y0);
      y1 = madd<T>(s, x1, y1);
      y2 = madd<T>(s, x2, y2);
      y3 = madd<T>(s, x3, y3);
      if (!unit) {
        const t = loadSplat<T>(d1 + <usize>(i + 1) * sizeof<T>());
        y0 = v128.div<T>(y0, t);
        y1 = v128.div<T>(y1, t);
        y2 = v128.div<T>(y2, t);
        y3 = v128.div<T>(y3, t);
      }
      v128.store(at + width, y0);
      v128.store(at + width, y1, 16);
      v128.store(at + width, y2, 32);
      v128.store(at + width, y3, 48);
    }
    if (i < n) {
      const d0 = d + <usize>i * row;
      for (let h: usize = 0; h < 64; h += 16) {
        const at = p + <usize>i * width + g + h;
        let x = v128.load(at);
        let q = p + g + h;
        for (let j = 0; j < i; j++, q += width)
          x = madd<T>(loadSplat<T>(d0 + <usize>j * sizeof<T>()), v128.load(q), x);
        if (!unit) x = v128.div<T>(x, loadSplat<T>(d0 + <usize>i * sizeof<T>()));
        v128.store(at, x);
      }
    }
  }
}

/** Copies a matrix; one that is to be turned by tiles. */
function move<T>(
  from: usize, rowFrom: usize, columnFrom: usize, to: usize, rowTo: usize, columnTo: usize, rows: i32, columns: i32,
): void {
  const size = sizeof<T>();
  if (rowFrom == size) return transpose<T>(from, columnFrom, to, rowTo, rows, columns, 1);
  if (rowTo == size) return transpose<T>(from, rowFrom, to, columnTo, columns, rows, 1);
  for (let i = 0; i < rows; i++, from += rowFrom, to += rowTo) {
    if (columnFrom == columnTo) memory.copy(to, from, <usize>columns * size);
    else for (let j = 0; j < columns; j++) store<T>(to + <usize>j * columnTo, load<T>(from + <usize>j * columnFrom));
  }
}

/** X = A⁻¹ X on one thread for k columns; `forward`: A is lower, else upper. */
export function solveTriangle<T>(
  a: usize, rowA: usize, columnA: usize, x: usize, rowX: usize, columnX: usize, n: i32, k: i32, forward: bool,
  unit: bool, scratch: usize,
): void {
  const d = scratch + GEMM_SCRATCH;
  const p = d + DIAGONAL_BYTES;
  for (let c = 0; c < k; c += COLUMNS) {
    const columns = min(COLUMNS, k - c);
    const width = (<usize>columns * sizeof<T>() + 63) & ~63;
    const at = x + <usize>c * columnX;
    for (let s = 0; s < n; s += BLOCK) {
      const size = min(BLOCK, n - s);
      // Row l of the block is row s + l, or the same from the end.
      const first = forward ? s : n - 1 - s;
      const sign: isize = forward ? 1 : -1;
      const corner = a + <usize>first * (rowA + columnA);
      for (let i = 0; i < size; i++) {
        for (let j = 0; j <= i; j++) {
          const value = load<T>(corner + <usize>(sign * (<isize>i * <isize>rowA + <isize>j * <isize>columnA)));
          store<T>(d + <usize>(i * size + j) * sizeof<T>(), i == j ? value : -value);
        }
      }
      const here = at + <usize>first * rowX;
      const step = forward ? rowX : 0 - rowX;
      if (<usize>columns * sizeof<T>() < width) memory.fill(p, 0, <usize>size * width);
      move<T>(here, step, columnX, p, width, sizeof<T>(), size, columns);
      substitute<T>(d, p, width, size, unit);
      move<T>(p, width, sizeof<T>(), here, step, columnX, size, columns);
      const rest = n - s - size;
      if (rest == 0) continue;
      const block = <usize>(forward ? s : rest);
      const others = <usize>(forward ? s + size : 0);
      const left = a + others * rowA + block * columnA;
      const solved = at + block * rowX;
      const target = at + others * rowX;
      if (columnX == sizeof<T>())
        gemm<T>(rest, columns, size, <T>-1, left, rowA, columnA, solved, rowX, columnX, target, rowX, scratch);
      else gemm<T>(columns, rest, size, <T>-1, solved, columnX, rowX, left, columnA, rowA, target, columnX, scratch);
    }
  }
}

/** 6 a  8 row  9 column  10 x  12 row  13 column  14 n  15 k  16 forward  17 unit  18 columns of a unit */
export function triangular<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const most = word(args, 18);
  const first = unit * most;
  const columnX = <usize>word(args, 13);
  const x = operand(args, 10, b) + <usize>first * columnX;
  const k = min(most, word(args, 15) - first);
  solveTriangle<T>(
    operand(args, 6, b), <usize>word(args, 8), <usize>word(args, 9), x, <usize>word(args, 12), columnX,
    word(args, 14), k, word(args, 16) != 0, word(args, 17) != 0, scratch,
  );
}

/** A zero on the diagonal is a fault. 6 a  8 bytes between its elements  9 n */
export function regular<T>(args: usize, b: i32): void {
  let at = operand(args, 6, b);
  for (let i = 0; i < word(args, 9); i++, at += <usize>word(args, 8))
    if (load<T>(at) == 0) return fail(args, b, SINGULAR, i, 0, 0);
}
