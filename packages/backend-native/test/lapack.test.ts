import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { apply, defineOp, setDefaultBackend, tensor } from "@lowrank/tensor";
import type { Each, NativeBackend, NativeKernel } from "../src/index.js";
import { blas, noBlas } from "./blas.js";

const [ROW_MAJOR, LEFT, UPPER, LOWER, PLAIN, NON_UNIT] = [101, 141, 121, 122, 111, 131];
// Of Fortran, whose columns are our rows.
const OUR_LOWER = "U";

/** Lᵀ with L Lᵀ = A Aᵀ for a batch of A [b, n, k]: G = A Aᵀ by syrk, its factor L by potrf, and L⁻¹ G = Lᵀ by trsm. */
const factor: NativeKernel = (lapack) => ({
  emit(group, ctx) {
    const [a, out] = [group.inputs[0]!, group.outputs[0]!];
    if (!("value" in a) || (a.dtype !== "f32" && a.dtype !== "f64"))
      throw new Error("expected a stored operand");
    const { dtype } = a;
    const [count, n, k] = a.dims as [number, number, number];
    const bytes = dtype === "f32" ? 4 : 8;
    const each = (at: Each["at"], size: number): Each => ({ at, step: size * bytes });
    const [from, to] = [each(ctx.pointer(a), n * k), each(ctx.pointer(out), n * n)];
    const lower = each(ctx.workspace(count * n * n * bytes), n * n);
    const info = { at: ctx.workspace(4 * count), step: 4 };
    const calls = { count, chunks: 3 };
    for (const [part, triangle] of [
      [lower, LOWER],
      [to, LOWER],
      [to, UPPER],
    ] as const)
      lapack.call(ctx, "syrk", dtype, [ROW_MAJOR!, triangle!, PLAIN!, n, k, 1, from, k, 0, part, n], calls);
    lapack.call(ctx, "potrf", dtype, [OUR_LOWER, n, lower, n, info], calls);
    const solve = [ROW_MAJOR!, LEFT!, LOWER!, PLAIN!, NON_UNIT!, n, n, 1, lower, n, to, n];
    // A factor that failed would leave its place without a result.
    lapack.call(ctx, "trsm", dtype, solve, { ...calls, skip: info });
  },
});

const op = defineOp<null>("gramFactor", {
  kind: "kernel",
  infer: ([a]) => ({ dtype: a!.dtype, dims: [a!.dims[0]!, a!.dims[1]!, a!.dims[1]!] }),
  kernels: { native: factor },
});

describe.skipIf(noBlas)("routines beside products", () => {
  let backend: NativeBackend;
  beforeAll(async () => {
    backend = await blas({ threads: 3 });
  });
  afterAll(() => backend.dispose());

  test("are named as far as the library has them", () => {
    const { routines, has } = backend.lapack!;
    expect(routines).toEqual(expect.arrayContaining(["strsm", "dtrsm", "ssyrk", "dsyrk"]));
    for (const name of ["getrf", "potrf", "geqrf", "orgqr", "geqp3", "syevd", "gesdd", "gels"] as const)
      expect(has(name, "f64")).toBe(routines.includes(`d${name}`));
  });

  test("run as commands of an op that brings its kernel for this backend", async () => {
    if (!backend.lapack!.has("potrf", "f32")) return expect(backend.library!.name).not.toBe("OpenBLAS");
    setDefaultBackend(backend);
    const [count, n, k] = [5, 7, 11];
    let seed = 3;
    const numbers = Float64Array.from({ length: count * n * k }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.fround(seed / 2 ** 31 - 1);
    });
    for (const dtype of ["f32", "f64"] as const) {
      const a = dtype === "f32" ? Float32Array.from(numbers) : numbers;
      const r = (await apply(op, [tensor(a, { shape: [count, n, k] })], null).data()) as Float64Array;
      const tolerance = dtype === "f32" ? 2e-5 : 1e-13;
      for (let m = 0; m < count; m++)
        for (let i = 0; i < n; i++)
          for (let j = 0; j < n; j++) {
            let [got, want] = [0, 0];
            for (let l = 0; l < n; l++) got += r[(m * n + l) * n + i]! * r[(m * n + l) * n + j]!;
            for (let l = 0; l < k; l++) want += numbers[(m * n + i) * k + l]! * numbers[(m * n + j) * k + l]!;
            expect(Math.abs(got - want)).toBeLessThan(tolerance * k);
            if (i > j) expect(Math.abs(r[(m * n + i) * n + j]!)).toBeLessThan(tolerance * k);
          }
    }
  });
});
