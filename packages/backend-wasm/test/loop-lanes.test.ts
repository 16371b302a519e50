import { afterAll, beforeAll, expect, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend, Tensor } from "@lowrank/tensor";
import * as t from "@lowrank/tensor";
import { Rng, runOn } from "@lowrank/tensor/testing";

let backend: Backend;
beforeAll(async () => {
  backend = await wasm({ threads: 1 });
});
afterAll(() => backend.dispose());

type Function1 = (x: Tensor) => Tensor;
type Function2 = (x: Tensor, y: Tensor) => Tensor;

const UNARY: Record<string, Function1> = {
  exp: t.exp,
  expm1: t.expm1,
  log: t.log,
  log1p: t.log1p,
  sin: t.sin,
  cos: t.cos,
  tan: t.tan,
  asin: t.asin,
  acos: t.acos,
  atan: t.atan,
  sinh: t.sinh,
  cosh: t.cosh,
  tanh: t.tanh,
  sigmoid: t.sigmoid,
  erf: t.erf,
  erfinv: t.erfinv,
};
const BINARY: Record<string, Function2> = { pow: t.pow, atan2: t.atan2, remainder: t.remainder };

const HARD = [
  0,
  -0,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN,
  1e30,
  -3e7,
  1e-40,
  -1,
  1,
  2e6,
];

/** Bits of the results, NaN all alike. */
const bits = (data: ArrayLike<number>): number[] => {
  const word = new Int32Array(1);
  const number = new Float32Array(word.buffer);
  return Array.from(data, (x) => {
    number[0] = x;
    return Number.isNaN(x) ? 1 : word[0]!;
  });
};

test("every element is what it is alone, whatever its neighbours are", async () => {
  const rng = new Rng(3);
  const n = 64;
  const x = Float32Array.from({ length: n }, () => rng.between(-3, 3));
  const y = Float32Array.from({ length: n }, () => rng.between(-3, 3));
  // the same numbers with a hard one in every second place
  const odd = (data: Float32Array, shift: number) =>
    Float32Array.from(data, (v, i) => (i % 2 ? HARD[(i + shift) % HARD.length]! : v));
  const tensor = (data: Float32Array) => t.fromHost("f32", [n], data);
  const evens = (data: ArrayLike<number>) => bits(data).filter((_, i) => i % 2 === 0);
  for (const [name, f] of Object.entries(UNARY)) {
    const [plain] = await runOn(backend, () => [f(tensor(x))]);
    const [mixed] = await runOn(backend, () => [f(tensor(odd(x, 0)))]);
    expect(evens(mixed!.data), name).toEqual(evens(plain!.data));
  }
  for (const [name, f] of Object.entries(BINARY)) {
    const [plain] = await runOn(backend, () => [f(tensor(x), tensor(y))]);
    const [mixed] = await runOn(backend, () => [f(tensor(odd(x, 0)), tensor(odd(y, 4)))]);
    expect(evens(mixed!.data), name).toEqual(evens(plain!.data));
  }
});
