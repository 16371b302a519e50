import {
  type Backend,
  eye,
  type Key,
  key,
  norm,
  setDefaultBackend,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  blockKrylovSvd,
  eigvalsh,
  nystrom,
  randomizedSvd,
  rangeFinder,
  reconstruct,
  spectralNorm,
  StreamingSvd,
  svd,
  truncatedSvd,
} from "../../src/index.js";
import { expectClose, numbers, withValues } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";
import { fault } from "./refusals.js";

const f64 = { dtype: "f64" } as const;
/** s_j = 1 / j: falls slowly. */
const SLOW = Array.from({ length: 24 }, (_, j) => 1 / (j + 1));
const slow = (): Tensor => withValues(30, 24, SLOW);
const tail = (k: number): number => Math.sqrt(SLOW.slice(k).reduce((x, s) => x + s * s, 0));

/** Sketches: exact where they must be, and within their bounds for fixed seeds. */
export function randomizedSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("randomized", () => {
    test("rangeFinder: the mean error is within the bound of theorem 10.5, the a-posteriori bound above the error", async () => {
      const backend = await ready();
      const [k, p, seeds] = [5, 4, 8];
      let mean = 0;
      for (let seed = 0; seed < seeds; seed++) {
        const [frobenius, spectral, bound] = await numbers(backend, () => {
          const a = slow();
          const { q, errorBound } = rangeFinder(a, { rank: k, oversample: p, powerSteps: 0, key: key(seed) });
          const rest = a.sub(q.matmul(q.T.matmul(a)));
          return [norm(rest), spectralNorm(rest), errorBound];
        });
        mean += frobenius![0]! / seeds;
        expect(bound![0]).toBeGreaterThan(spectral![0]!);
        expect(bound![0]).toBeLessThan(100 * spectral![0]!);
        expect(frobenius![0]).toBeGreaterThanOrEqual(tail(k + p));
      }
      expect(mean).toBeLessThan(Math.sqrt(1 + k / (p - 1)) * tail(k));
    });

    test("power steps bring the error down, within corollary 10.10, to that of the best", async () => {
      const backend = await ready();
      const [k, p] = [6, 4];
      const errorsOf = async (powerSteps: number) => {
        const errors = await numbers(backend, () =>
          [1, 2, 3, 4].map((seed) => {
            const a = slow();
            const { q } = rangeFinder(a, { rank: k, oversample: p, powerSteps, key: key(seed) });
            return spectralNorm(a.sub(q.matmul(q.T.matmul(a))));
          }),
        );
        return errors.reduce((mean, [x]) => mean + x! / errors.length, 0);
      };
      const factor = 1 + Math.sqrt(k / (p - 1)) + ((Math.E * Math.sqrt(k + p)) / p) * Math.sqrt(24 - k);
      let before = Number.POSITIVE_INFINITY;
      for (const steps of [0, 1, 2]) {
        const error = await errorsOf(steps);
        expect(error).toBeLessThan(factor ** (1 / (2 * steps + 1)) * SLOW[k]!);
        expect(error).toBeLessThan(before);
        expect(error).toBeGreaterThanOrEqual(SLOW[k + p]!);
        before = error;
      }
      expect(await errorsOf(8)).toBeLessThan(SLOW[k]!);
    });

    test("a matrix of the rank that is asked for is found exactly, with orthonormal parts and svd's signs", async () => {
      const backend = await ready();
      for (const [m, n] of [
        [20, 9],
        [9, 20],
        [4, 4],
      ] as const)
        for (const method of [randomizedSvd, blockKrylovSvd])
          await expectClose(
            backend,
            `${method.name} of [${m}, ${n}]`,
            () => {
              const a = withValues(m, n, [3, 2, 1, 0.5].slice(0, 3));
              const { u, s, vt, errorBound } = method(a, { rank: 3, key: key(1) });
              const exact = truncatedSvd(a, { rank: 3 });
              const unit = eye(3, 3, f64);
              return [
                [reconstruct({ u, s, vt }), a],
                [u.T.matmul(u), unit],
                [vt.matmul(vt.T), unit],
                [s, exact.s],
                [u, exact.u],
                [errorBound, zeros([], f64)],
              ];
            },
            1e-11,
          );
    });

    test("errorBound is above the error of the cut decomposition, which is near the best", async () => {
      const backend = await ready();
      for (let seed = 0; seed < 4; seed++) {
        for (const method of [randomizedSvd, blockKrylovSvd]) {
          const [error, bound, best, values] = await numbers(backend, () => {
            const a = slow();
            const parts = method(a, { rank: 5, key: key(seed) });
            return [spectralNorm(a.sub(reconstruct(parts))), parts.errorBound, svd(a).s, parts.s];
          });
          expect(bound![0]).toBeGreaterThanOrEqual(error![0]!);
          expect(error![0]).toBeLessThan(1.1 * best![5]!);
          // q qᵀ a has no larger values than a.
          for (const [j, s] of values!.entries()) expect(s).toBeLessThanOrEqual(best![j]! * (1 + 1e-12));
        }
      }
    });

    test("errorBound counts what is cut: where the basis holds all of a it is the first value cut", async () => {
      const backend = await ready();
      const [random, krylov] = await numbers(backend, () => [
        randomizedSvd(slow(), { rank: 5, oversample: 19, key: key(1) }).errorBound,
        blockKrylovSvd(slow(), { rank: 5, blockSize: 24, key: key(1) }).errorBound,
      ]);
      expect(random![0]).toBeCloseTo(SLOW[5]!, 12);
      expect(krylov![0]).toBeCloseTo(SLOW[5]!, 12);
    });

    test("the block Krylov space holds more than its last power", async () => {
      const backend = await ready();
      // Values that hardly fall: s_{k+1} is a tenth below s_k.
      const flat = Array.from({ length: 24 }, (_, j) => 0.9 ** j);
      const [krylov, power] = await numbers(backend, () => {
        const a = withValues(30, 24, flat);
        const left = (q: Tensor) => spectralNorm(a.sub(q.matmul(q.T.matmul(a))));
        return [
          left(blockKrylovSvd(a, { rank: 4, steps: 3, key: key(2) }).u),
          left(randomizedSvd(a, { rank: 4, oversample: 0, powerSteps: 3, key: key(2) }).u),
        ];
      });
      expect(krylov![0]).toBeLessThan(power![0]!);
      expect(krylov![0]).toBeLessThan(1.02 * flat[4]!);
    });

    test("the same key gives the same numbers, another key others; each matrix of a batch has its own", async () => {
      const backend = await ready();
      const q = (k: Key, a = slow()) => rangeFinder(a, { rank: 3, oversample: 0, powerSteps: 0, key: k }).q;
      const [first, again, other, batch] = await numbers(backend, () => [
        q(key(5)),
        q(key(5)),
        q(key(6)),
        q(key(5), slow().mul(tensor([[[1]], [[1]]], f64))),
      ]);
      expect(again).toEqual(first);
      expect(other).not.toEqual(first);
      expect(batch!.slice(0, 90)).not.toEqual(batch!.slice(90));
      const three = randomizedSvd(weights([2, 3, 6, 5], 1), { rank: 2, key: key(0) });
      expect([three.u.shape, three.s.shape, three.vt.shape, three.errorBound.shape]).toEqual([
        [2, 3, 6, 2],
        [2, 3, 2],
        [2, 3, 2, 5],
        [2, 3],
      ]);
    });

    test("gradients of a randomized decomposition are those of the exact one for a matrix of that rank", async () => {
      const backend = await ready();
      const f = (x: Tensor, y: Tensor) => {
        const { u, s, vt } = randomizedSvd(x.matmul(y), { rank: 2, oversample: 0, key: key(1) });
        return weighed(reconstruct({ u, s, vt })).add(weighed(s));
      };
      await checkSlope(backend, "randomizedSvd", f, [drawn([6, 2], 1), drawn([2, 5], 2)]);
    });

    test("nystrom is exact for its rank, leaves a positive semidefinite rest, and keeps theorem 4.1 in the mean", async () => {
      const backend = await ready();
      const [k, p, seeds] = [4, 4, 6];
      let mean = 0;
      for (let seed = 0; seed < seeds; seed++) {
        const [low, least, rest] = await numbers(backend, () => {
          const b = weights([12, 3], 4);
          const gram = b.matmul(b.T);
          const back = ({ values, vectors }: { values: Tensor; vectors: Tensor }) =>
            vectors.mul(values).matmul(vectors.T);
          const v = withValues(20, 20, SLOW.slice(0, 20));
          const psd = v.matmul(v.T);
          const left = psd.sub(back(nystrom(psd, { rank: k + p, oversample: 0, key: key(seed) })));
          return [
            norm(gram.sub(back(nystrom(gram, { rank: 3, key: key(seed) })))),
            eigvalsh(left, { assumeSymmetric: true }).min(),
            left.mul(eye(20, 20, f64)).sum(),
          ];
        });
        expect(low![0]).toBeLessThan(1e-12);
        expect(least![0]).toBeGreaterThan(-1e-13);
        mean += rest![0]! / seeds;
      }
      const best = SLOW.slice(k, 20).reduce((x, s) => x + s * s, 0);
      expect(mean).toBeLessThan((1 + k / (p - 1)) * best);
      const [zero, values] = await numbers(backend, () => [
        nystrom(zeros([2, 5, 5], f64), { rank: 2, key: key(0) }).values,
        nystrom(
          withValues(6, 6, [4, 2, 1, 0.5, 0.25, 0.125]).matmul(
            withValues(6, 6, [4, 2, 1, 0.5, 0.25, 0.125]).T,
          ),
          { rank: 6, key: key(0) },
        ).values,
      ]);
      for (const x of zero!) expect(x).toBeLessThan(1e-20);
      for (const [j, x] of [16, 4, 1, 0.25, 0.0625, 0.015625].entries())
        expect(values![j]).toBeCloseTo(x, 12);
    });

    test("StreamingSvd is exact while the rows have its rank, in blocks of any size", async () => {
      const backend = await ready();
      for (const method of ["truncate", "frequentDirections"] as const) {
        const stream = new StreamingSvd(6, { rank: 3, method, dtype: "f64" });
        const a = () => withValues(11, 6, [3, 2, 1]);
        // Without waiting: taken in turn.
        await Promise.all(
          [
            [0, 1],
            [1, 2],
            [2, 9],
            [9, 9],
            [9, 11],
          ].map((range) => stream.push(a().slice([range as [number, number]]))),
        );
        expect(stream.rows).toBe(11);
        expect(stream.errorBound).toBeLessThan(1e-25);
        const exact = truncatedSvd(a(), { rank: 3 });
        await expectClose(backend, method, () => [
          [stream.s, exact.s],
          [stream.vt.T.matmul(stream.vt), exact.vt.T.matmul(exact.vt)],
        ]);
      }
    });

    test("StreamingSvd keeps 0 ⪯ AᵀA - BᵀB ⪯ errorBound, frequent directions their bound beforehand", async () => {
      const backend = await ready();
      const a = weights([40, 8], 9).mul(weights([8], 10).mul(2).exp());
      const rank = 5;
      const values = (await numbers(backend, () => [svd(a).s]))[0]!;
      for (const method of ["truncate", "frequentDirections"] as const) {
        for (const size of [1, 7]) {
          const stream = new StreamingSvd(8, { rank, method, dtype: "f64" });
          for (let from = 0; from < 40; from += size) await stream.push(a.slice([[from, from + size]]));
          const [gap] = await numbers(backend, () => {
            const b = stream.vt.mul(stream.s.reshape([rank, 1]));
            return [eigvalsh(a.T.matmul(a).sub(b.T.matmul(b)), { assumeSymmetric: true })];
          });
          expect(gap![0]).toBeGreaterThan(-1e-11);
          expect(gap![7]).toBeLessThanOrEqual(stream.errorBound * (1 + 1e-9) + 1e-11);
          if (method === "truncate") continue;
          for (let k = 0; k <= rank; k++) {
            const rest = values.slice(k).reduce((x, s) => x + s * s, 0);
            expect(stream.errorBound).toBeLessThanOrEqual((rest / (rank + 1 - k)) * (1 + 1e-9));
          }
        }
      }
    });

    test("StreamingSvd refuses bad rows and goes on as if they had not come", async () => {
      await ready();
      const stream = new StreamingSvd(3, { rank: 2, dtype: "f64" });
      await stream.push(weights([2, 3], 1));
      expect(() => stream.push(weights([2, 4], 1))).toThrow(
        "StreamingSvd.push: expected rows of shape [k, 3], got [2, 4]",
      );
      await expect(stream.push(weights([1, 3], 1).mul(Number.NaN))).rejects.toThrow(
        "StreamingSvd.push: expected finite numbers, got NaN at [2, 0]",
      );
      await stream.push(weights([1, 3], 2));
      expect(stream.rows).toBe(3);
      expect(() => new StreamingSvd(0, { rank: 2 })).toThrow(
        "StreamingSvd: expected columns to be an integer ≥ 1, got 0",
      );
      expect(() => new StreamingSvd(3, { rank: 0 })).toThrow(
        "StreamingSvd: expected rank to be an integer ≥ 1, got 0",
      );
      expect(() => new StreamingSvd(3, { rank: 1, method: "fast" as "truncate" })).toThrow(
        'method "truncate" or "frequentDirections", got fast',
      );
    });

    test("options out of range are refused", async () => {
      const backend = await ready();
      const a = weights([6, 4], 1);
      const k = key(0);
      expect(() => rangeFinder(a, { rank: 5, key: k })).toThrow(
        "rangeFinder: expected rank to be an integer from 1 to 4, got 5",
      );
      expect(() => rangeFinder(a, { rank: 2 } as { rank: number; key: Key })).toThrow(
        "rangeFinder: expected a key of random numbers, got undefined",
      );
      expect(() => randomizedSvd(a, { rank: 2, oversample: -1, key: k })).toThrow(
        "oversample to be an integer ≥ 0, got -1",
      );
      expect(() => randomizedSvd(a, { rank: 2, powerSteps: 0.5, key: k })).toThrow(
        "powerSteps to be an integer ≥ 0, got 0.5",
      );
      expect(() => randomizedSvd(a, { rank: 2, probes: 0, key: k })).toThrow(
        "randomizedSvd: expected probes to be an integer ≥ 1",
      );
      expect(() => blockKrylovSvd(a, { rank: 2, blockSize: 1, key: k })).toThrow(
        "blockKrylovSvd: expected blockSize to be an integer ≥ 2, got 1",
      );
      expect(() => nystrom(a, { rank: 2, key: k })).toThrow("nystrom: expected a to be a square matrix");
      const negative = await fault(backend, () => nystrom(eye(4, 4, f64).neg(), { rank: 2, key: k }).values);
      expect([negative.code, negative.reason]).toEqual(["LOWRANK_NUMERICAL", "notPositiveDefinite"]);
    });
  });
}
