import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import type { Backend, Tensor } from "@lowrank/tensor";
import * as t from "@lowrank/tensor";
import { opCases, runOn } from "@lowrank/tensor/testing";

/** How far a function of f32 is from the truth. */
export interface Accuracy {
  readonly name: string;
  /** Worst error in units of the last place of the true result; Infinity if a NaN, an infinity or the sign of 0 is wrong. */
  readonly worst: number;
  /** Arguments of the worst error, the result, the truth. */
  readonly at: readonly number[];
  readonly got: number;
  readonly expected: number;
  /** Mean error of the results that are finite and not 0. */
  readonly mean: number;
  readonly samples: number;
}

/** A function under test: the worst error that is allowed, and the points around which all numbers are tried. */
interface Entry {
  readonly bound: number;
  readonly f: (x: Tensor, y: Tensor) => Tensor;
  readonly arity?: 1 | 2;
  /** Whether the sign of a zero is part of the result. Default: true. */
  readonly signedZero?: boolean;
  /** Ends of the range, of the intervals of the approximation, and overflow and underflow of the result. */
  readonly edges?: readonly number[];
}

const QUARTER = Math.PI / 4;
const quarters = [1, 2, 3, 4, 5, 6, 8, 16, 100, 1000, 10 ** 6 / 2].map((n) => n * QUARTER);
const halves = [0.5, 1.5, 2.5, 3.5, 126.5, 127.5, 128.5, 149.5, 150.5].map((n) => n * Math.LN2);

/** The functions, with the bounds that tests hold. */
export const FUNCTIONS: Readonly<Record<string, Entry>> = {
  exp: { bound: 1.1, f: t.exp, edges: [87.3365, 88.7228, 89, 103.2789, 103.9721, 104.5, ...halves] },
  expm1: { bound: 1.5, f: t.expm1, edges: [1e-8, 17.3287, 20, 88.7228, 89, ...halves] },
  log: { bound: 1, f: t.log, edges: [Math.SQRT1_2, Math.SQRT2] },
  log1p: { bound: 1, f: t.log1p, edges: [1e-8, Math.SQRT2 - 1, 1 - Math.SQRT1_2] },
  sqrt: { bound: 0.5, f: t.sqrt },
  rsqrt: { bound: 1.5, f: t.rsqrt },
  reciprocal: { bound: 0.5, f: t.reciprocal, edges: [2 ** -128, 2 ** 126, 2 ** 127] },
  sin: { bound: 1.6, f: t.sin, edges: [...quarters, 1e6] },
  cos: { bound: 1.6, f: t.cos, edges: [...quarters, 1e6] },
  tan: { bound: 0.6, f: t.tan, edges: [...quarters, 1e6] },
  asin: { bound: 1.8, f: t.asin },
  acos: { bound: 1.2, f: t.acos },
  atan: { bound: 1.9, f: t.atan, edges: [Math.SQRT2 - 1, Math.SQRT2 + 1] },
  sinh: { bound: 1.7, f: t.sinh, edges: [88.7228, 89.4159, 90, ...halves] },
  cosh: { bound: 1.5, f: t.cosh, edges: [88.7228, 89.4159, 90, ...halves] },
  tanh: { bound: 1.5, f: t.tanh, edges: [0.625, 9.0109, 10, ...halves.map((x) => x / 2)] },
  sigmoid: { bound: 1.9, f: t.sigmoid, edges: [16.6355, 87.3365, 103.2789, 103.9721, 104.5, ...halves] },
  erf: { bound: 1.5, f: t.erf, edges: [1.125, 1.875, 2.625, 3.8325, 3.95] },
  erfinv: { bound: 1.9, f: t.erfinv, edges: [0.99662] },
  atan2: { bound: 2, f: (x, y) => t.atan2(x, y), arity: 2 },
  pow: { bound: 1, f: (x, y) => t.pow(x, y), arity: 2 },
  // a - b ⌊a / b⌋ is +0 where the remainder of JavaScript is -0
  remainder: { bound: 0.51, f: (x, y) => t.remainder(x, y), arity: 2, signedZero: false },
};

/** The backend with the kernels that fuse multiply and add (relaxed), or with those of engines that cannot (plain). */
export async function backendOf(binary: "relaxed" | "plain"): Promise<WasmBackend> {
  const { validate } = WebAssembly;
  if (binary === "plain") WebAssembly.validate = () => false;
  const backend = await wasm({ threads: 1 }).finally(() => (WebAssembly.validate = validate));
  if (backend.relaxed !== (binary === "relaxed")) throw new Error(`this engine has no ${binary} kernels`);
  return backend;
}

const double = /* @__PURE__ */ new Float64Array(1);
const words = /* @__PURE__ */ new Uint32Array(double.buffer);
const high = /* @__PURE__ */ new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;
const ULPS = /* @__PURE__ */ Float64Array.from(
  { length: 2048 },
  (_, e) => 2 ** (Math.min(127, Math.max(-126, e - 1023)) - 23),
);

/** Distance of neighbouring f32 at x. */
function ulp(x: number): number {
  double[0] = x;
  return ULPS[(words[high]! >>> 20) & 2047]!;
}

/** Error of an f32 in units of the last place of the true result. */
export function errorOf(got: number, expected: number): number {
  if (got === expected) return got !== 0 || Object.is(got, expected) ? 0 : Number.POSITIVE_INFINITY;
  if (Number.isNaN(got) && Number.isNaN(expected)) return 0;
  if (got === Math.fround(expected))
    return Number.isFinite(got) ? Math.abs(got - expected) / ulp(expected) : 0;
  if (!Number.isFinite(expected) || Number.isNaN(got)) return Number.POSITIVE_INFINITY;
  // An infinity stands for the number that would follow the largest.
  const value = Number.isFinite(got) ? got : Math.sign(got) * 2 ** 128;
  return Math.abs(value - expected) / ulp(expected);
}

const SPECIAL = [0, 1, Number.POSITIVE_INFINITY, 2 ** -149, 2 ** -126, 3.4028234663852886e38];
const EVERYWHERE = [0.5, 2, 2 ** -126, 2 ** -75, 2 ** -24, 2 ** -12, 2 ** 24, 2 ** 64];
const NEIGHBOURS = 1 << 12;

/** All numbers within 4,096 steps of an edge of the function, and the special ones, with both signs. */
export function edgesOf(name: string): Float32Array {
  const bits = new Set<number>();
  const pattern = new Uint32Array(1);
  const number = new Float32Array(pattern.buffer);
  const around = (x: number, steps: number) => {
    number[0] = x;
    const middle = pattern[0]!;
    for (let d = -steps; d <= steps; d++) if (middle + d >= 0) bits.add(middle + d);
  };
  for (const x of SPECIAL) around(x, 64);
  for (const x of [1, ...EVERYWHERE, ...(FUNCTIONS[name]!.edges ?? [])]) around(x, NEIGHBOURS);
  const magnitudes = Uint32Array.from(bits);
  const both = new Uint32Array(2 * magnitudes.length);
  both.set(magnitudes);
  magnitudes.forEach((word, i) => (both[magnitudes.length + i] = (word | 0x80000000) >>> 0));
  return new Float32Array(both.buffer);
}

const CHUNK = 1 << 20;

/** The f32 whose bits are 0, `stride`, 2 `stride`, ... below 2³²: with stride 1 all of them. */
export function* patterns(stride: number): Generator<readonly [Float32Array]> {
  for (let first = 0; first < 2 ** 32; first += CHUNK * stride) {
    const bits = new Uint32Array(Math.min(CHUNK, Math.ceil((2 ** 32 - first) / stride)));
    for (let i = 0; i < bits.length; i++) bits[i] = first + i * stride;
    yield [new Float32Array(bits.buffer)];
  }
}

/**
 * `count` pairs: a quarter of any bits (two walks through all 2³² patterns by odd steps), a quarter of numbers between
 * -4 and 4, a quarter between 0 and 4 with exponents between -40 and 40, a quarter with both close to a power of 2.
 */
export function* pairs(count: number): Generator<readonly [Float32Array, Float32Array]> {
  let [p, q] = [1, 0x1234567];
  const step = () => {
    p = (p + 0x9e3779b1) >>> 0;
    q = (Math.imul(q, 0x85ebca6b) + 0x6d2b79f5) >>> 0;
  };
  for (let done = 0; done < count; done += CHUNK) {
    const size = Math.min(CHUNK, count - done);
    const [xs, ys] = [new Float32Array(size), new Float32Array(size)];
    const [a, b] = [new Uint32Array(xs.buffer), new Uint32Array(ys.buffer)];
    for (let i = 0; i < size; i++) {
      step();
      const [u, v] = [p / 2 ** 32, q / 2 ** 32];
      if (i % 4 === 0) [a[i], b[i]] = [p, q];
      else if (i % 4 === 1) [xs[i], ys[i]] = [8 * u - 4, 8 * v - 4];
      else if (i % 4 === 2) [xs[i], ys[i]] = [4 * u, 80 * v - 40];
      else [xs[i], ys[i]] = [1 + (u - 0.5) / 64, 2 ** Math.floor(24 * v - 12) * (1 + (u - 0.5) / 512)];
    }
    yield [xs, ys];
  }
}

/** Every edge of one argument with every special number of the other. */
export function edgePairs(): readonly [Float32Array, Float32Array] {
  const some = [...SPECIAL, Number.NaN, 2, 3, 0.5, 2.5, 16777217, 1e-20, 1e20].flatMap((x) => [x, -x]);
  const xs = some.flatMap((x) => some.map(() => x));
  const ys = some.flatMap(() => some);
  return [Float32Array.from(xs), Float32Array.from(ys)];
}

/** Compares a function of a backend with its definition in f64 on arguments that come in pieces. */
export async function accuracyOf(
  backend: Backend,
  name: string,
  pieces: Iterable<readonly Float32Array[]>,
): Promise<Accuracy> {
  const { f, arity = 1, signedZero = true } = FUNCTIONS[name]!;
  const scalar = opCases().find(({ op }) => op.name === name)!.op.scalar!;
  let [worst, samples, sum, counted] = [-1, 0, 0, 0];
  let at: readonly number[] = [];
  let [wrong, truth] = [0, 0];
  for (const [xs, ys = xs] of pieces) {
    const count = xs!.length;
    const [result] = await runOn(backend, () => [
      f(t.fromHost("f32", [count], xs!), t.fromHost("f32", [count], ys!)),
    ]);
    const data = result!.data as Float32Array;
    for (let i = 0; i < count; i++) {
      const expected = scalar(xs![i]!, ys![i]!);
      const error = expected === data[i] && !signedZero ? 0 : errorOf(data[i]!, expected);
      if (error > worst) {
        worst = error;
        at = arity === 2 ? [xs![i]!, ys![i]!] : [xs![i]!];
        [wrong, truth] = [data[i]!, expected];
      }
      if (expected !== 0 && Number.isFinite(expected) && error < Number.POSITIVE_INFINITY) {
        sum += error;
        counted++;
      }
    }
    samples += count;
  }
  return { name, worst, at, got: wrong, expected: truth, mean: sum / Math.max(1, counted), samples };
}

/** The usual sample of a function: its edges, and every `stride`-th pattern or as many pairs. */
export function* sampleOf(name: string, stride: number): Generator<readonly Float32Array[]> {
  if (FUNCTIONS[name]!.arity === 2) {
    yield edgePairs();
    yield* pairs(Math.ceil(2 ** 32 / stride));
  } else {
    if (stride > 1) yield [edgesOf(name)];
    yield* patterns(stride);
  }
}
