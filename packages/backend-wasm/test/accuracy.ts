import type { Backend, Tensor } from "@lowrank/tensor";
import * as t from "@lowrank/tensor";
import { opCases, runOn } from "@lowrank/tensor/testing";

/** How far a function of f32 is from the truth. */
export interface Accuracy {
  readonly name: string;
  /** Worst error in units of the last place of the true result; Infinity if a NaN or an infinity is wrong. */
  readonly worst: number;
  /** Arguments of the worst error, the result, the truth. */
  readonly at: readonly number[];
  readonly got: number;
  readonly expected: number;
  readonly samples: number;
}

/** A function under test: the worst error that is allowed, and where it is sampled beside all of f32. */
interface Entry {
  readonly bound: number;
  readonly f: (x: Tensor, y: Tensor) => Tensor;
  readonly arity?: 1 | 2;
}

/** The functions, with the bounds that tests hold. */
export const FUNCTIONS: Readonly<Record<string, Entry>> = {
  exp: { bound: 1, f: t.exp },
  expm1: { bound: 1.5, f: t.expm1 },
  log: { bound: 1, f: t.log },
  log1p: { bound: 1.5, f: t.log1p },
  sqrt: { bound: 0.5, f: t.sqrt },
  rsqrt: { bound: 1.5, f: t.rsqrt },
  reciprocal: { bound: 0.5, f: t.reciprocal },
  sin: { bound: 1.6, f: t.sin },
  cos: { bound: 1.6, f: t.cos },
  tan: { bound: 1.5, f: t.tan },
  asin: { bound: 2, f: t.asin },
  acos: { bound: 1.5, f: t.acos },
  atan: { bound: 2, f: t.atan },
  sinh: { bound: 2, f: t.sinh },
  cosh: { bound: 2, f: t.cosh },
  tanh: { bound: 2, f: t.tanh },
  sigmoid: { bound: 2.5, f: t.sigmoid },
  erf: { bound: 2, f: t.erf },
  erfinv: { bound: 3, f: t.erfinv },
  atan2: { bound: 2, f: (x, y) => t.atan2(x, y), arity: 2 },
  pow: { bound: 1, f: (x, y) => t.pow(x, y), arity: 2 },
  remainder: { bound: 0.51, f: (x, y) => t.remainder(x, y), arity: 2 },
};

const word = /* @__PURE__ */ new DataView(new ArrayBuffer(4));

function floatOf(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}

/** Distance of neighbouring f32 at x. */
function ulp(x: number): number {
  const exponent = x === 0 ? -126 : Math.max(-126, Math.floor(Math.log2(Math.abs(x))));
  return 2 ** (Math.min(127, exponent) - 23);
}

/** Error of an f32 in units of the last place of the true result. */
export function errorOf(got: number, expected: number): number {
  if (got === expected || (Number.isNaN(got) && Number.isNaN(expected))) return 0;
  const nearest = Math.fround(expected);
  if (got === nearest)
    return Math.min(0.5, Number.isFinite(got) ? Math.abs(got - expected) / ulp(expected) : 0);
  if (!Number.isFinite(expected) || Number.isNaN(got)) return Number.POSITIVE_INFINITY;
  // An infinity stands for the number that would follow the largest.
  const value = Number.isFinite(got) ? got : Math.sign(got) * 2 ** 128;
  return Math.abs(value - expected) / ulp(expected);
}

const EDGES = [
  0,
  1,
  0.5,
  2,
  10,
  88.72,
  88.73,
  87.33,
  103.97,
  104.5,
  1e-8,
  1e-20,
  1e-38,
  1e-45,
  3.4e38,
  Number.POSITIVE_INFINITY,
];

/** `count` bit patterns spread over all of f32, as many numbers of everyday size, and the edges. */
function samples(count: number, seed: number): Float32Array {
  const out: number[] = EDGES.flatMap((x) => [x, -x]);
  out.push(Number.NaN);
  let bits = seed >>> 0;
  for (let i = 0; i < count; i++) {
    bits = (bits + 0x9e3779b1) >>> 0; // an odd step visits every pattern once
    out.push(floatOf(bits));
    const unit = ((Math.imul(bits, 0x85ebca6b) >>> 0) / 2 ** 32) * 2 - 1;
    out.push([1, 4, 20, 110][i % 4]! * unit);
  }
  return Float32Array.from(out);
}

/** Compares a function of a backend with its definition in f64 at about `2 * count` points. */
export async function accuracyOf(backend: Backend, name: string, count: number): Promise<Accuracy> {
  const { f, arity = 1 } = FUNCTIONS[name]!;
  const xs = samples(count, 1);
  // The second argument runs through the samples in another order.
  const ys =
    arity === 2 ? samples(count, 0x1234567).map((_, i, all) => all[(i * 7919 + 13) % all.length]!) : xs;
  const { scalar } = opCases().find(({ op }) => op.name === name)!.op;
  const [got] = await runOn(backend, () => [
    f(t.fromHost("f32", [xs.length], xs), t.fromHost("f32", [ys.length], ys)),
  ]);
  let [worst, where] = [-1, 0];
  for (let i = 0; i < xs.length; i++) {
    const error = errorOf(got!.data[i]!, scalar!(xs[i]!, ys[i]!));
    if (error > worst) [worst, where] = [error, i];
  }
  return {
    name,
    worst,
    at: arity === 2 ? [xs[where]!, ys[where]!] : [xs[where]!],
    got: got!.data[where]!,
    expected: scalar!(xs[where]!, ys[where]!),
    samples: xs.length,
  };
}
