import { type Backend, evaluate, slice, type Tensor, tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { describe, expect, test } from "vitest";
import * as linalg from "../../src/index.js";
import { FAMILIES, type Matrix, matrix, POSITIVE, product, SYMMETRIC, transposed } from "./families.js";
import {
  EPS,
  expectBackward,
  expectOrthonormal,
  frobenius,
  matricesOf,
  type Real,
  stored,
  toTensor,
} from "./measure.js";
import { fault } from "./refusals.js";

const REALS: readonly Real[] = ["f64", "f32"];
const SIZES = [0, 1, 2, 5, 16, 33];
const SHAPES: readonly (readonly [number, number])[] = [
  [1, 1],
  [1, 5],
  [5, 1],
  [0, 2],
  [2, 0],
  [6, 6],
  [9, 4],
  [4, 9],
  [20, 20],
];

const identity = (n: number): Matrix => FAMILIES["identity"]!(n, n);
const f64 = { dtype: "f64" } as const;

/** Solvers, determinants and matrix functions: what is said of them holds on families of matrices. */
export function derivedSuite(makeBackend: () => Promise<Backend>): void {
  const run = async (build: () => readonly Tensor[]) =>
    (await runOn(await makeBackend(), build)).map(matricesOf);
  const numbers = async (build: () => Tensor): Promise<number[]> => {
    const [result] = await runOn(await makeBackend(), () => [build()]);
    return Array.from(result!.data);
  };

  describe("solvers", () => {
    test("lu: a[p] = l u, l unit lower with elements up to 1, u upper; singular matrices too", async () => {
      for (const dtype of REALS) {
        for (const [m, n] of [...SHAPES, [33, 33] as const]) {
          const batch = Object.values(FAMILIES).map((f) => stored(f(m, n), dtype));
          const [l, u, p] = await run(() => {
            const { l, u, p } = linalg.lu(toTensor(batch, dtype));
            return [l, u, p.reshape([batch.length, 1, m])];
          });
          for (const [b, a] of batch.entries()) {
            const [L, U, order] = [l![b]!, u![b]!, p![b]!.data];
            expect([...order].sort((x, y) => x - y)).toEqual(Array.from({ length: m }, (_, i) => i));
            const permuted = matrix(m, n, (i, j) => a.data[order[i]! * n + j]!);
            expectBackward(`lu ${b}`, product(L, U), permuted, dtype, frobenius(L) * frobenius(U));
            for (let i = 0; i < m; i++) {
              for (let j = 0; j < L.n; j++) {
                if (j >= i) expect(L.data[i * L.n + j]).toBe(i === j ? 1 : 0);
                else expect(Math.abs(L.data[i * L.n + j]!)).toBeLessThanOrEqual(1);
              }
            }
            for (let i = 0; i < U.m; i++)
              for (let j = 0; j < Math.min(i, n); j++) expect(U.data[i * n + j]).toBe(0);
          }
        }
      }
    });

    test("qrPivoted: a[:, p] = q r, the diagonal of r falls, its rest is small where the rank ends", async () => {
      for (const dtype of REALS) {
        for (const [m, n] of SHAPES) {
          const batch = Object.values(FAMILIES).map((f) => stored(f(m, n), dtype));
          const [q, r, p] = await run(() => {
            const { q, r, p } = linalg.qrPivoted(toTensor(batch, dtype));
            return [q, r, p.reshape([batch.length, 1, n])];
          });
          for (const [b, a] of batch.entries()) {
            const [Q, R, order] = [q![b]!, r![b]!, p![b]!.data];
            expect([...order].sort((x, y) => x - y)).toEqual(Array.from({ length: n }, (_, i) => i));
            const permuted = matrix(m, n, (i, j) => a.data[i * n + order[j]!]!);
            expectBackward(`qrPivoted ${b}`, product(Q, R), permuted, dtype);
            expectOrthonormal(`qrPivoted ${b}`, Q, dtype);
            const scale = frobenius(a) * 20 * Math.max(m, n) * EPS[dtype];
            for (let i = 0; i < R.m; i++) {
              expect(R.data[i * n + i]).toBeGreaterThanOrEqual(0);
              for (let j = 0; j < Math.min(i, n); j++) expect(R.data[i * n + j]).toBe(0);
              if (i > 0) expect(R.data[i * n + i]).toBeLessThanOrEqual(R.data[(i - 1) * n + i - 1]! + scale);
            }
          }
          // Products of integers: half the rank, exactly.
          const at = Object.keys(FAMILIES).indexOf("rankDeficient");
          const rank = Math.max(1, Math.floor(Math.min(m, n) / 2));
          const R = r![at]!;
          for (let i = rank; i < R.m; i++)
            expect(Math.abs(R.data[i * n + i]!)).toBeLessThan(
              20 * Math.max(m, n) * EPS[dtype] * frobenius(batch[at]!),
            );
        }
      }
    });

    test("solve, choleskySolve: a x = b; inverse: a x = I", async () => {
      for (const dtype of REALS) {
        for (const n of SIZES) {
          const batch = [...Object.values(POSITIVE).map((f) => f(n)), FAMILIES["random"]!(n, n)].map((a) =>
            stored(a, dtype),
          );
          const b = stored(FAMILIES["random"]!(n, 3), dtype);
          const [x, y, inverse] = await run(() => {
            const a = toTensor(batch, dtype);
            const L = linalg.cholesky(slice(a, [[0, -1]]));
            return [
              linalg.solve(a, toTensor(b, dtype)),
              linalg.choleskySolve(L, toTensor(b, dtype)),
              linalg.inverse(a),
            ];
          });
          for (const [at, a] of batch.entries()) {
            const bound = (z: Matrix) => frobenius(a) * frobenius(z);
            expectBackward(`solve ${at}`, product(a, x![at]!), b, dtype, bound(x![at]!));
            if (y![at]) expectBackward(`choleskySolve ${at}`, product(a, y![at]!), b, dtype, bound(y![at]!));
            expectBackward(
              `inverse ${at}`,
              product(a, inverse![at]!),
              identity(n),
              dtype,
              bound(inverse![at]!),
            );
          }
        }
      }
    });

    test("right-hand sides: one vector, leading axes that broadcast, two dtypes", async () => {
      const a = () =>
        tensor(
          [
            [2, 1],
            [1, 3],
          ],
          f64,
        );
      expect(await numbers(() => linalg.solve(a(), tensor([3, 5], f64)))).toEqual(
        [0.8, 1.4].map((x) => expect.closeTo(x, 12)),
      );
      expect(linalg.solve(a(), tensor([3, 5])).dtype).toBe("f64");
      const many = tensor(new Float64Array(3 * 4 * 4).fill(1), { shape: [3, 4, 4] });
      const sides = tensor(new Float64Array(2 * 1 * 4 * 5), { shape: [2, 1, 4, 5] });
      expect(linalg.solve(many, sides).shape).toEqual([2, 3, 4, 5]);
      expect(linalg.lstsq(many, sides).x.shape).toEqual([2, 3, 4, 5]);
      expect(linalg.choleskySolve(many, tensor([1, 2, 3, 4], f64)).shape).toEqual([3, 4]);
      expect(() => linalg.solve(a(), tensor([1, 2, 3]))).toThrow(
        "solve: expected b of shape [.., 2, k] to follow a of shape [2, 2], got [3, 1]",
      );
      expect(() => linalg.solve(many, tensor(new Float64Array(40), { shape: [2, 4, 5] }))).toThrow(
        "solve: expected leading axes",
      );
    });

    test("singular matrices: solve and inverse name the pivot, det is 0, slogdet -∞", async () => {
      const backend = await makeBackend();
      const a = () =>
        tensor(
          [
            [
              [1, 0],
              [0, 1],
            ],
            [
              [1, 2],
              [2, 4],
            ],
          ],
          f64,
        );
      for (const [name, f] of [
        ["solve", (x: Tensor) => linalg.solve(x, tensor([1, 1], f64))],
        ["inverse", linalg.inverse],
      ] as const) {
        const error = await fault(backend, () => f(a()));
        expect(error.message).toBe(
          `${name}: expected a matrix that can be inverted, got a zero at pivot 1 of matrix [1]; lstsq and pinv take any matrix`,
        );
        expect([error.reason, error.batch, error.index]).toEqual(["singular", [1], [1]]);
      }
      expect((await numbers(() => linalg.det(a()))).map((x) => x + 0)).toEqual([1, 0]);
      expect((await numbers(() => linalg.slogdet(a()).sign)).map((x) => x + 0)).toEqual([1, 0]);
      expect(await numbers(() => linalg.slogdet(a()).logAbsDet)).toEqual([0, -Infinity]);
      expect(
        (
          await fault(backend, () =>
            linalg.logdet(
              tensor(
                [
                  [1, 2],
                  [2, 1],
                ],
                f64,
              ),
            ),
          )
        ).message,
      ).toContain("logdet: expected a positive definite matrix, got pivot 1 equal to -3");
    });

    test("determinants: signs of permutations, products of diagonals, 1 for nothing", async () => {
      expect(
        await numbers(() =>
          linalg.det(
            tensor(
              [
                [0, 1, 0],
                [0, 0, 1],
                [1, 0, 0],
              ],
              f64,
            ),
          ),
        ),
      ).toEqual([1]);
      expect(
        await numbers(() =>
          linalg.det(
            tensor(
              [
                [0, 1],
                [1, 0],
              ],
              f64,
            ),
          ),
        ),
      ).toEqual([-1]);
      expect(await numbers(() => linalg.det(tensor(new Float64Array(0), { shape: [2, 0, 0] })))).toEqual([
        1, 1,
      ]);
      const a = () => toTensor(POSITIVE["random"]!(8), "f64");
      const [det, log] = [await numbers(() => linalg.det(a())), await numbers(() => linalg.logdet(a()))];
      const slog = await numbers(() => linalg.slogdet(a()).logAbsDet);
      expect(Math.log(det[0]!)).toBeCloseTo(log[0]!, 10);
      expect(slog[0]!).toBeCloseTo(log[0]!, 10);
    });

    test("pinv: the four conditions of Penrose, at any rank", async () => {
      for (const dtype of REALS) {
        for (const [m, n] of SHAPES) {
          for (const name of ["random", "rankDeficient", "zero", "ones"]) {
            const a = stored(FAMILIES[name]!(m, n), dtype);
            const [result] = await run(() => [linalg.pinv(toTensor(a, dtype))]);
            const x = result![0]!;
            const size = frobenius(a) * frobenius(x);
            const [ax, xa] = [product(a, x), product(x, a)];
            expectBackward(`pinv ${name} 1`, product(ax, a), a, dtype, size * frobenius(a));
            expectBackward(`pinv ${name} 2`, product(xa, x), x, dtype, size * frobenius(x));
            expectBackward(`pinv ${name} 3`, transposed(ax), ax, dtype, size);
            expectBackward(`pinv ${name} 4`, transposed(xa), xa, dtype, size);
          }
        }
      }
    });

    test("lstsq: a⁺ b, the rank, the singular values; rtol cuts", async () => {
      for (const [m, n] of SHAPES) {
        for (const name of ["random", "rankDeficient", "zero"]) {
          const [a, b] = [FAMILIES[name]!(m, n), FAMILIES["random"]!(m, 2)];
          const [x, pinv, rank, s] = await run(() => {
            const A = toTensor(a, "f64");
            const { x, rank, singularValues } = linalg.lstsq(A, toTensor(b, "f64"));
            return [x, linalg.pinv(A), rank.reshape([1, 1]), singularValues.reshape([1, -1])];
          });
          expectBackward(
            `lstsq ${name}`,
            x![0]!,
            product(pinv![0]!, b),
            "f64",
            frobenius(pinv![0]!) * frobenius(b),
          );
          const q = Math.min(m, n);
          const want =
            q === 0 ? 0 : name === "zero" ? 0 : name === "random" ? q : Math.max(1, Math.floor(q / 2));
          expect(rank![0]!.data[0]).toBe(want);
          expect(s![0]!.n).toBe(q);
        }
      }
      const graded = () =>
        tensor(
          [
            [1, 0],
            [0, 1e-3],
          ],
          f64,
        );
      expect(await numbers(() => linalg.lstsq(graded(), tensor([1, 1], f64), { rtol: 1e-2 }).x)).toEqual([
        1, 0,
      ]);
      expect(() => linalg.pinv(graded(), { rtol: Number.NaN })).toThrow(
        "pinv: expected rtol to be a number ≥ 0, got NaN",
      );
    });
  });

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
