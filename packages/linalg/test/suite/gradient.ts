import { type Backend, fromHost, gradients, type Tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { expect } from "vitest";
import { sequence } from "./families.js";

/** Fixed numbers in [-1, 1). */
export function weights(dims: readonly number[], seed: number): Tensor {
  const next = sequence(seed);
  return fromHost("f64", dims, Float64Array.from({ length: dims.reduce((a, b) => a * b, 1) }, next));
}

/** Σ x ∘ w for fixed numbers w: a scalar that sees every element. */
export const weighed = (x: Tensor, seed = 77): Tensor => x.mul(weights(x.shape, seed)).sum();

export interface Slope {
  /** Differences are taken along this many directions. Default 4. */
  directions?: number;
  /** Step. Default 1e-5. */
  h?: number;
  /** Allowed difference beside 1e-6 of the slope. Default 1e-7. */
  atol?: number;
  /** Compare the gradient of the gradient too. */
  second?: boolean;
}

/**
 * Expects the gradient of the scalar f at float64 inputs to agree with central differences of order h⁴ along random
 * directions.
 */
export async function checkSlope(
  backend: Backend,
  what: string,
  f: (...xs: Tensor[]) => Tensor,
  inputs: readonly { dims: readonly number[]; data: Float64Array }[],
  { directions = 4, h = 1e-4, atol = 1e-7, second = false }: Slope = {},
): Promise<void> {
  const tensors = (data: readonly Float64Array[]) => data.map((d, i) => fromHost("f64", inputs[i]!.dims, d));
  const start = inputs.map(({ data }) => data);
  const compare = async (name: string, scalar: (...xs: Tensor[]) => Tensor, allowed: number) => {
    const slopes = await runOn(backend, () => {
      const xs = tensors(start);
      return gradients(scalar(...xs), xs);
    });
    for (let k = 0; k < directions; k++) {
      const next = sequence(1000 + k);
      const along = start.map((d) => d.map(() => next()));
      let got = 0;
      for (const [i, d] of along.entries())
        for (const [j, x] of d.entries()) got += x * Number(slopes[i]!.data[j]);
      const at = async (t: number): Promise<number> => {
        const [result] = await runOn(backend, () => [
          scalar(...tensors(start.map((d, i) => d.map((x, j) => x + t * along[i]![j]!)))),
        ]);
        return Number(result!.data[0]);
      };
      const near = ((await at(h)) - (await at(-h))) / (2 * h);
      const far = ((await at(2 * h)) - (await at(-2 * h))) / (4 * h);
      const want = (4 * near - far) / 3;
      const bound = allowed + 1e-6 * Math.abs(want);
      if (!(Math.abs(got - want) <= bound)) {
        expect.fail(`${name}, direction ${k}: gradient ${got}, central difference ${want}, allowed ${bound}`);
      }
    }
  };
  await compare(`gradient of ${what}`, f, atol);
  if (!second) return;
  const slope = (...xs: Tensor[]): Tensor =>
    gradients(f(...xs), xs)
      .map((g, i) => weighed(g, 91 + i))
      .reduce((a, b) => a.add(b));
  await compare(`second gradient of ${what}`, slope, atol * 30);
}
