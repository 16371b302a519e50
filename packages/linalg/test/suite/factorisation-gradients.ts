import { type Backend, eye, gradients, sin, slice, tensor, type Tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { describe, expect, test } from "vitest";
import { cholesky, eigh, eigvalsh, qr, singularValues, svd, triangularSolve } from "../../src/index.js";
import { sequence } from "./families.js";
import { checkSlope, weighed, weights } from "./gradient.js";

/** Fixed numbers in [-1, 1) as an input of `checkSlope`. */
export function drawn(
  dims: readonly number[],
  seed: number,
): { dims: readonly number[]; data: Float64Array } {
  const next = sequence(seed);
  return { dims, data: Float64Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => next()) };
}

export const symmetric = (x: Tensor): Tensor => x.add(x.T).mul(0.5);

/** x xᵀ + I. */
export const positive = (x: Tensor): Tensor =>
  x.matmul(x.T).add(eye(x.shape[x.ndim - 2]!, undefined, { dtype: x.dtype }));

/** x with its columns scaled by fixed numbers. */
const weighedColumns = (x: Tensor, seed: number): Tensor => x.mul(weights([x.shape[x.ndim - 1]!], seed));

/** Σ w_j x_j x_jᵀ: projectors, which no sign changes. */
const projectors = (x: Tensor, seed: number): Tensor => weighedColumns(x, seed).matmul(x.T);

const columns = (x: Tensor, from: number, to: number): Tensor =>
  slice(x, [...x.shape.slice(0, -2).map(() => null), null, [from, to]]);

/** Gradients of every factorisation against central differences, through functions that no choice of basis changes. */
export function factorisationGradientSuite(makeBackend: () => Promise<Backend>): void {
  describe("gradients of factorisations", () => {
    test("cholesky", async () => {
      const backend = await makeBackend();
      for (const dims of [
        [1, 1],
        [4, 4],
        [2, 3, 3],
      ]) {
        const f = (x: Tensor) => weighed(cholesky(positive(x)));
        await checkSlope(backend, `cholesky ${dims}`, f, [drawn(dims, 1)], { second: true });
      }
      const jittered = (x: Tensor) => weighed(cholesky(positive(x), { jitter: 0.3 }));
      await checkSlope(backend, "cholesky with jitter", jittered, [drawn([2, 3, 3], 2)]);
    });

    test("triangularSolve, all sixteen ways", async () => {
      const backend = await makeBackend();
      for (let flags = 0; flags < 16; flags++) {
        const [lower, transpose, left, unitDiagonal] = [1, 2, 4, 8].map((bit) => (flags & bit) !== 0);
        const f = (a: Tensor, b: Tensor) => {
          const shifted = a.add(eye(3, 3, { dtype: "f64" }).mul(2));
          const options = { lower, transpose, left, unitDiagonal } as Parameters<typeof triangularSolve>[2];
          return weighed(triangularSolve(shifted, b, options));
        };
        const inputs = [drawn([2, 3, 3], 3), drawn(left ? [3, 2] : [2, 3], 4)];
        await checkSlope(backend, `triangularSolve ${flags}`, f, inputs, { second: flags < 4 });
      }
    });

    test("qr: tall, square, wide; thin and full", async () => {
      const backend = await makeBackend();
      for (const dims of [
        [1, 1],
        [5, 3],
        [4, 4],
        [3, 5],
        [1, 4],
        [4, 1],
        [2, 3, 2],
      ]) {
        const parts: Record<string, (x: Tensor) => Tensor> = {
          q: (x) => weighed(qr(x).q),
          r: (x) => weighed(qr(x).r),
          both: (x) => weighed(qr(x).q).add(weighed(qr(x).r, 5)),
          full: (x) => {
            const { q, r } = qr(x, { mode: "full" });
            const thin = Math.min(...dims.slice(-2));
            const rest = columns(q, thin, q.shape[q.ndim - 1]!);
            return weighed(columns(q, 0, thin))
              .add(weighed(rest.matmul(rest.T), 6))
              .add(weighed(r, 7));
          },
        };
        for (const [name, f] of Object.entries(parts))
          await checkSlope(backend, `qr ${name} ${dims}`, f, [drawn(dims, 5)], { second: name === "both" });
      }
    });

    test("eigh: values, projectors, and functions of both", async () => {
      const backend = await makeBackend();
      for (const dims of [
        [1, 1],
        [4, 4],
        [2, 3, 3],
      ]) {
        const parts: Record<string, (x: Tensor) => Tensor> = {
          values: (x) => weighed(eigh(symmetric(x)).values),
          eigvalsh: (x) => weighed(eigvalsh(symmetric(x))),
          projectors: (x) => weighed(projectors(eigh(symmetric(x)).vectors, 3)),
          both: (x) => {
            const { values, vectors } = eigh(symmetric(x));
            return weighed(
              vectors
                .mul(sin(values).reshape([...dims.slice(0, -2), 1, dims[dims.length - 1]!]))
                .matmul(vectors.T),
            ).add(weighed(values, 4));
          },
        };
        for (const [name, f] of Object.entries(parts))
          await checkSlope(backend, `eigh ${name} ${dims}`, f, [drawn(dims, 6)], { second: true });
      }
    });

    test("svd: tall, square, wide; values, projectors, and functions of both; thin and full", async () => {
      const backend = await makeBackend();
      for (const dims of [
        [1, 1],
        [5, 3],
        [4, 4],
        [3, 5],
        [1, 4],
        [4, 1],
        [2, 3, 2],
      ]) {
        const [m, n] = dims.slice(-2) as [number, number];
        const k = Math.min(m, n);
        const parts: Record<string, (x: Tensor) => Tensor> = {
          values: (x) => weighed(svd(x).s),
          singularValues: (x) => weighed(singularValues(x)),
          left: (x) => weighed(projectors(svd(x).u, 3)),
          right: (x) => weighed(projectors(svd(x).vt.T, 3)),
          both: (x) => {
            const { u, s, vt } = svd(x);
            return weighed(weighedColumns(u, 4).matmul(vt)).add(weighed(s, 5));
          },
          full: (x) => {
            const { u, s, vt } = svd(x, { full: true });
            const [left, right] = [columns(u, k, m), columns(vt.T, k, n)];
            const rest = weighed(left.matmul(left.T), 6).add(weighed(right.matmul(right.T), 7));
            return rest
              .add(weighed(weighedColumns(columns(u, 0, k), 8).matmul(columns(vt.T, 0, k).T)))
              .add(weighed(s));
          },
        };
        for (const [name, f] of Object.entries(parts))
          await checkSlope(backend, `svd ${name} ${dims}`, f, [drawn(dims, 8)], { second: name === "both" });
      }
    });

    test("eigh and svd are safe for equal and almost equal values", async () => {
      const backend = await makeBackend();
      for (const gap of [1e-2, 1e-5, 1e-8, 1e-11, 1e-13, 0]) {
        // Q diag(1, 1 + gap, 2, 2 + gap, 3) Qᵀ: the projector on the first four, and on the first two, is smooth.
        const values = [1, 1 + gap, 2, 2 + gap, 3];
        const base = (x: Tensor): Tensor => {
          const q = qr(weights([5, 5], 11)).q;
          return q
            .mul(tensor(Float64Array.from(values)))
            .matmul(q.T)
            .add(symmetric(x));
        };
        const still = { dims: [5, 5], data: new Float64Array(25) };
        for (const count of [2, 4]) {
          const f = (x: Tensor) => {
            const v = columns(eigh(base(x), { assumeSymmetric: true }).vectors, 0, count);
            return weighed(v.matmul(v.T));
          };
          await checkSlope(backend, `projector on ${count} of eigh, gap ${gap}`, f, [still], { atol: 2e-5 });
          const g = (x: Tensor) => {
            const u = columns(svd(base(x).add(x)).u, 0, 5 - count);
            return weighed(u.matmul(u.T));
          };
          await checkSlope(backend, `projector on ${5 - count} of svd, gap ${gap}`, g, [still], {
            atol: 2e-5,
          });
        }
        const sums = (x: Tensor) => eigvalsh(base(x), { assumeSymmetric: true }).exp().sum();
        await checkSlope(backend, `Σ exp(w), gap ${gap}`, sums, [still]);
        const nuclear = (x: Tensor) => singularValues(base(x)).sum();
        await checkSlope(backend, `nuclear norm, gap ${gap}`, nuclear, [still]);
      }
    });

    test("in f32 gradients stay near those in f64 where values are equal or almost equal", async () => {
      const backend = await makeBackend();
      const along = drawn([5, 5], 12).data;
      for (const gap of [1e-3, 1e-5, 1e-6, 1e-7, 0]) {
        const slope = async (dtype: "f32" | "f64", of: "eigh" | "svd") => {
          const [result] = await runOn(backend, () => {
            const q = qr(weights([5, 5], 11)).q;
            const base = q.mul(tensor(Float64Array.from([1, 1 + gap, 2, 2 + gap, 3]))).matmul(q.T);
            const a = symmetric(base).astype(dtype);
            const v = of === "eigh" ? columns(eigh(a).vectors, 0, 2) : columns(svd(a).u, 0, 3);
            const projector = v.matmul(v.T);
            return gradients(projector.mul(weights([5, 5], 77).astype(dtype)).sum(), [a]);
          });
          let sum = 0;
          for (const [i, x] of along.entries()) sum += x * result!.data[i]!;
          return sum;
        };
        for (const of of ["eigh", "svd"] as const) {
          const [low, high] = [await slope("f32", of), await slope("f64", of)];
          expect(Math.abs(low - high), `${of}, gap ${gap}`).toBeLessThan(0.1 * Math.max(1, Math.abs(high)));
        }
      }
    });
  });
}
