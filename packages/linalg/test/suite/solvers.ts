import { type Backend, slice, type Tensor, tensor } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import * as linalg from "../../src/index.js";
import { FAMILIES, type Matrix, matrix, POSITIVE, product, SHAPES, SIZES, transposed } from "./families.js";
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

/** LU, pivoted QR, solvers and determinants: what is said of them holds on families of matrices. */
export function solverSuite(makeBackend: () => Promise<Backend>): void {
  const { run, numbers } = evaluator(makeBackend);

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
}
