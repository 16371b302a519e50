// Divide and conquer for tridiagonal eigenproblems (Cuppen 1981, Gu and Eisenstat 1995) and bidiagonal singular values (Gu and
// Eisenstat 1995; LAPACK's laed1-3, lasd1-3): leaves by QR iterations, then from the leaves up the merging of two halves. Vectors
// are rows. Words of all kernels here:
//   6 nodes: lo, mid, hi each  7 units of a node  8 singular values  9 n
//   10 q, or u  12 row  13 v  15 row  16 room like q  18 room like v  20 values  22 diagonal  24 off-diagonal
//   26 z  28 poles  30 z of the poles  32 source of each new row (i32)  34 pole of each of them (i32)  36 facts of the nodes
//   38 distances and weights of v  40 row  41 weights of u  43 row
import { cut, fail, operand, word } from "./args";
import { NO_CONVERGENCE } from "./faults";
import { gemm } from "./gemm";
import { secularRoot } from "./secular";
import { bidiagonalQr, tridiagonalQl } from "./small";
import { dot } from "./vector";

// @ts-ignore: decorator
@inline
export function node(args: usize, unit: i32, index: i32): i32 {
  return load<i32>(load<usize>(args, 6 << 2) + <usize>((unit / word(args, 7)) * 3 + index) * 4);
}

// @ts-ignore: decorator
@inline
export function numbers(args: usize, index: i32, b: i32, from: i32): usize {
  return operand(args, index, b) + (<usize>from << 3);
}

// @ts-ignore: decorator
@inline
export function whole(args: usize, index: i32, b: i32, from: i32): usize {
  return operand(args, index, b) + (<usize>from << 2);
}

/** Writes rows of f64 as rows of T. */
function narrow<T>(from: usize, row: usize, to: usize, rowTo: usize, rows: i32, columns: i32): void {
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++)
      store<T>(to + <usize>i * rowTo + <usize>j * sizeof<T>(), <T>load<f64>(from + <usize>i * row + (<usize>j << 3)));
}

function makeIdentity(at: usize, row: usize, n: i32): void {
  memory.fill(at, 0, <usize>n * row);
  for (let i = 0; i < n; i++) store<f64>(at + <usize>i * (row + 8), 1);
}

/** A leaf [lo, hi): its values and vectors. */
export function leaf<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const lo = node(args, unit, 0);
  const hi = node(args, unit, 2);
  const n = word(args, 9);
  const k = hi - lo;
  const row = <usize>(k + 1) << 3;
  const d = scratch;
  const e = d + row;
  const u = e + row;
  const v = u + row * (k + 1);
  const size = sizeof<T>();
  memory.copy(d, numbers(args, 22, b, lo), <usize>k << 3);
  memory.copy(e, numbers(args, 24, b, lo), <usize>k << 3);
  makeIdentity(u, row, k);
  let failed: i32;
  const q = operand(args, 10, b) + <usize>lo * (<usize>word(args, 12) + size);
  if (word(args, 8)) {
    const wide = hi < n;
    const columns = k + (wide ? 1 : 0);
    makeIdentity(v, row, columns);
    failed = bidiagonalQr(d, e, k, wide, u, v, row);
    narrow<T>(v, row, operand(args, 13, b) + <usize>lo * (<usize>word(args, 15) + size), <usize>word(args, 15), columns, columns);
  } else {
    // T = diag(T₁, T₂) + |e| w wᵀ at every cut
    const before = lo > 0 ? abs(load<f64>(numbers(args, 24, b, lo - 1))) : <f64>0;
    const after = hi < n ? abs(load<f64>(numbers(args, 24, b, hi - 1))) : <f64>0;
    store<f64>(d, load<f64>(d) - before);
    const last = d + (<usize>(k - 1) << 3);
    store<f64>(last, load<f64>(last) - after);
    failed = tridiagonalQl(d, e, k, u, row);
  }
  if (failed) return fail(args, b, NO_CONVERGENCE, 80, 0, 1);
  narrow<T>(u, row, q, <usize>word(args, 12), k, k);
  memory.copy(numbers(args, 20, b, lo), d, <usize>k << 3);
}

/** Moves the rows that a merging reads. */
export function gather<T>(args: usize, b: i32, unit: i32): void {
  const lo = node(args, unit, 0);
  const hi = node(args, unit, 2);
  const parts = word(args, 7);
  const part = unit % parts;
  const size = sizeof<T>();
  const row = <usize>word(args, 12);
  const rowV = <usize>word(args, 15);
  const columns = hi - lo;
  const sources = whole(args, 32, b, lo);
  const last = cut(columns, part + 1, parts);
  const at = <usize>lo * size;
  for (let c = cut(columns, part, parts); c < last; c++) {
    const from = <usize>load<i32>(sources + (<usize>c << 2));
    const to = <usize>(lo + c);
    memory.copy(operand(args, 16, b) + to * row + at, operand(args, 10, b) + from * row + at, <usize>columns * size);
    if (!word(args, 8)) continue;
    const wide = columns + (hi < word(args, 9) ? 1 : 0);
    memory.copy(operand(args, 18, b) + to * rowV + at, operand(args, 13, b) + from * rowV + at, <usize>wide * size);
  }
}

/** Facts of a node: poles, how many of them are of the first half alone, of both; rho. */
export const POLES: usize = 0;
export const FIRST: usize = 4;
export const BOTH: usize = 8;
export const RHO: usize = 16;

/** Some roots of the secular equation, and the distances of all poles from each. */
export function secular(args: usize, b: i32, unit: i32): void {
  const lo = node(args, unit, 0);
  const parts = word(args, 7);
  const facts = numbers(args, 36, b, lo);
  const k = load<i32>(facts + POLES);
  const last = cut(k, (unit % parts) + 1, parts);
  const row = <usize>word(args, 40);
  const squared = word(args, 8) != 0;
  for (let j = cut(k, unit % parts, parts); j < last; j++) {
    const gaps = operand(args, 38, b) + <usize>(lo + j) * row + (<usize>lo << 3);
    const poles = numbers(args, 28, b, lo);
    const root = secularRoot(poles, numbers(args, 30, b, lo), k, j, load<f64>(facts + RHO), squared, gaps);
    if (!(root == root)) return fail(args, b, NO_CONVERGENCE, 120, 0, 1);
    store<f64>(numbers(args, 20, b, lo + j), root);
  }
}

// @ts-ignore: decorator
@inline
function distances(d: usize, i: i32, y: v128, squared: bool): v128 {
  const x = v128.load(d + (<usize>i << 3));
  const difference = f64x2.sub(x, y);
  return squared ? f64x2.mul(difference, f64x2.add(x, y)) : difference;
}

/** z[from..to) *= gap[i] / (δ_i - δ_j) */
function scaleWeights(z: usize, gap: usize, d: usize, j: i32, from: i32, to: i32, squared: bool): void {
  const pole = load<f64>(d + (<usize>j << 3));
  const y = f64x2.splat(pole);
  let i = from;
  for (; i + 2 <= to; i += 2) {
    const at = <usize>i << 3;
    const ratio = f64x2.div(v128.load(gap + at), distances(d, i, y, squared));
    v128.store(z + at, f64x2.mul(v128.load(z + at), ratio));
  }
  for (; i < to; i++) {
    const at = <usize>i << 3;
    const x = load<f64>(d + at);
    const distance = squared ? (x - pole) * (x + pole) : x - pole;
    store<f64>(z + at, load<f64>(z + at) * (load<f64>(gap + at) / distance));
  }
}

/**
 * Some of the z for which the roots found are exact: z_i² = Π_j (λ_j - δ_i) / Π_{j ≠ i} (δ_j - δ_i), up to 1 / rho. With them
 * the vectors are orthogonal whatever the error of the roots.
 */
export function weights(args: usize, b: i32, unit: i32): void {
  const lo = node(args, unit, 0);
  const parts = word(args, 7);
  const k = load<i32>(numbers(args, 36, b, lo) + POLES);
  const first = cut(k, unit % parts, parts);
  const last = cut(k, (unit % parts) + 1, parts);
  const z = numbers(args, 26, b, lo);
  const d = numbers(args, 28, b, lo);
  const squared = word(args, 8) != 0;
  for (let i = first; i < last; i++) store<f64>(z + (<usize>i << 3), 1);
  for (let j = 0; j < k; j++) {
    const gap = operand(args, 38, b) + <usize>(lo + j) * <usize>word(args, 40) + (<usize>lo << 3);
    scaleWeights(z, gap, d, j, first, min(max(j, first), last), squared);
    if (j >= first && j < last) {
      const at = <usize>j << 3;
      store<f64>(z + at, load<f64>(z + at) * load<f64>(gap + at));
    }
    scaleWeights(z, gap, d, j, max(first, min(j + 1, last)), last, squared);
  }
  const old = numbers(args, 30, b, lo);
  for (let i = first; i < last; i++) {
    const at = <usize>i << 3;
    store<f64>(z + at, copysign<f64>(sqrt<f64>(abs(load<f64>(z + at))), load<f64>(old + at)));
  }
}

/** Some vectors of the inner problem as rows of T, poles in the order of the new rows: over the distances, and weights of u. */
export function vectors<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const lo = node(args, unit, 0);
  const parts = word(args, 7);
  const k = load<i32>(numbers(args, 36, b, lo) + POLES);
  const last = cut(k, (unit % parts) + 1, parts);
  const z = numbers(args, 26, b, lo);
  const d = numbers(args, 28, b, lo);
  const order = whole(args, 34, b, lo);
  for (let j = cut(k, unit % parts, parts); j < last; j++) {
    const gap = operand(args, 38, b) + <usize>(lo + j) * <usize>word(args, 40) + (<usize>lo << 3);
    // By twos: what is read and written beyond an odd end is of no account.
    for (let i = 0; i < k; i += 2) {
      const at = <usize>i << 3;
      v128.store(scratch + at, f64x2.div(v128.load(z + at), v128.load(gap + at)));
    }
    normalized<T>(scratch, k, order, gap);
    if (!word(args, 8)) continue;
    store<f64>(scratch, -1);
    for (let i = 1; i < k; i++) {
      const at = <usize>i << 3;
      store<f64>(scratch + at, load<f64>(scratch + at) * load<f64>(d + at));
    }
    normalized<T>(scratch, k, order, operand(args, 41, b) + <usize>(lo + j) * <usize>word(args, 43) + (<usize>lo << 3));
  }
}

function normalized<T>(s: usize, k: i32, order: usize, to: usize): void {
  let sum = dot<f64>(s, s, k);
  // Squares that overflow, or lose digits, are made of smaller or larger numbers.
  if (!(sum > 1e-200 && sum < 1e300)) {
    let most: f64 = 0;
    for (let i = 0; i < k; i++) most = max(most, abs(load<f64>(s + (<usize>i << 3))));
    for (let i = 0; i < k; i++) store<f64>(s + (<usize>i << 3), load<f64>(s + (<usize>i << 3)) / most);
    sum = dot<f64>(s, s, k);
  }
  const factor = 1 / sqrt<f64>(sum);
  for (let c = 0; c < k; c++) {
    const i = load<i32>(order + (<usize>c << 2));
    store<T>(to + <usize>c * sizeof<T>(), <T>(load<f64>(s + (<usize>i << 3)) * factor));
  }
}

/** Rows first to last of q = weights × room, of which the rows of one half alone have columns of that half alone. */
function multiply<T>(
  q: usize, row: usize, room: usize, weight: usize, rowW: usize, lo: i32, middle: i32, hi: i32, first: i32, last: i32,
  k: i32, alone: i32, both: i32, scratch: usize,
): void {
  const size = sizeof<T>();
  const rows = min(last, k) - first;
  const from = <usize>(lo + first);
  for (let r = first; r < last; r++) {
    const to = q + <usize>(lo + r) * row + <usize>lo * size;
    const bytes = <usize>(hi - lo) * size;
    if (r < k) memory.fill(to, 0, bytes);
    else memory.copy(to, room + <usize>(lo + r) * row + <usize>lo * size, bytes);
  }
  if (rows <= 0) return;
  const a = weight + from * rowW + (<usize>lo << 3);
  const left = room + <usize>lo * row + <usize>lo * size;
  gemm<T>(rows, middle - lo, alone + both, <T>1, a, rowW, size, left, row, size, q + from * row + <usize>lo * size, row, scratch);
  const right = room + <usize>(lo + alone) * row + <usize>middle * size;
  const at = a + <usize>alone * size;
  gemm<T>(rows, hi - middle, k - alone, <T>1, at, rowW, size, right, row, size, q + from * row + <usize>middle * size, row, scratch);
}

/** Some rows of the vectors of a merged node. */
export function merge<T>(args: usize, b: i32, unit: i32, scratch: usize): void {
  const lo = node(args, unit, 0);
  const mid = node(args, unit, 1);
  const hi = node(args, unit, 2);
  const parts = word(args, 7);
  const first = cut(hi - lo, unit % parts, parts);
  const last = cut(hi - lo, (unit % parts) + 1, parts);
  const facts = numbers(args, 36, b, lo);
  const k = load<i32>(facts + POLES);
  const alone = load<i32>(facts + FIRST);
  const both = load<i32>(facts + BOTH);
  const singular = word(args, 8) != 0;
  const middle = singular ? mid + 1 : mid;
  const weight = operand(args, singular ? 41 : 38, b);
  const rowW = <usize>word(args, singular ? 43 : 40);
  multiply<T>(
    operand(args, 10, b), <usize>word(args, 12), operand(args, 16, b), weight, rowW, lo, middle, hi, first, last, k, alone, both,
    scratch,
  );
  if (!singular) return;
  const end = hi < word(args, 9) ? hi + 1 : hi;
  multiply<T>(
    operand(args, 13, b), <usize>word(args, 15), operand(args, 18, b), operand(args, 38, b), <usize>word(args, 40), lo, middle,
    end, first, last, k, alone, both, scratch,
  );
}
