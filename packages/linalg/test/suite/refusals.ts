import { type Backend, evaluate, gradients, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  cholesky,
  det,
  eigh,
  eigvalsh,
  inverse,
  lstsq,
  type NumericalError,
  polar,
  qr,
  singularValues,
  sqrtm,
  svd,
  triangularSolve,
} from "../../src/index.js";

/** The error of computing what `build` asks for. */
export async function fault(backend: Backend, build: () => Tensor): Promise<NumericalError> {
  setDefaultBackend(backend);
  try {
    await evaluate(build());
  } catch (error) {
    return error as NumericalError;
  }
  return expect.fail("expected an error, got a result");
}

const f64 = { dtype: "f64" } as const;

/** What cannot be factored is refused with where and why. */
export function refusalSuite(makeBackend: () => Promise<Backend>): void {
  describe("refusals", () => {
    test("shapes and dtypes are checked when the graph is built", () => {
      expect(() => cholesky(tensor([[1, 2, 3]]))).toThrow(
        "cholesky: expected a to be a square matrix [.., n, n], got shape [1, 3]",
      );
      expect(() => eigh(tensor([1, 2]))).toThrow("eigh: expected a to be a square matrix");
      expect(() => svd(tensor(3))).toThrow(
        "svd: expected a to be a matrix [.., rows, columns], got shape []",
      );
      expect(() => qr(tensor([[1, 2]], { dtype: "i32" }))).toThrow(
        "qr: expected a of a float dtype, got i32",
      );
      expect(() => qr(tensor([[1]]), { mode: "half" as "full" })).toThrow(
        'expected mode "thin" or "full", got half',
      );
      expect(() => triangularSolve(tensor([[1]]), tensor([[1], [2]]))).toThrow(
        "triangularSolve: expected b of shape [.., 1, k] to follow a of shape [1, 1], got [2, 1]",
      );
      expect(() => cholesky(tensor([[1]]), { jitter: -1 })).toThrow("jitter to be a number ≥ 0, got -1");
    });

    test("half floats become f32, their gradients come back as halves", () => {
      const half = tensor(
        [
          [2, 1],
          [1, 2],
        ],
        { dtype: "f16" },
      );
      for (const f of [
        cholesky,
        sqrtm,
        inverse,
        det,
        (a: Tensor) => lstsq(a, a).x,
        (a: Tensor) => polar(a).u,
      ]) {
        expect(f(half).dtype).toBe("f32");
        expect(gradients(f(half).sum(), [half])[0]!.dtype).toBe("f16");
      }
      expect(svd(tensor([[1, 2]], { dtype: "f16" })).s.dtype).toBe("f32");
      expect(cholesky(tensor([[1]], { dtype: "bf16" })).dtype).toBe("f32");
    });

    test("NaN and infinity are found: matrix, row, column", async () => {
      const backend = await makeBackend();
      const at = (value: number) =>
        tensor(
          [
            [
              [1, 0],
              [0, 1],
            ],
            [
              [1, 0],
              [value, 1],
            ],
          ],
          f64,
        );
      const calls: Record<string, (a: Tensor) => Tensor> = {
        cholesky: (a) => cholesky(a, { assumeSymmetric: true }),
        qr: (a) => qr(a).r,
        eigh: (a) => eigh(a).vectors,
        eigvalsh: (a) => eigvalsh(a),
        svd: (a) => svd(a).u,
        singularValues,
        triangularSolve: (a) => triangularSolve(a, tensor([[1], [1]], f64)),
      };
      for (const [name, f] of Object.entries(calls)) {
        for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
          const error = await fault(backend, () => f(at(value)));
          expect(error.code).toBe("LOWRANK_NUMERICAL");
          expect(error.message).toBe(
            `${name}: expected finite numbers, got ${value} at [1, 0] of matrix [1]`,
          );
          expect([error.reason, error.batch, error.index]).toEqual(["notFinite", [1], [1, 0]]);
        }
      }
    });

    test("a matrix that is not symmetric is refused with its worst pair, or its lower triangle read", async () => {
      const backend = await makeBackend();
      const a = () =>
        tensor(
          [
            [4, 1, 0],
            [1.5, 4, 0],
            [0, 0.25, 4],
          ],
          f64,
        );
      const error = await fault(backend, () => eigh(a()).values);
      expect(error.message).toBe(
        "eigh: expected a symmetric matrix, got elements [1, 0] and [0, 1] that differ by 0.5; take " +
          "a.add(a.T).div(2), or say { assumeSymmetric: true } to read the lower triangle only",
      );
      expect([error.reason, error.batch, error.index, error.value]).toEqual([
        "notSymmetric",
        [],
        [1, 0],
        0.5,
      ]);
      expect((await fault(backend, () => cholesky(a()))).message).toContain(
        "cholesky: expected a symmetric matrix",
      );
      const L = Array.from(await cholesky(a(), { assumeSymmetric: true }).data());
      expect(L[3]).toBeCloseTo(0.75, 12);
      const w = await eigvalsh(
        tensor(
          [
            [1, 99],
            [2, 1],
          ],
          f64,
        ),
        { assumeSymmetric: true },
      ).data();
      expect(w[0]).toBeCloseTo(-1, 12);
      expect(w[1]).toBeCloseTo(3, 12);
      // What rounding leaves is taken.
      await eigh(
        tensor(
          [
            [1, 2],
            [2 + 1e-15, 1],
          ],
          f64,
        ),
      ).values.data();
    });

    test("the pivot that is not positive is named with its value", async () => {
      const backend = await makeBackend();
      const a = () =>
        tensor(
          [
            [
              [1, 0],
              [0, 1],
            ],
            [
              [4, 2],
              [2, -3],
            ],
          ],
          f64,
        );
      const error = await fault(backend, () => cholesky(a()));
      expect(error.message).toBe(
        "cholesky: expected a positive definite matrix, got pivot 1 of matrix [1] equal to -4; add to its diagonal, " +
          "for instance with { jitter: 1e-6 }",
      );
      expect([error.reason, error.batch, error.index, error.value]).toEqual([
        "notPositiveDefinite",
        [1],
        [1],
        -4,
      ]);
      const L = await cholesky(
        tensor(
          [
            [1, 1],
            [1, 1],
          ],
          f64,
        ),
        { jitter: 0.5 },
      ).data();
      expect(L[3]).toBeCloseTo(Math.sqrt(1.5 - 1 / 1.5), 12);
    });

    test("after a refusal the same plan computes what can be computed", async () => {
      const backend = await makeBackend();
      const good = [
        [2, 1],
        [1, 2],
      ];
      for (const f of [(a: Tensor) => cholesky(a), (a: Tensor) => eigh(a).values, (a: Tensor) => svd(a).s]) {
        const run = (rows: number[][]) => f(tensor(rows, f64));
        const want = await run(good).data();
        for (const bad of [
          [
            [Number.NaN, 1],
            [1, 2],
          ],
          [
            [1, Infinity],
            [Infinity, 1],
          ],
        ]) {
          expect((await fault(backend, () => run(bad))).reason).toBe("notFinite");
          expect(await run(good).data()).toEqual(want);
        }
      }
    });

    test("a zero on the diagonal of a triangle is named", async () => {
      const backend = await makeBackend();
      const error = await fault(backend, () =>
        triangularSolve(
          tensor(
            [
              [1, 0],
              [1, 0],
            ],
            f64,
          ),
          tensor([[1], [1]], f64),
        ),
      );
      expect(error.message).toContain(
        "triangularSolve: expected a matrix that can be inverted, got a zero at pivot 1",
      );
      expect([error.reason, error.index]).toEqual(["singular", [1]]);
    });
  });
}
