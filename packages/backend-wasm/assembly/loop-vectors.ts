// Loops over blocks of 32-bit elements. A source has a step: 16 bytes from vector to vector, or 0 for a value that is the same
// everywhere. Blocks are whole pairs of vectors, so all loops take two vectors at a time. A destination may be a source.

/** d = f(a, b) for blocks that end at `end`. T has a method f; no T is ever made. */
export function binary<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  const sa2 = sa << 1;
  const sb2 = sb << 1;
  do {
    const x = t.f(v128.load(a), v128.load(b));
    const y = t.f(v128.load(a + sa), v128.load(b + sb));
    v128.store(d, x);
    v128.store(d, y, 16);
    a += sa2;
    b += sb2;
    d += 32;
  } while (d < end);
}

/** d = f(a) for cheap f. */
export function unary<T>(d: usize, a: usize, sa: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  const sa2 = sa << 1;
  do {
    const x = t.f(v128.load(a));
    const y = t.f(v128.load(a + sa));
    v128.store(d, x);
    v128.store(d, y, 16);
    a += sa2;
    d += 32;
  } while (d < end);
}

/** d = f(a) for long f: the processor overlaps iterations by itself, and two at once would run out of registers. */
export function long<T>(d: usize, a: usize, sa: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    v128.store(d, t.f(v128.load(a)));
    a += sa;
    d += 16;
  } while (d < end);
}

export function longBinary<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    v128.store(d, t.f(v128.load(a), v128.load(b)));
    a += sa;
    b += sb;
    d += 16;
  } while (d < end);
}

export function ternary<T>(
  d: usize,
  a: usize,
  sa: usize,
  b: usize,
  sb: usize,
  c: usize,
  sc: usize,
  end: usize,
): void {
  const t = changetype<T>(<usize>0);
  do {
    v128.store(d, t.f(v128.load(a), v128.load(b), v128.load(c)));
    a += sa;
    b += sb;
    c += sc;
    d += 16;
  } while (d < end);
}
