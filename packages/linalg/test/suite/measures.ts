import { type Backend, eye, gradients, norm, ones, sum, type Tensor, tensor, zeros } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  coherence,
  conditionNumber,
  effectiveRank,
  matrixEntropy,
  nuclearNorm,
  numericalRank,
  participationRatio,
  principalAngles,
  qr,
  schattenNorm,
  spectralNorm,
  stableRank,
  svd,
} from "../../src/index.js";
import { expectClose, numbers, withValues } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";

const f64 = { dtype: "f64" } as const;
const SPECTRUM = [4, 2, 1, 0.5];

/** Measures of the spectrum against their definitions, inequalities and gradients. */
export function measureSuite(makeBackend: () => Promise<Backend>): void {
  describe("measures", () => {
    test("are those of the singular values 4, 2, 1, 1/2", async () => {
      const backend = await makeBackend();
      const total = SPECTRUM.reduce((a, b) => a + b);
      const energy = SPECTRUM.reduce((a, b) => a + b * b, 0);
      const entropy = (p: number[]) => -p.reduce((h, x) => h + x * Math.log(x), 0);
      const want: [(a: Tensor) => Tensor, number][] = [
        [spectralNorm, 4],
        [nuclearNorm, 7.5],
        [(a) => schattenNorm(a, 1), 7.5],
        [(a) => schattenNorm(a, 2), Math.sqrt(energy)],
        [(a) => schattenNorm(a, 2.5), SPECTRUM.reduce((x, s) => x + s ** 2.5, 0) ** 0.4],
        [(a) => schattenNorm(a, Number.POSITIVE_INFINITY), 4],
        [conditionNumber, 8],
        [stableRank, energy / 16],
        [effectiveRank, Math.exp(entropy(SPECTRUM.map((s) => s / total)))],
        [matrixEntropy, entropy(SPECTRUM.map((s) => s ** 2 / energy))],
        [participationRatio, energy ** 2 / SPECTRUM.reduce((x, s) => x + s ** 4, 0)],
      ];
      for (const [m, n] of [
        [6, 4],
        [4, 4],
        [4, 6],
      ] as const) {
        const got = await numbers(backend, () => {
          const a = withValues(m, n, SPECTRUM);
          return want.map(([f]) => f(a));
        });
        for (const [i, [f, value]] of want.entries()) expect(got[i]![0], `${f}`).toBeCloseTo(value, 11);
        const [normalized] = await numbers(backend, () => [
          matrixEntropy(withValues(m, n, SPECTRUM), { normalized: true }),
        ]);
        expect(normalized![0]).toBeCloseTo(want[9]![1] / Math.log(n), 11);
      }
    });

    test("numericalRank counts the values above tolerance · s₁, and each matrix of a batch by itself", async () => {
      const backend = await makeBackend();
      const [loose, strict, exact, zero, batch] = await numbers(backend, () => [
        numericalRank(withValues(7, 5, [1, 0.1, 1e-3]), { tolerance: 0.01 }),
        numericalRank(withValues(7, 5, [1, 0.1, 1e-3])),
        numericalRank(
          tensor(
            [
              [3, 0],
              [0, 1e-300],
            ],
            f64,
          ),
          { tolerance: 0 },
        ),
        numericalRank(zeros([3, 4], f64)),
        numericalRank(
          tensor(
            [
              [
                [1, 0],
                [0, 1],
              ],
              [
                [1, 1],
                [1, 1],
              ],
              [
                [0, 0],
                [0, 0],
              ],
            ],
            f64,
          ),
        ),
      ]);
      expect([loose, strict, exact, zero, batch]).toEqual([[2], [3], [2], [0], [2, 1, 0]]);
    });

    test("1 ≤ stable, effective and participating rank ≤ rank; nuclear ≤ √rank · Frobenius; Schatten's norms descend", async () => {
      const backend = await makeBackend();
      for (let seed = 1; seed <= 6; seed++) {
        const rank = 1 + (seed % 4);
        const a = () => weights([6, rank], seed).matmul(weights([rank, 5], seed + 50));
        const [stable, effective, taking, frobenius] = (
          await numbers(backend, () => {
            const x = a();
            return [stableRank, effectiveRank, participationRatio, (y: Tensor) => norm(y)].map((f) => f(x));
          })
        ).map(([x]) => x!);
        for (const x of [stable!, effective!, taking!]) {
          expect(x).toBeGreaterThanOrEqual(1 - 1e-12);
          expect(x).toBeLessThanOrEqual(rank + 1e-9);
        }
        const schatten = (
          await numbers(backend, () =>
            [1, 1.5, 2, 3, 8, Number.POSITIVE_INFINITY].map((p) => schattenNorm(a(), p)),
          )
        ).map(([x]) => x!);
        expect(schatten[0]).toBeLessThanOrEqual(Math.sqrt(rank) * frobenius! * (1 + 1e-12));
        for (let i = 1; i < schatten.length; i++)
          expect(schatten[i]).toBeLessThanOrEqual(schatten[i - 1]! * (1 + 1e-12));
      }
    });

    test("equal singular values have full rank by every measure, and zeros have none", async () => {
      const backend = await makeBackend();
      const measures = [stableRank, effectiveRank, participationRatio];
      const all = [...measures, spectralNorm, nuclearNorm, (a: Tensor) => schattenNorm(a, 3), matrixEntropy];
      const [full, none, empty] = await Promise.all([
        numbers(backend, () => measures.map((f) => f(eye(4, 4, f64).mul(1e-200)))),
        numbers(backend, () => all.map((f) => f(zeros([3, 2], f64)))),
        numbers(backend, () => all.map((f) => f(zeros([2, 0, 3], f64)))),
      ]);
      for (const [x] of full) expect(x).toBeCloseTo(4, 12);
      for (const x of none) expect(x).toEqual([0]);
      for (const x of empty) expect(x).toEqual([0, 0]);
      const [singular, one] = await numbers(backend, () => [
        conditionNumber(zeros([2, 2], f64)),
        conditionNumber(ones([3, 1], f64)),
      ]);
      expect(singular).toEqual([Number.POSITIVE_INFINITY]);
      expect(one![0]).toBeCloseTo(1, 12);
    });

    test("gradients are u₁v₁ᵀ, U Vᵀ, U diag(g) Vᵀ and their sums", async () => {
      const backend = await makeBackend();
      await expectClose(backend, "gradients of measures", () => {
        const a = weights([5, 4], 3);
        const { u, s, vt } = svd(a);
        const part = (j: number) => u.slice([null, [j, j + 1]]).matmul(vt.slice([[j, j + 1]]));
        const at = (j: number) => s.slice([j]);
        const total = sum(s);
        const p = s.div(total);
        const entropy = sum(p.mul(p.log())).neg();
        const g = entropy.exp().neg().mul(p.log().add(entropy)).div(total);
        const square = sum(a.mul(a));
        const stable = a
          .mul(2)
          .div(at(0).square())
          .sub(part(0).mul(square.mul(2).div(at(0).pow(3))));
        const condition = part(0)
          .div(at(3))
          .sub(part(3).mul(at(0).div(at(3).square())));
        return [
          [gradients(spectralNorm(a), [a])[0]!, part(0)],
          [gradients(nuclearNorm(a), [a])[0]!, u.matmul(vt)],
          [gradients(schattenNorm(a, 2), [a])[0]!, a.div(norm(a))],
          [gradients(effectiveRank(a), [a])[0]!, u.mul(g).matmul(vt)],
          [gradients(stableRank(a), [a])[0]!, stable],
          [gradients(conditionNumber(a), [a])[0]!, condition],
        ];
      });
    });

    test("gradients agree with differences, batched, of both orders", async () => {
      const backend = await makeBackend();
      const all: Record<string, (a: Tensor) => Tensor> = {
        spectralNorm,
        nuclearNorm,
        schattenNorm: (a) => schattenNorm(a, 2.5),
        conditionNumber,
        stableRank,
        effectiveRank,
        matrixEntropy,
        participationRatio,
        coherence,
      };
      for (const [name, f] of Object.entries(all))
        await checkSlope(backend, name, (x) => weighed(f(x)), [drawn([2, 4, 3], 9)], {
          second: name !== "coherence",
          atol: 1e-6,
        });
      const angles = (a: Tensor, b: Tensor) => weighed(principalAngles(a, b));
      await checkSlope(backend, "principalAngles", angles, [drawn([2, 6, 3], 4), drawn([2, 6, 2], 5)]);
      // No gradient is NaN where a measure has a corner.
      const corner = await numbers(backend, () => {
        const z = zeros([3, 2], f64);
        return [
          spectralNorm,
          nuclearNorm,
          (a: Tensor) => schattenNorm(a, 3),
          stableRank,
          effectiveRank,
          matrixEntropy,
          participationRatio,
        ].map((f) => gradients(f(z), [z])[0]!);
      });
      for (const x of corner.flat()) expect(Number.isFinite(x)).toBe(true);
    });

    test("coherence is n / r for a space that holds an axis and 1 for one spread evenly", async () => {
      const backend = await makeBackend();
      const [axis, even, any] = await numbers(backend, () => [
        coherence(
          tensor(
            [
              [2, 1],
              [0, 1],
              [0, 1],
              [0, 0],
            ],
            f64,
          ),
        ),
        coherence(
          tensor(
            [
              [1, 1],
              [1, -1],
              [1, 1],
              [1, -1],
            ],
            f64,
          ),
        ),
        coherence(weights([8, 3], 2)),
      ]);
      expect(axis![0]).toBeCloseTo(2, 12);
      expect(even![0]).toBeCloseTo(1, 12);
      expect(any![0]).toBeGreaterThan(1);
      expect(any![0]).toBeLessThan(8 / 3);
    });

    test("principalAngles are those two spaces were turned by, tiny ones to all digits", async () => {
      const backend = await makeBackend();
      const angles = [1e-12, 1e-5, 0.3, Math.PI / 2];
      const [got, swapped, same] = await numbers(backend, () => {
        const q = qr(weights([9, 8], 6)).q;
        const first = q.slice([null, [0, 4]]);
        const rest = q.slice([null, [4, 8]]);
        const turned = first
          .mul(tensor(Float64Array.from(angles, Math.cos)))
          .add(rest.mul(tensor(Float64Array.from(angles, Math.sin))));
        const mixed = turned.matmul(weights([4, 4], 8));
        return [principalAngles(first, mixed), principalAngles(mixed, q), principalAngles(first, first)];
      });
      for (const [i, x] of angles.entries()) expect(Math.abs(got![i]! - x)).toBeLessThan(1e-14 + 1e-10 * x);
      for (const x of swapped!) expect(x).toBeLessThan(1e-14);
      for (const x of same!) expect(x).toBeLessThan(1e-14);
    });

    test("refuse what they are not defined for", () => {
      expect(() => schattenNorm(eye(2), 0.5)).toThrow("schattenNorm: expected p from 1 to Infinity, got 0.5");
      expect(() => numericalRank(eye(2), { tolerance: -1 })).toThrow("tolerance to be a number ≥ 0, got -1");
      expect(() => nuclearNorm(tensor([1, 2]))).toThrow("nuclearNorm: expected a to be a matrix");
      expect(() => coherence(ones([2, 3]))).toThrow("coherence: expected a of shape [.., n, r]");
      expect(() => principalAngles(ones([3, 1]), ones([4, 1]))).toThrow(
        "principalAngles: expected a [.., n, p]",
      );
    });
  });
}
