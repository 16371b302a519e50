import { type Backend, eye, norm, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { expm, type Factors, klsStep, reconstruct, type Svd, truncatedSvd } from "../../src/index.js";
import { expectClose, numbers, withValues } from "./expect-close.js";
import { weights } from "./gradient.js";

const product = ({ left, right }: Factors): Tensor => left.matmul(right);
const skewed = (n: number, seed: number): Tensor => {
  const x = weights([n, n], seed);
  return x.sub(x.T).mul(0.5);
};

/** Matrix differential equations at low rank. */
export function klsSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("klsStep", () => {
    test("reproduces a path of that rank, given as a matrix or as factors", async () => {
      const backend = await ready();
      for (const rank of [1, 3])
        await expectClose(
          backend,
          `rank ${rank}`,
          () => {
            const [a, b] = [0, 1].map((i) => weights([8, rank], 1 + i).matmul(weights([rank, 6], 3 + i))) as [
              Tensor,
              Tensor,
            ];
            const h = 0.25;
            const from = truncatedSvd(a, { rank });
            const rise = b.sub(a).div(h);
            const byFactors = { left: rise, right: eye(6, 6, { dtype: "f64" }) };
            return [
              [reconstruct(klsStep(from, () => rise, { stepSize: h, method: "euler" })), b],
              [reconstruct(klsStep(from, () => byFactors, { stepSize: h })), b],
              [reconstruct(klsStep(from, () => rise, { stepSize: h, rank })), b],
            ];
          },
          1e-10,
        );
    });

    test("the error of Y' = L Y + Y R falls with the step, however small the singular values are", async () => {
      const backend = await ready();
      const [L, R] = [weights([7, 7], 1), weights([5, 5], 2)];
      const field = (y: Factors) => L.matmul(product(y)).add(product(y).matmul(R));
      for (const s of [
        [2, 1, 0.5],
        [2, 1, 1e-9],
      ]) {
        const errorOf = async (steps: number): Promise<number> => {
          let y = truncatedSvd(withValues(7, 5, s, 4), { rank: 3 });
          for (let i = 0; i < steps; i++) {
            y = klsStep(y, field, { stepSize: 0.5 / steps });
            await Promise.all([y.u.data(), y.s.data(), y.vt.data()]);
          }
          const exact = expm(L.mul(0.5))
            .matmul(withValues(7, 5, s, 4))
            .matmul(expm(R.mul(0.5)));
          return (await numbers(backend, () => [norm(reconstruct(y).sub(exact))]))[0]![0]!;
        };
        const [coarse, fine] = [await errorOf(8), await errorOf(16)];
        expect(coarse).toBeLessThan(0.1);
        expect(coarse / fine).toBeGreaterThan(1.7);
      }
    });

    test("with augmented bases a skew field keeps the norm, and the rank follows the solution", async () => {
      const backend = await ready();
      const [L, R] = [skewed(7, 1), skewed(6, 2)];
      const field = (y: Factors) => L.matmul(product(y)).sub(product(y).matmul(R));
      const start = (): Svd => truncatedSvd(withValues(7, 6, [2, 1], 5), { rank: 2 });
      const [before, kept] = await numbers(backend, () => [
        norm(start().s),
        norm(klsStep(start(), field, { stepSize: 0.05, rank: 4 }).s),
      ]);
      expect(kept![0]).toBeCloseTo(before![0]!, 7);
      // A source of another direction raises the rank from 1 to 2; a decaying part lets it fall again.
      const source = weights([7, 1], 8).matmul(weights([1, 6], 9));
      const one = truncatedSvd(withValues(7, 6, [1], 5), { rank: 1 });
      const grown = await klsStep(one, () => source, { stepSize: 1, tolerance: 1e-8 });
      expect(grown.s.shape).toEqual([2]);
      await expectClose(backend, "grown", () => [[reconstruct(grown), reconstruct(one).add(source)]]);
      const back = await klsStep(grown, () => source.neg(), { stepSize: 1, tolerance: 1e-8 });
      expect(back.s.shape).toEqual([1]);
    });

    test("fields may depend on time", async () => {
      const backend = await ready();
      await expectClose(backend, "∫ 3 t² from 1 to 2", () => {
        const a = withValues(5, 4, [1, 0.5], 2);
        const y = klsStep(truncatedSvd(a, { rank: 2 }), (_, t) => a.mul(3 * t * t), { time: 1, stepSize: 1 });
        return [[reconstruct(y), a.mul(8)]];
      });
    });

    test("refuses a step of no size and unknown methods", () => {
      const y = truncatedSvd(weights([4, 3], 1), { rank: 1 });
      const call = (options: object) => () => klsStep(y, product, options as { stepSize: number });
      expect(call({ stepSize: 0 })).toThrow(
        "klsStep: expected finite stepSize and time, stepSize not 0, got 0 and 0",
      );
      expect(call({ stepSize: Number.NaN })).toThrow("got NaN and 0");
      expect(call({ stepSize: 1, method: "leap" })).toThrow(
        'klsStep: expected method "euler" or "rk4", got leap',
      );
      expect(call({ stepSize: 1, rank: 3 })).toThrow(
        "klsStep: expected rank to be an integer from 1 to 2, got 3",
      );
    });
  });
}
