// Small tridiagonal and bidiagonal problems by QR iterations, in f64; vectors are rows.
import { hypot2, rotate } from "./vector";

const EPS: f64 = 2.220446049250313e-16;
/** What is so small beside a matrix of size 1 is zero. */
const NOTHING: f64 = 1e-150;
/** Rounds per value; two are usual. */
const ROUNDS = 80;

// @ts-ignore: decorator
@inline
function get(x: usize, i: i32): f64 {
  return load<f64>(x + (<usize>i << 3));
}

// @ts-ignore: decorator
@inline
function put(x: usize, i: i32, value: f64): void {
  store<f64>(x + (<usize>i << 3), value);
}

/** Diagonalizes rows l and l + 1, to full accuracy (LAPACK's laev2); the rotation is in cs, sn. */
function pair(d: usize, e: usize, l: i32): void {
  const a = get(d, l);
  const c = get(d, l + 1);
  const b = get(e, l);
  const sum = a + c;
  const difference = a - c;
  const root = hypot2(difference, b + b);
  const large = abs(a) > abs(c) ? a : c;
  const small = abs(a) > abs(c) ? c : a;
  let first: f64;
  let second: f64;
  let sign: f64 = 1;
  if (sum < 0) {
    first = 0.5 * (sum - root);
    sign = -1;
    second = (large / first) * small - (b / first) * b;
  } else if (sum > 0) {
    first = 0.5 * (sum + root);
    second = (large / first) * small - (b / first) * b;
  } else {
    first = 0.5 * root;
    second = -0.5 * root;
  }
  const turned: f64 = difference >= 0 ? 1 : -1;
  const x = difference + turned * root;
  if (abs(x) > abs(b + b)) {
    const t = -(b + b) / x;
    sn = 1 / sqrt<f64>(1 + t * t);
    cs = t * sn;
  } else {
    const t = -x / (b + b);
    cs = 1 / sqrt<f64>(1 + t * t);
    sn = t * cs;
  }
  if (sign == turned) {
    const t = cs;
    cs = -sn;
    sn = t;
  }
  // (cs, sn) is the vector of the value of larger magnitude
  put(d, l, first);
  put(d, l + 1, second);
  put(e, l, 0);
}

let cs: f64 = 1;
let sn: f64 = 0;

/**
 * Eigenvalues of a tridiagonal matrix, d [n] and e [n] (the last is room), by implicit QL (Bowdler, Martin, Reinsch and
 * Wilkinson 1968). With z, n rows of n numbers `row` bytes apart, its rows are turned along. Not sorted. Returns 0, or -1
 * where it does not converge.
 */
export function tridiagonalQl(d: usize, e: usize, n: i32, z: usize, row: usize): i32 {
  if (n > 0) put(e, n - 1, 0);
  let norm: f64 = 0;
  for (let i = 0; i < n; i++) norm = max(norm, max(abs(get(d, i)), abs(get(e, i))));
  const nothing = max(NOTHING, EPS * 0.03 * norm);
  for (let l = 0; l < n; l++) {
    for (let round = 0; ; round++) {
      let m = l;
      for (; m < n - 1; m++) {
        const size = abs(get(d, m)) + abs(get(d, m + 1));
        if (abs(get(e, m)) <= max(EPS * 0.5 * size, nothing)) break;
      }
      if (m == l) break;
      if (m == l + 1) {
        pair(d, e, l);
        if (z) rotate<f64>(z + <usize>l * row, z + <usize>m * row, n, cs, sn);
        break;
      }
      if (round == ROUNDS) return -1;
      const el = get(e, l);
      let g = (get(d, l + 1) - get(d, l)) / (2 * el);
      let r = hypot2(g, 1);
      g = get(d, m) - get(d, l) + el / (g + (g >= 0 ? r : -r));
      let s: f64 = 1;
      let c: f64 = 1;
      let p: f64 = 0;
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * get(e, i);
        const h = c * get(e, i);
        r = hypot2(f, g);
        put(e, i + 1, r);
        if (r == 0) {
          put(d, i + 1, get(d, i + 1) - p);
          put(e, m, 0);
          break;
        }
        s = f / r;
        c = g / r;
        g = get(d, i + 1) - p;
        r = (get(d, i) - g) * s + 2 * c * h;
        p = s * r;
        put(d, i + 1, g + p);
        g = c * r - h;
        // (z_i, z_i+1) = (c z_i - s z_i+1, s z_i + c z_i+1)
        if (z) rotate<f64>(z + <usize>i * row, z + <usize>(i + 1) * row, n, c, -s);
      }
      if (r == 0 && i >= l) continue;
      put(d, l, get(d, l) - p);
      put(e, l, g);
      put(e, m, 0);
    }
  }
  return 0;
}

/** r = √(f² + g²) with c f + s g = r. */
function plane(f: f64, g: f64): f64 {
  if (g == 0) {
    cs = 1;
    sn = 0;
    return f;
  }
  if (f == 0) {
    cs = 0;
    sn = 1;
    return g;
  }
  const r = hypot2(f, g);
  cs = f / r;
  sn = g / r;
  return r;
}

/** The smaller singular value of [[f, g], [0, h]] (LAPACK's las2). */
function smaller(f: f64, g: f64, h: f64): f64 {
  f = abs(f);
  g = abs(g);
  h = abs(h);
  const least = min(f, h);
  const most = max(f, h);
  if (least == 0) return 0;
  const p = 1 + least / most;
  const q = (most - least) / most;
  if (g < most) {
    const u = (g / most) * (g / most);
    return least * (2 / (sqrt<f64>(p * p + u) + sqrt<f64>(q * q + u)));
  }
  const u = most / g;
  if (u == 0) return (least * most) / g;
  const c = 1 / (sqrt<f64>(1 + p * u * (p * u)) + sqrt<f64>(1 + q * u * (q * u)));
  return 2 * (least * c) * u;
}

/**
 * Singular values of an upper bidiagonal matrix, d [n] and e [n]; with `wide` e[n - 1] is the element of one more column.
 * Rows of u (n of n) and v (n or n + 1) are turned along. d becomes ≥ 0, not sorted. Golub and Kahan's QR, with Demmel and
 * Kahan's sweep without a shift where that loses nothing. Returns 0, or -1 where it does not converge.
 */
export function bidiagonalQr(d: usize, e: usize, n: i32, wide: bool, u: usize, v: usize, row: usize): i32 {
  const columns = n + (wide ? 1 : 0);
  if (wide) {
    let f = get(e, n - 1);
    for (let i = n - 1; i >= 0; i--) {
      put(d, i, plane(get(d, i), f));
      rotate<f64>(v + <usize>i * row, v + <usize>n * row, columns, cs, sn);
      if (i > 0) {
        f = -sn * get(e, i - 1);
        put(e, i - 1, cs * get(e, i - 1));
      }
    }
  }
  let most: f64 = 0;
  for (let i = 0; i < n; i++) most = max(most, max(abs(get(d, i)), i < n - 1 ? abs(get(e, i)) : 0));
  const nothing = max(NOTHING, 0.125 * EPS * most);
  let hi = n - 1;
  for (let round = 0; hi > 0; ) {
    let lo = hi;
    for (; lo > 0; lo--) {
      if (abs(get(e, lo - 1)) <= max(nothing, EPS * 0.5 * (abs(get(d, lo - 1)) + abs(get(d, lo))))) {
        put(e, lo - 1, 0);
        break;
      }
    }
    if (lo == hi) {
      hi--;
      round = 0;
      continue;
    }
    if (++round > ROUNDS) return -1;
    let zero = false;
    for (let i = lo; i <= hi; i++) {
      if (abs(get(d, i)) <= nothing) {
        put(d, i, 0);
        zero = true;
      }
    }
    const shift = zero ? 0 : smaller(get(d, hi - 1), get(e, hi - 1), get(d, hi));
    const first = abs(get(d, lo));
    if (zero || (shift / first) * (shift / first) < EPS) {
      let c: f64 = 1;
      let oldC: f64 = 1;
      let oldS: f64 = 0;
      for (let i = lo; i < hi; i++) {
        const r = plane(get(d, i) * c, get(e, i));
        c = cs;
        const s = sn;
        if (i > lo) put(e, i - 1, oldS * r);
        if (v) rotate<f64>(v + <usize>i * row, v + <usize>(i + 1) * row, columns, c, s);
        put(d, i, plane(oldC * r, get(d, i + 1) * s));
        oldC = cs;
        oldS = sn;
        if (u) rotate<f64>(u + <usize>i * row, u + <usize>(i + 1) * row, n, oldC, oldS);
      }
      const h = get(d, hi) * c;
      put(d, hi, h * oldC);
      put(e, hi - 1, h * oldS);
    } else {
      const d0 = get(d, lo);
      let f = (abs(d0) - shift) * ((d0 >= 0 ? <f64>1 : <f64>-1) + shift / d0);
      let g = get(e, lo);
      for (let i = lo; i < hi; i++) {
        let r = plane(f, g);
        if (i > lo) put(e, i - 1, r);
        f = cs * get(d, i) + sn * get(e, i);
        put(e, i, cs * get(e, i) - sn * get(d, i));
        g = sn * get(d, i + 1);
        put(d, i + 1, cs * get(d, i + 1));
        if (v) rotate<f64>(v + <usize>i * row, v + <usize>(i + 1) * row, columns, cs, sn);
        r = plane(f, g);
        put(d, i, r);
        f = cs * get(e, i) + sn * get(d, i + 1);
        put(d, i + 1, cs * get(d, i + 1) - sn * get(e, i));
        if (i < hi - 1) {
          g = sn * get(e, i + 1);
          put(e, i + 1, cs * get(e, i + 1));
        }
        if (u) rotate<f64>(u + <usize>i * row, u + <usize>(i + 1) * row, n, cs, sn);
      }
      put(e, hi - 1, f);
    }
  }
  for (let i = 0; i < n; i++) {
    if (get(d, i) >= 0) continue;
    put(d, i, -get(d, i));
    if (v) for (let j = 0; j < columns; j++) put(v + <usize>i * row, j, -get(v + <usize>i * row, j));
  }
  return 0;
}
