import { type Backend, evaluate, type Tensor, tensor } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import * as linalg from "../../src/index.js";
import {
  FAMILIES,
  type Matrix,
  POSITIVE,
  product,
  SHAPES,
  SIZES,
  SYMMETRIC,
  transposed,
} from "./families.js";
import {
  EPS,
  evaluator,
  expectBackward,
  expectOrthonormal,
  frobenius,
  REALS,
  stored,
  toTensor,
} from "./measure.js";
import { fault } from "./refusals.js";

const identity = (n: number): Matrix => FAMILIES["identity"]!(n, n);
const f64 = { dtype: "f64" } as const;

/** Matrix functions, polar factors and Kronecker products: what is said of them holds on families of matrices. */
export function matrixFunctionSuite(makeBackend: () => Promise<Backend>): void {
  const { run, numbers } = evaluator(makeBackend);

  describe("matrix functions", () => {
    test("sqrtm, invSqrtm, logm and expmSymmetric undo each other", async () => {
      for (const dtype of REALS) {
        for (const n of SIZES) {
          for (const [name, family] of Object.entries(POSITIVE)) {
            if (name === "graded") continue; // f32: below n eps of its largest eigenvalue
            const a = stored(family(n), dtype);
            const [root, inverse, log, back] = await run(() => {
              const A = toTensor(a, dtype);
              return [
                linalg.sqrtm(A),
                linalg.invSqrtm(A),
                linalg.logm(A),
                linalg.expmSymmetric(linalg.logm(A), { assumeSymmetric: true }),
              ];
            });
            const [r, i] = [root![0]!, inverse![0]!];
            expectBackward(`sqrtm ${name}`, product(r, r), a, dtype);
            expectBackward(
              `invSqrtm ${name}`,
              product(product(i, a), i),
              identity(n),
              dtype,
              frobenius(i) ** 2 * frobenius(a),
            );
            expectBackward(`logm ${name}`, back![0]!, a, dtype, frobenius(a) * (1 + frobenius(log![0]!)));
          }
        }
      }
    });

    test("functions are refused outside of their domain", async () => {
      const backend = await makeBackend();
      const below = () =>
        tensor(
          [
            [1, 0],
            [0, -1],
          ],
          f64,
        );
      for (const [name, f, kind] of [
        ["sqrtm", linalg.sqrtm, "semidefinite"],
        ["invSqrtm", linalg.invSqrtm, "definite"],
        ["logm", linalg.logm, "definite"],
      ] as const) {
        const error = await fault(backend, () => f(below()));
        expect(error.message).toBe(`${name}: expected a positive ${kind} matrix, got eigenvalue -1`);
        expect([error.reason, error.value]).toEqual(["notPositiveDefinite", -1]);
        const unequal = await fault(backend, () =>
          f(
            tensor(
              [
                [1, 0],
                [1, 1],
              ],
              f64,
            ),
          ),
        );
        expect(unequal.reason).toBe("notSymmetric");
      }
      expect(
        (
          await fault(backend, () =>
            linalg.logm(
              tensor(
                [
                  [1, 1],
                  [1, 1],
                ],
                f64,
              ),
            ),
          )
        ).reason,
      ).toBe("notPositiveDefinite");
      expect(
        await numbers(() =>
          linalg.sqrtm(
            tensor(
              [
                [1, 1],
                [1, 1],
              ],
              f64,
            ),
          ),
        ),
      ).toEqual([1, 1, 1, 1].map((x) => expect.closeTo(x / Math.sqrt(2), 12)));
    });

    test("expm: agrees with expmSymmetric, of a nilpotent it is the sum of its powers, exp(a) exp(-a) = I", async () => {
      for (const dtype of REALS) {
        for (const n of SIZES) {
          for (const [name, family] of Object.entries(SYMMETRIC)) {
            const a = stored(family(n), dtype);
            if (frobenius(a) > 60) continue; // f32 overflows
            const [x, y] = await run(() => [
              linalg.expm(toTensor(a, dtype)),
              linalg.expmSymmetric(toTensor(a, dtype)),
            ]);
            expectBackward(`expm ${name}`, x![0]!, y![0]!, dtype, frobenius(y![0]!) * (1 + frobenius(a)));
          }
          const a = stored(FAMILIES["random"]!(n, n), dtype);
          const [x, y] = await run(() => [
            linalg.expm(toTensor(a, dtype)),
            linalg.expm(toTensor(a, dtype).neg()),
          ]);
          expectBackward(
            "expm",
            product(x![0]!, y![0]!),
            identity(n),
            dtype,
            frobenius(x![0]!) * frobenius(y![0]!),
          );
        }
      }
      expect(
        await numbers(() =>
          linalg.expm(
            tensor(
              [
                [0, 1, 5],
                [0, 0, 2],
                [0, 0, 0],
              ],
              f64,
            ),
          ),
        ),
      ).toEqual([1, 1, 6, 0, 1, 2, 0, 0, 1].map((x) => expect.closeTo(x, 12)));
      // A batch of very different sizes: each is scaled by itself.
      expect(await numbers(() => linalg.expm(tensor([[[700]], [[1e-8]], [[-300000]]], f64)))).toEqual(
        [Math.exp(700), Math.exp(1e-8), 0].map((x) => (x ? expect.closeTo(x, -Math.log10(x) + 11) : 0)),
      );
      expect(await numbers(() => linalg.expm(tensor([[-300000]], f64), { mostSquarings: 3 }))).toEqual([
        Number.NaN,
      ]);
    });

    test("polar: a = u p, u orthonormal, p symmetric positive semidefinite; the factors of the SVD", async () => {
      for (const dtype of REALS) {
        for (const [m, n] of SHAPES) {
          for (const name of ["random", "clustered", "identity", "graded"]) {
            const a = stored(FAMILIES[name]!(m, n), dtype);
            const [u, p, w] = await run(() => {
              const { u, p } = linalg.polar(toTensor(a, dtype));
              return [u, p, linalg.eigvalsh(p).reshape([1, -1])];
            });
            expectBackward(`polar ${name}`, product(u![0]!, p![0]!), a, dtype);
            expectOrthonormal(`polar ${name}`, m >= n ? u![0]! : transposed(u![0]!), dtype);
            for (const value of w![0]!.data)
              expect(value).toBeGreaterThanOrEqual(-20 * n * EPS[dtype] * frobenius(a));
          }
        }
      }
    });

    test("newtonSchulz comes to the polar factor; a zero matrix stays zero", async () => {
      for (const dtype of REALS) {
        for (const [m, n] of SHAPES) {
          if (m === 0 || n === 0) continue;
          const a = stored(FAMILIES["random"]!(m, n), dtype);
          const [x, u] = await run(() => [
            linalg.newtonSchulz(toTensor(a, dtype), { steps: 40 }),
            linalg.polar(toTensor(a, dtype)).u,
          ]);
          // The condition of the matrix is in the error of both.
          expectBackward("newtonSchulz", x![0]!, u![0]!, dtype, 50 * frobenius(u![0]!));
        }
      }
      expect(await numbers(() => linalg.newtonSchulz(tensor([[0, 0]], f64)))).toEqual([0, 0]);
      expect(() => linalg.newtonSchulz(tensor([[1]]), { steps: 0.5 })).toThrow(
        "steps to be an integer ≥ 0, got 0.5",
      );
    });

    test("kron: (a ⊗ b)(c ⊗ d) = a c ⊗ b d; kronApply is its product with x", async () => {
      const [a, b] = [FAMILIES["random"]!(3, 2), FAMILIES["hilbert"]!(4, 5)];
      const [c, d] = [FAMILIES["hilbert"]!(2, 3), FAMILIES["random"]!(5, 2)];
      const x = FAMILIES["random"]!(10, 3);
      const [whole, parts, applied, direct] = await run(() => {
        const [A, B, C, D, X] = [a, b, c, d, x].map((t) => toTensor(t, "f64")) as [
          Tensor,
          Tensor,
          Tensor,
          Tensor,
          Tensor,
        ];
        return [
          linalg.kron(A, B).matmul(linalg.kron(C, D)),
          linalg.kron(A.matmul(C), B.matmul(D)),
          linalg.kronApply(A, B, X),
          linalg.kron(A, B).matmul(X),
        ];
      });
      expectBackward("kron", whole![0]!, parts![0]!, "f64");
      expectBackward("kronApply", applied![0]!, direct![0]!, "f64");
      expect(await numbers(() => linalg.kron(tensor([[1, 2]], f64), tensor([[1], [3]], f64)))).toEqual([
        1, 2, 3, 6,
      ]);
      expect(
        await numbers(() =>
          linalg.kronApply(tensor([[1, 2]], f64), tensor([[1], [3]], f64), tensor([1, 1], f64)),
        ),
      ).toEqual([3, 9]);
      expect(() => linalg.kronApply(tensor([[1, 2]]), tensor([[1], [3]]), tensor([1, 1, 1]))).toThrow(
        "kronApply: expected x of shape [.., 2, k] to follow [1, 2] and [2, 1], got [3, 1]",
      );
      const batched = linalg.kronApply(
        tensor(new Float64Array(12), { shape: [2, 1, 2, 3] }),
        tensor(new Float64Array(20), { shape: [4, 5, 1] }),
        tensor(new Float64Array(12), { shape: [4, 3, 1] }),
      );
      expect(batched.shape).toEqual([2, 4, 10, 1]);
      await evaluate(batched);
    });
  });
}
