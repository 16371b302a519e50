/** A matrix in float64, row-major. */
export interface Matrix {
  readonly m: number;
  readonly n: number;
  readonly data: Float64Array;
}

export const matrix = (m: number, n: number, element: (i: number, j: number) => number): Matrix => ({
  m,
  n,
  data: Float64Array.from({ length: m * n }, (_, at) => element(Math.floor(at / n), at % n)),
});

/** Numbers in [-1, 1) by xorshift32: the same in any language. */
export function sequence(seed: number): () => number {
  let state = (Math.imul(seed, 2654435761) + 12345) >>> 0 || 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 31 - 1;
  };
  for (let i = 0; i < 8; i++) next();
  return next;
}

export function random(m: number, n: number, seed = 1): Matrix {
  const next = sequence(seed + 31 * m + n);
  return matrix(m, n, () => next());
}

/** Whole numbers from -4 to 4: products of such matrices are exact. */
function integers(m: number, n: number, seed: number): Matrix {
  const { data } = random(m, n, seed);
  return { m, n, data: data.map((x) => Math.floor(x * 4.5 + 0.5)) };
}

export function product(a: Matrix, b: Matrix): Matrix {
  const out = new Float64Array(a.m * b.n);
  for (let i = 0; i < a.m; i++)
    for (let k = 0; k < a.n; k++)
      for (let j = 0; j < b.n; j++) out[i * b.n + j]! += a.data[i * a.n + k]! * b.data[k * b.n + j]!;
  return { m: a.m, n: b.n, data: out };
}

export const transposed = ({ m, n, data }: Matrix): Matrix => matrix(n, m, (i, j) => data[j * n + i]!);

/** Sylvester's Hadamard blocks of sizes that are powers of two and add up to n: H diag(d) Hᵀ / size is exact. */
function hadamardCluster(n: number): Matrix {
  const out = new Float64Array(n * n);
  const parity = (x: number) => {
    let ones = 0;
    for (let bits = x; bits; bits >>= 1) ones ^= bits & 1;
    return ones ? -1 : 1;
  };
  for (let from = 0, left = n; left > 0; ) {
    const size = 2 ** Math.floor(Math.log2(left));
    // Element [i, j] depends on the bits in which i and j differ.
    const row = Float64Array.from({ length: size }, (_, x) => {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += clustered(k) * parity(k & x);
      return sum / size;
    });
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) out[(from + i) * n + from + j] = row[i ^ j]!;
    from += size;
    left -= size;
  }
  return { m: n, n, data: out };
}

/** Three clusters: 1, 1 + 2⁻³⁰ and 2⁻¹⁰. */
const clustered = (k: number): number => [1, 1 + 2 ** -30, 2 ** -10][k % 3]!;

const step = (i: number, n: number, most: number): number =>
  n > 1 ? 2 ** -Math.floor((most * i) / (n - 1)) : 1;

function kahan(m: number, n: number): Matrix {
  const powers = [1];
  while (powers.length < m) powers.push(powers[powers.length - 1]! * 0.96);
  return matrix(m, n, (i, j) => (i > j ? 0 : powers[i]! * (i === j ? 1 : -0.28)));
}

/** Families of matrices [m, n], any m and n. */
export const FAMILIES: Readonly<Record<string, (m: number, n: number) => Matrix>> = {
  random: (m, n) => random(m, n),
  // The condition is about 2⁴⁰.
  graded: (m, n) => {
    const { data } = random(m, n, 2);
    return matrix(m, n, (i, j) => data[i * n + j]! * step(j, n, 40));
  },
  gradedBoth: (m, n) => {
    const { data } = random(m, n, 3);
    return matrix(m, n, (i, j) => data[i * n + j]! * step(i, m, 20) * step(j, n, 20));
  },
  rankDeficient: (m, n) => {
    const rank = Math.max(1, Math.floor(Math.min(m, n) / 2));
    return product(integers(m, rank, 4), integers(rank, n, 5));
  },
  clustered: (m, n) => {
    const square = hadamardCluster(Math.min(m, n));
    return matrix(m, n, (i, j) => (i < square.n && j < square.n ? square.data[i * square.n + j]! : 0));
  },
  hilbert: (m, n) => matrix(m, n, (i, j) => 1 / (i + j + 1)),
  kahan,
  diagonal: (m, n) => matrix(m, n, (i, j) => (i === j ? (i % 3 === 2 ? 0 : (i % 2 ? -1 : 1) * 2 ** -i) : 0)),
  zero: (m, n) => matrix(m, n, () => 0),
  identity: (m, n) => matrix(m, n, (i, j) => (i === j ? 1 : 0)),
  ones: (m, n) => matrix(m, n, () => 1),
};

const scaledBy = ({ m, n, data }: Matrix, d: (i: number) => number): Matrix =>
  matrix(m, n, (i, j) => data[i * n + j]! * d(i) * d(j));

const added = (a: Matrix, b: Matrix): Matrix => ({ ...a, data: a.data.map((x, i) => x + b.data[i]!) });

/** Symmetric matrices [n, n]. */
export const SYMMETRIC: Readonly<Record<string, (n: number) => Matrix>> = {
  random: (n) => {
    const a = random(n, n, 6);
    return added(a, transposed(a));
  },
  graded: (n) => scaledBy(SYMMETRIC["random"]!(n), (i) => step(i, n, 20)),
  rankDeficient: (n) => {
    const b = integers(n, Math.max(1, Math.floor(n / 2)), 7);
    return product(b, transposed(b));
  },
  clustered: hadamardCluster,
  hilbert: (n) => FAMILIES["hilbert"]!(n, n),
  // Wilkinson's W⁺: pairs of eigenvalues that agree to many digits.
  wilkinson: (n) =>
    matrix(n, n, (i, j) => (i === j ? Math.abs(i - (n - 1) / 2) : Math.abs(i - j) === 1 ? 1 : 0)),
  diagonal: (n) => FAMILIES["diagonal"]!(n, n),
  zero: (n) => FAMILIES["zero"]!(n, n),
  identity: (n) => FAMILIES["identity"]!(n, n),
  ones: (n) => FAMILIES["ones"]!(n, n),
};

/** The last product of `POSITIVE.random`: of 1,024 it takes a second. */
let last: Matrix | null = null;

/** Symmetric positive definite matrices [n, n]. */
export const POSITIVE: Readonly<Record<string, (n: number) => Matrix>> = {
  random: (n) => {
    const b = integers(n, n, 8);
    if (last?.n !== n) last = product(b, transposed(b));
    return added(
      last,
      matrix(n, n, (i, j) => (i === j ? n : 0)),
    );
  },
  graded: (n) => scaledBy(POSITIVE["random"]!(n), (i) => step(i, n, 20)),
  clustered: hadamardCluster,
  minimum: (n) => matrix(n, n, (i, j) => Math.min(i, j) + 1),
  identity: (n) => FAMILIES["identity"]!(n, n),
};

/** Shapes that stand for all: one element, one row, one column, none, square, tall, wide. */
export const SHAPES: readonly (readonly [number, number])[] = [
  [1, 1],
  [1, 5],
  [5, 1],
  [0, 2],
  [2, 0],
  [6, 6],
  [9, 4],
  [4, 9],
  [20, 20],
];

/** Sides of square matrices. */
export const SIZES: readonly number[] = [0, 1, 2, 5, 16, 33];
