import { wasm } from "@lowrank/backend-wasm";
import {
  cholesky,
  eigh,
  newtonSchulz,
  polar,
  qr,
  randomizedSvd,
  singularValues,
  solve,
  svd,
} from "@lowrank/linalg";
import { key, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
// Of the same families as the tests: no copy can part from them.
import { FAMILIES, type Matrix, POSITIVE, SYMMETRIC } from "../../packages/linalg/test/suite/families.js";
import { machine } from "./result.js";
import { residual, type Twofold, twofoldSingularValues } from "./twofold.js";

type Real = "f64" | "f32";
const EPS: Record<Real, number> = { f64: 2 ** -52, f32: 2 ** -23 };
const RANK = 16;

/** Errors of one function on one matrix, in units of eps: 2⁻⁵² in f64, 2⁻²³ in f32. */
export interface ErrorLine {
  bench: "linalg-errors";
  what: string;
  family: string;
  dtype: Real;
  n: number;
  /** ‖a - product of the parts‖_F / ‖a‖_F; of `solve` ‖b - a x‖₂ / ‖|a| |x|‖₂. */
  backward?: number;
  /** ‖qᵀ q - I‖_F, of the worse of two factors. */
  orthogonality?: number;
  /** max |s - exact| / s₁; of `eigh` of the magnitudes of eigenvalues. */
  values?: number;
  /** ‖a - u diag(s) vt‖₂ / s_{rank+1}: 1 is the best there is. Not in units of eps. */
  excess?: number;
  /** The bound that the function gives for it, likewise. */
  bound?: number;
  rank?: number;
  steps?: number;
  machine: string;
}

type Errors = Omit<ErrorLine, "bench" | "family" | "dtype" | "n" | "machine">;
type Numbers = ArrayLike<number>;

const lengthOf = (x: Numbers): number => Math.hypot(...Array.from(x));
const numbersOf = async (t: Tensor): Promise<Numbers> => (await t.data()) as Float64Array;

const turned = (a: Numbers, n: number): Float64Array =>
  Float64Array.from({ length: n * n }, (_, at) => a[(at % n) * n + Math.floor(at / n)]!);

/** The columns of u, each times its number. */
const scaled = (u: Numbers, s: Numbers, n: number): Float64Array =>
  Float64Array.from({ length: n * n }, (_, at) => u[at]! * s[at % n]!);

class Judge {
  private readonly all: readonly [number, number, number];

  constructor(
    private readonly a: Numbers,
    private readonly n: number,
    private readonly eps: number,
  ) {
    this.all = [n, n, n];
  }

  backward(x: Numbers, y: Numbers): number {
    const { a, n } = this;
    return residual(x, y, (i, j) => a[i * n + j]!, this.all) / lengthOf(a) / this.eps;
  }

  /** Of the columns of each. */
  orthogonality(...factors: readonly Numbers[]): number {
    const of = (q: Numbers) =>
      residual(turned(q, this.n), q, (i, j) => (i === j ? 1 : 0), this.all) / this.eps;
    return Math.max(...factors.map(of));
  }

  values(s: Numbers, exact: readonly Twofold[]): number {
    const found = Array.from(s, Math.abs).sort((x, y) => y - x);
    return (
      Math.max(...found.map((x, j) => Math.abs(x - exact[j]!.hi - exact[j]!.lo))) / exact[0]!.hi / this.eps
    );
  }
}

/** What f32 is held against comes from f64, what f64 is held against from arithmetic with twice its digits. */
async function exactValues(a: Numbers, n: number, dtype: Real): Promise<Twofold[]> {
  if (dtype === "f64") return twofoldSingularValues(a, n);
  const s = await numbersOf(singularValues(tensor(Float64Array.from(a), { shape: [n, n], dtype: "f64" })));
  return Array.from(s, (hi) => ({ hi, lo: 0 }));
}

async function general(x: Tensor, judge: Judge, a: Numbers, n: number, dtype: Real): Promise<Errors[]> {
  const exact = await exactValues(a, n, dtype);
  const parts = svd(x);
  const [u, s, vt] = [await numbersOf(parts.u), await numbersOf(parts.s), await numbersOf(parts.vt)];
  const { q: Q, r: R } = qr(x);
  const [q, r] = [await numbersOf(Q), await numbersOf(R)];
  const b = tensor(
    Float64Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i + 1))),
    { shape: [n, 1], dtype },
  );
  const [right, answer] = [await numbersOf(b), await numbersOf(solve(x, b))];
  const P = polar(x);
  const [up, p] = [await numbersOf(P.u), await numbersOf(P.p)];
  const near = randomizedSvd(x, { rank: RANK, key: key(1) });
  const [nu, ns, nvt] = [await numbersOf(near.u), await numbersOf(near.s), await numbersOf(near.vt)];
  const left = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < RANK; k++) sum -= nu[i * RANK + k]! * ns[k]! * nvt[k * n + j]!;
      left[i * n + j] = sum;
    }
  const [error] = Array.from(await numbersOf(singularValues(tensor(left, { shape: [n, n], dtype: "f64" }))));
  const best = exact[RANK]!.hi;
  const sizes = Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += Math.abs(a[i * n + j]! * answer[j]!);
    return sum;
  });
  return [
    {
      what: "svd",
      backward: judge.backward(scaled(u, s, n), vt),
      orthogonality: judge.orthogonality(u, turned(vt, n)),
      values: judge.values(s, exact),
    },
    { what: "qr", backward: judge.backward(q, r), orthogonality: judge.orthogonality(q) },
    {
      what: "solve",
      backward: residual(a, answer, (i) => right[i]!, [n, n, 1]) / lengthOf(sizes) / EPS[dtype],
    },
    { what: "polar", backward: judge.backward(up, p), orthogonality: judge.orthogonality(up) },
    ...(await Promise.all(
      [20, 40].map(async (steps) => ({
        what: "newtonSchulz",
        steps,
        orthogonality: judge.orthogonality(await numbersOf(newtonSchulz(x, { steps }))),
      })),
    )),
    {
      what: "randomizedSvd",
      rank: RANK,
      excess: error! / best,
      bound: (await numbersOf(near.errorBound))[0]! / best,
    },
  ];
}

async function symmetric(x: Tensor, judge: Judge, a: Numbers, n: number, dtype: Real): Promise<Errors[]> {
  const { values, vectors } = eigh(x);
  const [w, v] = [await numbersOf(values), await numbersOf(vectors)];
  return [
    {
      what: "eigh",
      backward: judge.backward(scaled(v, w, n), turned(v, n)),
      orthogonality: judge.orthogonality(v),
      values: judge.values(w, await exactValues(a, n, dtype)),
    },
  ];
}

async function positive(x: Tensor, judge: Judge, _a: Numbers, n: number): Promise<Errors[]> {
  const L = await numbersOf(cholesky(x));
  return [{ what: "cholesky", backward: judge.backward(L, turned(L, n)) }];
}

const TOLD = ["random", "graded", "clustered", "hilbert"] as const;

export interface ErrorOptions {
  n?: number;
  families?: readonly string[];
  onLine?: (line: ErrorLine) => void;
}

/** Errors on the WebAssembly backend. Hilbert's matrix is positive definite on paper only: it is not given to `cholesky`. */
export async function measureErrors({
  n = 256,
  families = TOLD,
  onLine,
}: ErrorOptions): Promise<ErrorLine[]> {
  const backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  const lines: ErrorLine[] = [];
  for (const dtype of ["f64", "f32"] as const)
    for (const family of families) {
      const square = (m: number): Matrix => FAMILIES[family]!(m, m);
      for (const [make, judgeAll] of [
        [square, general],
        [SYMMETRIC[family], symmetric],
        [POSITIVE[family], positive],
      ] as const) {
        if (!make) continue;
        const x = tensor(make(n).data, { shape: [n, n], dtype });
        const a = Float64Array.from(await numbersOf(x)); // as the dtype stores it
        for (const errors of await judgeAll(x, new Judge(a, n, EPS[dtype]), a, n, dtype)) {
          const line: ErrorLine = { bench: "linalg-errors", family, dtype, n, ...errors, machine: machine() };
          for (const name of ["backward", "orthogonality", "values", "excess", "bound"] as const)
            if (line[name] !== undefined) line[name] = Number(line[name].toPrecision(4));
          lines.push(line);
          onLine?.(line);
        }
      }
    }
  return lines;
}
