import { type Backend, type Tensor, tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { expect } from "vitest";
import { qr } from "../../src/index.js";
import { weights } from "./gradient.js";

export const vector = (x: readonly number[]): Tensor => tensor(Float64Array.from(x), { shape: [x.length] });

/** A matrix [m, n] in f64 with these singular values, as many as there are, and 0 beyond. */
export function withValues(m: number, n: number, s: readonly number[], seed = 1): Tensor {
  const left = qr(weights([m, s.length], seed)).q;
  const right = qr(weights([n, s.length], seed + 1)).q;
  return left.mul(vector(s)).matmul(right.T);
}

/** Numbers of tensors that are computed together, flat. */
export async function numbers(backend: Backend, build: () => readonly Tensor[]): Promise<number[][]> {
  return (await runOn(backend, build)).map(({ data }) => Array.from(data));
}

/** Expects pairs [got, want] to have the same shape and ‖got - want‖_F ≤ tolerance · max(1, ‖want‖_F). */
export async function expectClose(
  backend: Backend,
  what: string,
  build: () => readonly [Tensor, Tensor][],
  tolerance = 1e-12,
): Promise<void> {
  const results = await runOn(backend, () => build().flat());
  for (let i = 0; i < results.length; i += 2) {
    const [got, want] = [results[i]!, results[i + 1]!];
    expect(got.dims, what).toEqual(want.dims);
    let [difference, size] = [0, 0];
    for (let j = 0; j < want.data.length; j++) {
      difference += (Number(got.data[j]) - Number(want.data[j])) ** 2;
      size += Number(want.data[j]) ** 2;
    }
    const bound = tolerance * Math.max(1, Math.sqrt(size));
    if (!(Math.sqrt(difference) <= bound))
      expect.fail(`${what}, pair ${i / 2}: off by ${Math.sqrt(difference)}, allowed ${bound}`);
  }
}
