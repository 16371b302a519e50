import { dawn } from "@lowrank/backend-dawn";
import { key, normal, parameter, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { expect } from "vitest";
import type { Traits } from "../src/emit-traits.js";
import type { WebGpuBackend } from "../src/index.js";

/** A backend of its own, since plans are cached, that takes its device for one with these traits. */
export async function start(traits: Partial<Traits> = {}): Promise<WebGpuBackend> {
  const backend = await dawn();
  Object.assign((Reflect.get(backend, "gpu") as { traits: Traits }).traits, traits);
  setDefaultBackend(backend);
  return backend;
}

export const drawn = (shape: number[], seed: number): Tensor => parameter(normal(shape, { key: key(seed) }));

export const numbers = async (t: Tensor): Promise<Float32Array> => (await t.data()) as Float32Array;

/** C = A B in f64, from row-major [M, K] and [K, N]. */
export function product(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  M: number,
  N: number,
  K: number,
): Float64Array {
  const c = new Float64Array(M * N);
  for (let i = 0; i < M; i++)
    for (let k = 0; k < K; k++) for (let j = 0; j < N; j++) c[i * N + j]! += a[i * K + k]! * b[k * N + j]!;
  return c;
}

/** Sums of K products of normal numbers, each off by up to `rtol` of a few times their spread. */
export function expectClose(got: ArrayLike<number>, wanted: ArrayLike<number>, K: number, rtol = 1e-6): void {
  expect(got.length).toBe(wanted.length);
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) {
    const off = Math.abs(got[i]! - wanted[i]!);
    worst = Math.max(worst, off);
  }
  expect(worst).toBeLessThan(rtol * 8 * Math.sqrt(K));
}
