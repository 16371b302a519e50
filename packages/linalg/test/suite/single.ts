import {
  type Backend,
  eye,
  gradients,
  key,
  norm,
  setDefaultBackend,
  sum,
  type Tensor,
} from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  bestRank,
  blockKrylovSvd,
  coherence,
  conditionNumber,
  cpAls,
  effectiveRank,
  fixedRank,
  grassmann,
  hooi,
  hosvd,
  khatriRao,
  klsStep,
  kronSvd,
  lowRankAdd,
  matrixEntropy,
  nuclearNorm,
  numericalRank,
  nystrom,
  participationRatio,
  principalAngles,
  qr,
  randomizedSvd,
  recompress,
  reconstruct,
  schattenNorm,
  singularValueThreshold,
  spectralNorm,
  stableRank,
  stiefel,
  StreamingSvd,
  type Svd,
  tensorTrain,
  truncatedSvd,
  tucker2,
  whitenedSvd,
} from "../../src/index.js";
import { weights } from "./gradient.js";
import { numbers } from "./expect-close.js";

/** Everything that is lazy as a function of one matrix or tensor; what it gives must not depend on a basis or a sign. */
const LAZY: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  bestRank: (x) => bestRank(x, 2),
  truncatedSvd: (x) => reconstruct(truncatedSvd(x, { rank: 2 })),
  singularValueThreshold: (x) => singularValueThreshold(x, 0.5),
  recompress: (x) => reconstruct(recompress({ left: x, right: x.T })),
  lowRankAdd: (x) =>
    reconstruct(lowRankAdd(truncatedSvd(x, { rank: 2 }), truncatedSvd(x.mul(-0.5), { rank: 3 }))),
  klsStep: (x) =>
    reconstruct(
      klsStep(truncatedSvd(x, { rank: 2 }), ({ left, right }) => left.matmul(right).add(x), {
        stepSize: 0.1,
      }),
    ),
  whitenedSvd: (x) => product(whitenedSvd(x, { activations: x.T.matmul(x).add(one(x)), rank: 2 })),
  "whitenedSvd by gram": (x) => product(whitenedSvd(x, { gram: x.T.matmul(x).add(one(x)), rank: 2 })),
  nystrom: (x) => {
    const { values, vectors } = nystrom(x.matmul(x.T), { rank: 4, key: key(1) });
    return vectors.mul(values).matmul(vectors.T);
  },
  randomizedSvd: (x) => reconstruct(randomizedSvd(x, { rank: 4, key: key(1) })),
  blockKrylovSvd: (x) => reconstruct(blockKrylovSvd(x, { rank: 4, key: key(1) })),
  hosvd: (x) => hosvd(x.reshape([3, 2, 4]), { ranks: [2, 2, 2] }).reconstruct(),
  tucker2: (x) => tucker2(x.reshape([3, 4, 2]), { ranks: [2, 2] }).reconstruct(),
  tensorTrain: (x) => tensorTrain(x.reshape([3, 2, 4]), { ranks: [2, 3] }).reconstruct(),
  kronSvd: (x) => kronSvd(x, { shape: [3, 2], rank: 2 }).reconstruct(),
  "stiefel.project": (x) => stiefel.project(qr(x).q, x),
  "stiefel.retractPolar": (x) => stiefel.retractPolar(...atQ(x)),
  "stiefel.retractCayley": (x) => stiefel.retractCayley(...atQ(x)),
  "stiefel.exp": (x) => stiefel.exp(...atQ(x)),
  "stiefel.exp, canonical": (x) => stiefel.exp(...atQ(x), { metric: "canonical" }),
  "grassmann.exp": (x) =>
    grassmann.exp(qr(x).q, grassmann.project(qr(x).q, weights(x.shape, 3).astype(x.dtype))),
  "grassmann.log": (x) => grassmann.log(qr(x).q, qr(x.add(weights(x.shape, 3).mul(0.3).astype(x.dtype))).q),
  "fixedRank.retract": (x) => {
    const at = truncatedSvd(x, { rank: 2 });
    return reconstruct(fixedRank.retract(at, fixedRank.project(at, x)));
  },
  spectralNorm,
  nuclearNorm,
  schattenNorm: (x) => schattenNorm(x, 3),
  conditionNumber,
  stableRank,
  effectiveRank,
  matrixEntropy,
  participationRatio,
  coherence,
  principalAngles: (x) =>
    principalAngles(
      x,
      weights(x.shape, 3)
        .slice([null, [0, 2]])
        .astype(x.dtype),
    ),
};

const one = (x: Tensor): Tensor => eye(x.shape[1]!, undefined, { dtype: x.dtype });
const product = ({ left, right }: { left: Tensor; right: Tensor }): Tensor => left.matmul(right);
const atQ = (x: Tensor): [Tensor, Tensor] => {
  const { q } = qr(x);
  return [q, stiefel.project(q, weights(x.shape, 3).astype(x.dtype))];
};

/** The same in f32, half floats and f64. */
export function singleSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };
  const far = (got: readonly number[], want: readonly number[]): number => {
    const size = Math.sqrt(want.reduce((s, x) => s + x * x, 0));
    return Math.sqrt(want.reduce((s, x, i) => s + (x - got[i]!) ** 2, 0)) / Math.max(1, size);
  };

  describe("low rank in f32", () => {
    test("gives what f64 gives, up to rounding, gradients too", async () => {
      const backend = await ready();
      for (const [name, f] of Object.entries(LAZY)) {
        const build = (x: Tensor) => {
          const y = f(x);
          return [y, gradients(sum(y.mul(weights(y.shape, 5).astype(y.dtype))), [x])[0]!];
        };
        const [y, slope] = await numbers(backend, () => build(weights([6, 4], 1)));
        const single = weights([6, 4], 1).astype("f32");
        expect(f(single).dtype, name).toBe("f32");
        const [z, steep] = await numbers(backend, () => build(single));
        expect(far(z!, y!), name).toBeLessThan(2e-5);
        expect(far(steep!, slope!), `gradient of ${name}`).toBeLessThan(1e-3);
      }
    });

    test("takes half floats as f32", async () => {
      await ready();
      for (const [name, f] of Object.entries(LAZY))
        expect(f(weights([6, 4], 1).astype("bf16")).dtype, name).toBe("f32");
    });

    test("nystrom in f32 neither fails nor loses more than its shift where a has less than the rank", async () => {
      const backend = await ready();
      const gram = (n: number, rank: number) => {
        const b = weights([n, rank], 6).astype("f32");
        return b.matmul(b.T);
      };
      for (const [n, rank] of [
        [40, 1],
        [24, 5],
      ] as const)
        for (let seed = 0; seed < 5; seed++) {
          const [error, size] = await numbers(backend, () => {
            const { values, vectors } = nystrom(gram(n, rank), { rank: 8, key: key(seed) });
            return [norm(gram(n, rank).sub(vectors.mul(values).matmul(vectors.T))), norm(gram(n, rank))];
          });
          expect(error![0]).toBeLessThan(1e-4 * size![0]!);
        }
    });

    test("ranks by numbers, fits and streams work in f32", async () => {
      const backend = await ready();
      const low = () =>
        weights([12, 3], 1)
          .matmul(weights([3, 8], 2))
          .astype("f32");
      const ranks = await numbers(backend, () => [numericalRank(low())]);
      expect(ranks).toEqual([[3]]);
      expect((await truncatedSvd(low(), { tolerance: 1e-5 })).s.shape).toEqual([3]);
      expect((await truncatedSvd(low(), { energy: 1 - 1e-9 })).s.shape).toEqual([3]);
      const cube = () =>
        weights([4, 2], 1)
          .matmul(khatriRao([weights([3, 2], 2), weights([5, 2], 3)]).T)
          .reshape([4, 3, 5])
          .astype("f32");
      expect((await hosvd(cube(), { tolerance: 1e-5 })).core.shape).toEqual([2, 2, 2]);
      expect((await tensorTrain(cube(), { tolerance: 1e-5 })).ranks).toEqual([2, 2]);
      const stream = new StreamingSvd(8, { rank: 3 });
      for (let i = 0; i < 12; i += 4) await stream.push(low().slice([[i, i + 4]]));
      const streamed: Svd = truncatedSvd(low(), { rank: 3 });
      const cp = await cpAls(cube(), { rank: 2, key: key(3), tolerance: 1e-6 });
      const fit = await hooi(cube(), { ranks: [2, 2, 2] });
      const [s, want, cpError, fitError, size] = await numbers(backend, () => [
        stream.s,
        streamed.s,
        cp.error(cube()),
        fit.error(cube()),
        norm(cube()),
      ]);
      expect(far(s!, want!)).toBeLessThan(1e-5);
      expect(cpError![0]).toBeLessThan(1e-3 * size![0]!);
      expect(fitError![0]).toBeLessThan(1e-5 * size![0]!);
    });
  });
}
