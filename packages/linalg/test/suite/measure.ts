import { type Backend, type DType, type Tensor, tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { expect } from "vitest";
import { type Matrix, matrix, product, transposed } from "./families.js";

export type Real = "f32" | "f64";
export const REALS: readonly Real[] = ["f64", "f32"];
export const EPS: Record<Real, number> = { f32: 2 ** -23, f64: 2 ** -52 };

/** The tensor of some matrices of one shape, [count, m, n] or [m, n] for one. */
export function toTensor(a: Matrix | readonly Matrix[], dtype: DType): Tensor {
  if (!Array.isArray(a)) {
    const { m, n, data } = a as Matrix;
    return tensor(data, { shape: [m, n], dtype });
  }
  const list = a as readonly Matrix[];
  const { m, n } = list[0]!;
  return tensor(Float64Array.from(list.flatMap(({ data }) => [...data])), {
    shape: [list.length, m, n],
    dtype,
  });
}

/** A matrix with its elements as the dtype stores them. */
export const stored = (a: Matrix, dtype: Real): Matrix =>
  dtype === "f64" ? a : { ...a, data: a.data.map(Math.fround) };

/** Results of a run as matrices, one for each of a batch. */
export function matricesOf(result: { dims: readonly number[]; data: ArrayLike<number> }): Matrix[] {
  const [m, n] = result.dims.slice(-2) as [number, number];
  const count = result.dims.slice(0, -2).reduce((a, b) => a * b, 1);
  const data = Float64Array.from(result.data);
  return Array.from({ length: count }, (_, b) => ({ m, n, data: data.slice(b * m * n, (b + 1) * m * n) }));
}

export function frobenius(a: Matrix): number {
  let largest = 0;
  for (const x of a.data) largest = Math.max(largest, Math.abs(x));
  if (largest === 0) return 0;
  let sum = 0;
  for (const x of a.data) sum += (x / largest) ** 2;
  return largest * Math.sqrt(sum);
}

export const minus = (a: Matrix, b: Matrix): Matrix => ({ ...a, data: a.data.map((x, i) => x - b.data[i]!) });

/** Expects ‖got - want‖ ≤ 20 n eps ‖scale‖, n the larger side. */
export function expectBackward(
  what: string,
  got: Matrix,
  want: Matrix,
  dtype: Real,
  scale = frobenius(want),
): void {
  expect([got.m, got.n], what).toEqual([want.m, want.n]);
  const error = frobenius(minus(got, want));
  const bound = 20 * Math.max(want.m, want.n, 1) * EPS[dtype] * scale;
  if (!(error <= bound)) {
    expect.fail(`${what} (${dtype}, [${want.m}, ${want.n}]): error ${error}, allowed ${bound}`);
  }
}

/** Expects qᵀ q = I up to 20 n eps. */
export function expectOrthonormal(what: string, q: Matrix, dtype: Real): void {
  const identity = matrix(q.n, q.n, (i, j) => (i === j ? 1 : 0));
  const error = frobenius(minus(product(transposed(q), q), identity));
  const bound = 20 * Math.max(q.m, q.n) * EPS[dtype];
  if (!(error <= bound))
    expect.fail(`${what} (${dtype}, [${q.m}, ${q.n}]): qᵀq - I is ${error}, allowed ${bound}`);
}

/** Expects the element of largest magnitude of each column to be positive, unless another is as large. */
export function expectSigns(what: string, u: Matrix, dtype: Real): void {
  for (let j = 0; j < u.n; j++) {
    const column = Array.from({ length: u.m }, (_, i) => u.data[i * u.n + j]!);
    const most = Math.max(...column.map(Math.abs));
    if (!column.some((x) => x >= most * (1 - 100 * EPS[dtype])))
      expect.fail(`${what}: column ${j} of [${u.m}, ${u.n}] has its largest element negative`);
  }
}

/** Evaluates on a backend: results as lists of matrices, or the numbers of one. */
export function evaluator(makeBackend: () => Promise<Backend>) {
  return {
    run: async (build: () => readonly Tensor[]): Promise<Matrix[][]> =>
      (await runOn(await makeBackend(), build)).map(matricesOf),
    numbers: async (build: () => Tensor): Promise<number[]> => {
      const [result] = await runOn(await makeBackend(), () => [build()]);
      return Array.from(result!.data);
    },
  };
}
