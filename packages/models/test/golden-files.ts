import { fileURLToPath } from "node:url";
import { type Tensor, tensor } from "@lowrank/tensor";
import { openSafetensors } from "@lowrank/models";
import { expect } from "vitest";

/** Path of a file or folder beside the goldens' script. */
export const golden = (path: string): string => fileURLToPath(new URL(`./goldens/${path}`, import.meta.url));

export interface Goldens {
  names: string[];
  /** A tensor; ids and labels, stored in 64 bits, come as i32. */
  tensor(name: string): Tensor;
  numbers(name: string): number[];
}

/** All tensors of a golden file. */
export async function readGoldens(path: string): Promise<Goldens> {
  const file = await openSafetensors(path);
  const tensors = new Map<string, Tensor>();
  const numbers = new Map<string, number[]>();
  for (const [name, { shape, array }] of file.tensors) {
    const data = await array();
    const plain = Array.from(data as ArrayLike<number | bigint>, Number);
    numbers.set(name, plain);
    tensors.set(
      name,
      data instanceof BigInt64Array
        ? tensor(Int32Array.from(plain), { dtype: "i32", shape })
        : tensor(Float32Array.from(plain), { shape }),
    );
  }
  await file.close();
  return {
    names: [...tensors.keys()],
    tensor: (name) => tensors.get(name)!,
    numbers: (name) => numbers.get(name)!,
  };
}

/** Largest difference, relative to the largest number wanted, below a bound. */
export async function expectNear(
  got: Tensor,
  want: readonly number[],
  bound: number,
  what: string,
): Promise<void> {
  const data = await got.data();
  expect(data.length, what).toBe(want.length);
  const size = Math.max(...want.map(Math.abs), 1e-8);
  let worst = 0;
  for (const [i, w] of want.entries()) worst = Math.max(worst, Math.abs(data[i]! - w) / size);
  expect(worst, `${what}: largest relative error`).toBeLessThan(bound);
}
