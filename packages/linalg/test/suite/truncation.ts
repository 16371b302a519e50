import {
  type Backend,
  eye,
  gradients,
  norm,
  setDefaultBackend,
  sum,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  bestRank,
  lowRankAdd,
  nuclearNorm,
  numericalRank,
  recompress,
  reconstruct,
  singularValueThreshold,
  spectralNorm,
  type Svd,
  svd,
  truncatedSvd,
} from "../../src/index.js";
import { expectClose, numbers, vector, withValues } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";

const SPECTRUM = [5, 3, 2, 1, 0.1, 0.01];
const f64 = { dtype: "f64" } as const;

/** Cutting singular values and adding in factored form. */
export function truncationSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  const leading = ({ u, s, vt }: Svd, k: number): Svd => ({
    u: u.slice([null, [0, k]]),
    s: s.slice([[0, k]]),
    vt: vt.slice([[0, k]]),
  });

  describe("truncation", () => {
    test("the error of truncatedSvd is the root of the squares cut off, and the first value cut off in the 2-norm", async () => {
      const backend = await ready();
      for (let rank = 1; rank <= 6; rank++) {
        const [frobenius, spectral, best, kept] = await numbers(backend, () => {
          const a = withValues(9, 7, SPECTRUM);
          const near = reconstruct(truncatedSvd(a, { rank }));
          const rest = a.sub(near);
          return [
            norm(rest),
            spectralNorm(rest),
            norm(bestRank(a, rank).sub(near)),
            numericalRank(near, { tolerance: 1e-10 }),
          ];
        });
        const tail = Math.sqrt(SPECTRUM.slice(rank).reduce((x, s) => x + s * s, 0));
        expect(frobenius![0]).toBeCloseTo(tail, 12);
        expect(spectral![0]).toBeCloseTo(SPECTRUM[rank] ?? 0, 12);
        expect(best![0]).toBeLessThan(1e-13);
        expect(kept).toEqual([rank]);
      }
    });

    test("no other matrix of that rank is nearer", async () => {
      const backend = await ready();
      const [best, ...others] = (
        await numbers(backend, () => {
          const a = weights([6, 5], 1);
          const near = bestRank(a, 2);
          const { u, s, vt } = truncatedSvd(a, { rank: 2 });
          return [
            norm(a.sub(near)),
            ...[1, 2, 3, 4, 5, 6].map((seed) => {
              const left = u.add(weights([6, 2], seed).mul(0.05)).mul(s);
              return norm(a.sub(left.matmul(vt.add(weights([2, 5], seed + 10).mul(0.05)))));
            }),
          ];
        })
      ).map(([x]) => x!);
      for (const x of others) expect(x).toBeGreaterThan(best!);
    });

    test("energy keeps the fewest squares that reach it, tolerance the values above it", async () => {
      await ready();
      const total = SPECTRUM.reduce((x, s) => x + s * s, 0);
      const a = () => withValues(8, 6, SPECTRUM);
      let reached = 0;
      for (const [k, s] of SPECTRUM.entries()) {
        const before = reached / total;
        reached += s * s;
        const middle = (before + reached / total) / 2;
        expect((await truncatedSvd(a(), { energy: middle })).s.shape).toEqual([k + 1]);
      }
      expect((await truncatedSvd(a(), { energy: 1 })).s.shape).toEqual([6]);
      expect((await truncatedSvd(a(), { tolerance: 0.15 })).s.shape).toEqual([4]);
      expect((await truncatedSvd(a(), { tolerance: 0 })).s.shape).toEqual([6]);
      const batch = tensor(
        [
          [
            [3, 0],
            [0, 1],
          ],
          [
            [1, 0],
            [0, 0],
          ],
        ],
        f64,
      );
      const { u, s, vt } = await truncatedSvd(batch, { energy: 0.95 });
      expect([u.shape, s.shape, vt.shape]).toEqual([
        [2, 2, 2],
        [2, 2],
        [2, 2, 2],
      ]);
      expect((await truncatedSvd(batch, { energy: 0.89 })).s.shape).toEqual([2, 1]);
      const none = await truncatedSvd(zeros([4, 3], f64), { energy: 0.5 });
      expect(none.s.shape).toEqual([0]);
      expect(await reconstruct(none).toArray()).toEqual([
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
      ]);
    });

    test("bestRank keeps matrices of that rank, and its gradient is right where values are equal", async () => {
      const backend = await ready();
      await expectClose(backend, "projections", () => {
        const low = weights([6, 2], 1).matmul(weights([2, 5], 2));
        const a = weights([2, 5, 4], 3);
        return [
          [bestRank(low, 2), low],
          [bestRank(a, 4), a],
          [bestRank(bestRank(a, 2), 2), bestRank(a, 2)],
          [bestRank(a.T, 2), bestRank(a, 2).T],
        ];
      });
      for (const dims of [
        [5, 3],
        [3, 5],
        [4, 4],
        [2, 3, 4],
      ])
        for (const rank of [1, 2, 3])
          await checkSlope(
            backend,
            `bestRank ${rank} of ${dims}`,
            (x) => weighed(bestRank(x, rank)),
            [drawn(dims, 8)],
            {
              second: rank === 2,
              atol: 1e-6,
            },
          );
      const equal = (x: Tensor) => withValues(6, 5, [3, 3, 3, 1, 1]).add(x);
      const still = { dims: [6, 5], data: new Float64Array(30) };
      await checkSlope(backend, "bestRank of equal values", (x) => weighed(bestRank(equal(x), 3)), [still]);
      await expectClose(backend, "the gradient of keeping all is what arrives", () => {
        const x = zeros([6, 5], f64);
        return [[gradients(weighed(bestRank(equal(x), 5)), [x])[0]!, weights([6, 5], 77)]];
      });
    });

    test("singularValueThreshold minimises ½‖Z - A‖² + λ‖Z‖_*", async () => {
      const backend = await ready();
      const lambda = 0.7;
      const [least, ...others] = (
        await numbers(backend, () => {
          const a = weights([6, 4], 5).mul(1.5);
          const z = singularValueThreshold(a, lambda);
          const cost = (x: Tensor) => sum(x.sub(a).square()).mul(0.5).add(nuclearNorm(x).mul(lambda));
          return [cost(z), ...[1, 2, 3, 4, 5, 6].map((seed) => cost(z.add(weights([6, 4], seed).mul(1e-3))))];
        })
      ).map(([x]) => x!);
      for (const x of others) expect(x).toBeGreaterThan(least!);
      await expectClose(backend, "values", () => [
        [svd(singularValueThreshold(withValues(7, 6, SPECTRUM), 1.5)).s, vector([3.5, 1.5, 0.5, 0, 0, 0])],
        [singularValueThreshold(weights([3, 4], 1), 0), weights([3, 4], 1)],
        [singularValueThreshold(weights([3, 4], 1), 100), zeros([3, 4], f64)],
      ]);
    });

    test("singularValueThreshold has the gradient of differences, also for equal values and zeros", async () => {
      const backend = await ready();
      for (const dims of [
        [5, 3],
        [3, 5],
        [4, 4],
        [2, 3, 4],
      ])
        await checkSlope(
          backend,
          `threshold of ${dims}`,
          (x) => weighed(singularValueThreshold(x, 0.6)),
          [drawn(dims, 7)],
          { second: true, atol: 1e-6 },
        );
      for (const s of [
        [3, 3, 2, 2, 0.5],
        [2, 1, 0.25, 0.25, 0],
        [2, 2, 0, 0, 0],
      ])
        await checkSlope(
          backend,
          `threshold of ${s}`,
          (x) => weighed(singularValueThreshold(withValues(6, 5, s).add(x), 1.5)),
          [{ dims: [6, 5], data: new Float64Array(30) }],
        );
    });

    test("recompress is the SVD of the product, with orthonormal parts, wide factors included", async () => {
      const backend = await ready();
      for (const k of [1, 3, 9]) {
        await expectClose(backend, `recompress ${k}`, () => {
          const factors = { left: weights([2, 7, k], 1), right: weights([2, k, 5], 2) };
          const product = factors.left.matmul(factors.right);
          const parts = recompress(factors);
          const q = Math.min(k, 5);
          const identity = eye(q, q, f64);
          const unit = (x: Tensor) => x.sub(identity);
          const cut = recompress(factors, { rank: 1 });
          return [
            [reconstruct(parts), product],
            [parts.s, svd(product).s.slice([null, [0, q]])],
            [unit(parts.u.T.matmul(parts.u)), zeros([2, q, q], f64)],
            [unit(parts.vt.matmul(parts.vt.T)), zeros([2, q, q], f64)],
            [reconstruct(cut), bestRank(product, 1)],
          ];
        });
      }
      const factors = { left: weights([8, 4], 3), right: weights([4, 6], 4) };
      const doubled = { left: factors.left.matmul(weights([4, 6], 5)), right: weights([6, 6], 6) };
      const kept = await recompress(doubled, { tolerance: 1e-12 });
      expect(kept.s.shape).toEqual([4]);
    });

    test("lowRankAdd is exact without a rule, and the nearest of a rank with one", async () => {
      const backend = await ready();
      await expectClose(backend, "lowRankAdd", () => {
        const [x, y] = [
          truncatedSvd(weights([8, 6], 1), { rank: 2 }),
          truncatedSvd(weights([8, 6], 2), { rank: 3 }),
        ];
        const total = reconstruct(x).add(reconstruct(y));
        const opposite = { ...x, s: x.s.neg() };
        return [
          [reconstruct(lowRankAdd(x, y)), total],
          [reconstruct(lowRankAdd(x, y, { rank: 2 })), bestRank(total, 2)],
          [lowRankAdd(x, opposite).s, zeros([4], f64)],
        ];
      });
      const x = truncatedSvd(weights([8, 6], 1), { rank: 2 });
      expect((await lowRankAdd(x, x, { energy: 1 - 1e-12 })).s.shape).toEqual([2]);
    });

    test("matrices without rows or columns are cut and added too", async () => {
      const backend = await ready();
      const sizes = await numbers(backend, () => {
        const empty = zeros([2, 0, 3], f64);
        const sum = lowRankAdd(svd(zeros([0, 3], f64)), svd(zeros([0, 3], f64)));
        return [
          singularValueThreshold(empty, 1),
          sum.s,
          reconstruct(sum),
          reconstruct(recompress({ left: zeros([3, 0], f64), right: zeros([0, 2], f64) })),
        ];
      });
      expect(sizes).toEqual([[], [], [], [0, 0, 0, 0, 0, 0]]);
    });

    test("gradients of products and sums are those of svd, for dependent columns too", async () => {
      const backend = await ready();
      const seen = ({ u, s, vt }: Svd) => {
        const scaled = weights([s.shape[s.ndim - 1]!], 4);
        return weighed(u.mul(scaled).matmul(vt)).add(weighed(s, 5));
      };
      for (const [m, k, n] of [
        [5, 2, 4],
        [4, 3, 3],
        [3, 5, 4],
      ] as const) {
        const f = (left: Tensor, right: Tensor) => seen(recompress({ left, right }));
        await checkSlope(backend, `recompress ${k}`, f, [drawn([m, k], 1), drawn([k, n], 2)], {
          second: true,
          atol: 1e-6,
        });
        await expectClose(
          backend,
          "without a part",
          () => {
            const factors = { left: weights([m, k], 1), right: weights([k, n], 2) };
            const whole = factors.left.matmul(factors.right);
            const some: ((parts: Svd) => Tensor)[] = [
              ({ s }) => weighed(s),
              ({ u }) => weighed(u.mul(weights([u.shape[1]!], 4)).matmul(u.T)),
            ];
            return some.map((g): [Tensor, Tensor] => {
              const slope = gradients(g(leading(svd(whole), Math.min(m, k, n))), [whole])[0]!;
              return [gradients(g(recompress(factors)), [factors.left])[0]!, slope.matmul(factors.right.T)];
            });
          },
          1e-10,
        );
      }
      // x + x and x - x/2: columns that are twice there.
      for (const factor of [1, -0.5]) {
        const twice = (x: Tensor, y: Tensor) => {
          const parts = recompress({ left: x, right: y });
          return weighed(reconstruct(lowRankAdd(parts, { ...parts, s: parts.s.mul(factor) })));
        };
        await expectClose(
          backend,
          "a sum with itself",
          () => {
            const [x, y] = [weights([6, 2], 1), weights([2, 5], 2)];
            const [dx, dy] = gradients(twice(x, y), [x, y]) as [Tensor, Tensor];
            const G = weights([6, 5], 77).mul(1 + factor);
            return [
              [dx, G.matmul(y.T)],
              [dy, x.T.matmul(G)],
            ];
          },
          1e-10,
        );
      }
    });

    test("bad rules and shapes are refused before any work", () => {
      const a = eye(3, 4, f64);
      const rule = (given: object) => () => truncatedSvd(a, given as { rank: number });
      expect(rule({ rank: 4 })).toThrow("truncatedSvd: expected rank to be an integer from 1 to 3, got 4");
      expect(rule({ rank: 0 })).toThrow("got 0");
      expect(rule({ rank: 1.5 })).toThrow("got 1.5");
      expect(rule({ energy: 0 })).toThrow("truncatedSvd: expected energy above 0, up to 1, got 0");
      expect(rule({ energy: 1.01 })).toThrow("got 1.01");
      expect(rule({ energy: Number.NaN })).toThrow("got NaN");
      expect(rule({ tolerance: -1e-9 })).toThrow(
        "truncatedSvd: expected tolerance to be a number ≥ 0, got -1e-9",
      );
      expect(rule({})).toThrow("truncatedSvd: expected one of rank, energy and tolerance, got none");
      expect(rule({ rank: 1, energy: 0.5 })).toThrow("got rank and energy");
      expect(() => bestRank(a, 9)).toThrow("bestRank: expected rank to be an integer from 1 to 3, got 9");
      expect(() => singularValueThreshold(a, -1)).toThrow("lambda to be a number ≥ 0, got -1");
      expect(() => recompress({ left: a, right: a })).toThrow("recompress: expected left [.., m, k]");
      expect(() => recompress({ left: a, right: eye(4, 4, f64) }, { rank: 4 })).toThrow("from 1 to 3, got 4");
      expect(() => lowRankAdd(svd(a), svd(a.T))).toThrow(
        "lowRankAdd: expected y of a matrix [3, 4], as x, got [4, 3]",
      );
    });
  });
}
