/**
 * Arithmetic with about 32 digits, to judge results of float64: a number is the unevaluated sum hi + lo.
 *
 * Source: Dekker 1971, A floating-point technique for extending the available precision; Ogita, Rump and Oishi 2005,
 * Accurate sum and dot product, algorithm 5.3, for sums of products.
 */
export interface Twofold {
  readonly hi: number;
  readonly lo: number;
}

/** Vectors of one length, one after the other. */
interface Vectors {
  readonly hi: Float64Array;
  readonly lo: Float64Array;
}

const SPLITTER = 2 ** 27 + 1;

/** x y - p for p = fl(x y), exactly. */
function rest(x: number, y: number, p: number): number {
  const [a, b] = [SPLITTER * x, SPLITTER * y];
  const [xh, yh] = [a - (a - x), b - (b - y)];
  const [xl, yl] = [x - xh, y - yh];
  return xl * yl - (p - xh * yh - xl * yh - xh * yl);
}

function times(x: Twofold, y: Twofold): Twofold {
  const p = x.hi * y.hi;
  return { hi: p, lo: rest(x.hi, y.hi, p) + (x.hi * y.lo + x.lo * y.hi) };
}

/** Σ_k x[i + k] y[j + k] over n numbers. */
function dot(x: Vectors, i: number, y: Vectors, j: number, n: number): Twofold {
  let [hi, lo] = [0, 0];
  for (let k = 0; k < n; k++) {
    const [a, b] = [x.hi[i + k]!, y.hi[j + k]!];
    const p = a * b;
    const sum = hi + p;
    const part = sum - hi;
    lo += hi - (sum - part) + (p - part) + rest(a, b, p) + (a * y.lo[j + k]! + x.lo[i + k]! * b);
    hi = sum;
  }
  return { hi: hi + lo, lo: lo - (hi + lo - hi) };
}

/** The column pair (x, y) becomes (c x - s y, s x + c y). */
function rotate(v: Vectors, i: number, j: number, n: number, c: Twofold, s: Twofold): void {
  const { hi, lo } = v;
  for (let k = 0; k < n; k++) {
    const [xh, xl, yh, yl] = [hi[i + k]!, lo[i + k]!, hi[j + k]!, lo[j + k]!];
    const [cx, sy, sx, cy] = [c.hi * xh, s.hi * yh, s.hi * xh, c.hi * yh];
    const [u, w] = [cx - sy, sx + cy];
    const [p, q] = [u - cx, w - sx];
    const low =
      cx -
      (u - p) +
      (-sy - p) +
      rest(c.hi, xh, cx) -
      rest(s.hi, yh, sy) +
      (c.hi * xl + c.lo * xh - s.hi * yl - s.lo * yh);
    const high =
      sx -
      (w - q) +
      (cy - q) +
      rest(s.hi, xh, sx) +
      rest(c.hi, yh, cy) +
      (s.hi * xl + s.lo * xh + c.hi * yl + c.lo * yh);
    hi[i + k] = u + low;
    lo[i + k] = low - (hi[i + k]! - u);
    hi[j + k] = w + high;
    lo[j + k] = high - (hi[j + k]! - w);
  }
}

/** ‖x y - z‖_F of matrices x [m, k], y [k, n], z [m, n] in rows, with nothing lost in the sums. */
export function residual(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  z: (i: number, j: number) => number,
  [m, k, n]: readonly [number, number, number],
): number {
  const rows: Vectors = { hi: Float64Array.from(x), lo: new Float64Array(m * k) };
  const columns: Vectors = { hi: new Float64Array(k * n), lo: new Float64Array(k * n) };
  for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) columns.hi[j * k + i] = y[i * n + j]!;
  let sum = 0;
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      const { hi, lo } = dot(rows, i * k, columns, j * k, k);
      sum += (hi - z(i, j) + lo) ** 2;
    }
  return Math.sqrt(sum);
}

const SWEEPS = 40;
/** Cosines between columns that count as 0, and columns that do so beside the longest. */
const ENOUGH = 1e-20;

/**
 * The singular values of a square matrix in rows, descending, to about 20 digits of the largest: rotations of pairs of
 * columns (Hestenes 1958) until all are orthogonal.
 */
export function twofoldSingularValues(a: ArrayLike<number>, n: number): Twofold[] {
  const v: Vectors = { hi: new Float64Array(n * n), lo: new Float64Array(n * n) };
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) v.hi[j * n + i] = a[i * n + j]!;
  const square = (j: number): Twofold => dot(v, j * n, v, j * n, n);
  const squares = Array.from({ length: n }, (_, j) => square(j));
  for (let sweep = 0, turned = true; turned; sweep++) {
    if (sweep === SWEEPS) throw new Error(`bench: expected rotations to end within ${SWEEPS} sweeps`);
    turned = false;
    const least = ENOUGH ** 2 * Math.max(...squares.map(({ hi }) => hi));
    for (let i = 0; i < n; i++)
      for (let j = i + 1; j < n; j++) {
        const [p, q] = [squares[i]!, squares[j]!];
        if (p.hi <= least || q.hi <= least) continue;
        const g = dot(v, i * n, v, j * n, n).hi;
        if (Math.abs(g) <= ENOUGH * Math.sqrt(p.hi * q.hi)) continue;
        turned = true;
        const zeta = (q.hi - p.hi + (q.lo - p.lo)) / (2 * g);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        // c = 1 / √(1 + t²) with one step of Newton's: any t is a rotation if c² + s² = 1 to all digits.
        const c0 = 1 / Math.hypot(1, t);
        const s0 = times({ hi: t, lo: 0 }, { hi: c0, lo: 0 });
        const [cc, ss] = [times({ hi: c0, lo: 0 }, { hi: c0, lo: 0 }), times(s0, s0)];
        const off = 1 - cc.hi - ss.hi - cc.lo - ss.lo;
        const c = { hi: c0, lo: (c0 * off) / 2 };
        const s = times({ hi: t, lo: 0 }, c);
        rotate(v, i * n, j * n, n, c, s);
        squares[i] = square(i);
        squares[j] = square(j);
      }
  }
  return squares
    .sort((x, y) => y.hi - x.hi || y.lo - x.lo)
    .map((x) => {
      const root = Math.sqrt(x.hi);
      if (root === 0) return { hi: 0, lo: 0 };
      const p = root * root;
      return { hi: root, lo: (x.hi - p - rest(root, root, p) + x.lo) / (2 * root) };
    });
}
