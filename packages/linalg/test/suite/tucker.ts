import {
  type Backend,
  conv2d,
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
  fold,
  hooi,
  hosvd,
  khatriRao,
  kron,
  modeProduct,
  singularValues,
  stHosvd,
  svd,
  Tucker,
  tucker2,
  unfold,
} from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { weights } from "./gradient.js";
import { DIMS, falling, identity, projector, squaresAfter } from "./falling.js";

const f64 = { dtype: "f64" } as const;

/** Unfoldings, and Tucker by HOSVD and HOOI. */
export function tuckerSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("tucker", () => {
    test("unfold puts a mode first and keeps the order of the others; fold undoes it; a mode product is a product of unfoldings", async () => {
      const backend = await ready();
      const x = () => weights([2, 3, 4], 1);
      const [flat, all] = await numbers(backend, () => [unfold(x(), 1), x()]);
      for (let i = 0; i < 2; i++)
        for (let j = 0; j < 3; j++)
          for (let k = 0; k < 4; k++) expect(flat![j * 8 + i * 4 + k]).toBe(all![i * 12 + j * 4 + k]);
      await expectClose(backend, "unfoldings", () =>
        [0, 1, 2].flatMap((j): [Tensor, Tensor][] => {
          const a = weights([5, x().shape[j]!], 2 + j);
          return [
            [fold(unfold(x(), j), j, [2, 3, 4]), x()],
            [unfold(modeProduct(x(), a, j), j), a.matmul(unfold(x(), j))],
          ];
        }),
      );
      // unfold(a ∘ b ∘ c, 1) = b · khatriRao([a, c])ᵀ
      await expectClose(backend, "khatriRao", () => {
        const [a, b, c] = [weights([2, 1], 1), weights([3, 1], 2), weights([4, 1], 3)];
        const outer = a
          .reshape([2, 1, 1])
          .mul(b.reshape([3, 1]))
          .mul(c.reshape([4]));
        const column = (i: number) =>
          khatriRao([weights([2, 3], 5), weights([4, 3], 6)]).slice([null, [i, i + 1]]);
        return [
          [unfold(outer, 1), b.matmul(khatriRao([a, c]).T)],
          [
            column(2),
            kron(weights([2, 3], 5).slice([null, [2, 3]]), weights([4, 3], 6).slice([null, [2, 3]])),
          ],
        ];
      });
    });

    test("hosvd: max tail ≤ error² ≤ Σ tails, so that it is within √order of the best; stHosvd too", async () => {
      const backend = await ready();
      for (const ranks of [
        [2, 2, 2],
        [2, 3, 2],
        [3, 3, 1],
        [1, 1, 1],
      ]) {
        const values = await numbers(backend, () => DIMS.map((_, j) => singularValues(unfold(falling(), j))));
        const tails = ranks.map((r, j) => squaresAfter(values[j]!, r));
        const [bound, least] = [tails.reduce((a, b) => a + b), Math.max(...tails)];
        const best = await hooi(falling(), { ranks, iterations: 100, tolerance: 1e-12 });
        for (const method of [hosvd, stHosvd]) {
          const [error] = (await numbers(backend, () => [method(falling(), { ranks }).error(falling())]))[0]!;
          expect(error! ** 2).toBeLessThanOrEqual(bound * (1 + 1e-12));
          expect(error! ** 2).toBeGreaterThanOrEqual(least * (1 - 1e-12));
          expect(error).toBeLessThanOrEqual(
            Math.sqrt(3) * best.errors[best.errors.length - 1]! * (1 + 1e-12),
          );
        }
      }
    });

    test("factors are orthonormal and what is cut is orthogonal to what stays; full ranks give the tensor back", async () => {
      const backend = await ready();
      for (const method of [hosvd, stHosvd])
        await expectClose(
          backend,
          method.name,
          () => {
            const x = falling();
            const { core, factors } = method(x, { ranks: [2, 3, 2] });
            const cut = method(x, { ranks: [2, null, 2] });
            const near = new Tucker(core, factors).reconstruct();
            return [
              ...factors.map((U): [Tensor, Tensor] => [U!.T.matmul(U!), tensor(identity(U!.shape[1]!), f64)]),
              [method(x, { ranks: [...DIMS] }).reconstruct(), x],
              [sum(x.sub(near).mul(near)), zeros([], f64)],
              [
                norm(x).square(),
                norm(core)
                  .square()
                  .add(
                    method(x, { ranks: [2, 3, 2] })
                      .error(x)
                      .square(),
                  ),
              ],
              [
                cut.reconstruct(),
                modeProduct(modeProduct(x, projector(cut.factors[0]!), 0), projector(cut.factors[2]!), 2),
              ],
            ];
          },
          1e-11,
        );
    });

    test("stHosvd: error² is the sum of the squares cut off on the way", async () => {
      const backend = await ready();
      const ranks = [2, 3, 2];
      let y = falling();
      let total = 0;
      for (const [j, r] of ranks.entries()) {
        const { u, s } = svd(unfold(y, j));
        const [values] = await numbers(backend, () => [s]);
        total += squaresAfter(values!, r);
        y = modeProduct(y, svd(unfold(y, j)).u.slice([null, [0, r]]).T, j);
        expect(u.shape[0]).toBe(DIMS[j]);
      }
      const [[error]] = (await numbers(backend, () => [stHosvd(falling(), { ranks }).error(falling())])) as [
        [number],
      ];
      expect(error ** 2).toBeCloseTo(total, 13);
    });

    test("hosvd and stHosvd by tolerance stay within it, and take the ranks of a tensor that has some", async () => {
      const backend = await ready();
      const [[size]] = (await numbers(backend, () => [norm(falling())])) as [[number]];
      for (const method of [hosvd, stHosvd]) {
        let before = Number.POSITIVE_INFINITY;
        for (const tolerance of [0.3, 0.1, 0.01, 0]) {
          const fit = await method(falling(), { tolerance });
          const [[error]] = (await numbers(backend, () => [fit.error(falling())])) as [[number]];
          expect(error).toBeLessThanOrEqual(tolerance * size + 1e-13);
          expect(error).toBeLessThanOrEqual(before);
          before = error;
        }
        const low = [2, 1, 2].reduce(
          (y, r, j) => modeProduct(y, weights([DIMS[j]!, r], j + 4), j),
          weights([2, 1, 2], 3),
        );
        expect((await method(low, { tolerance: 1e-10 })).core.shape).toEqual([2, 1, 2]);
        expect((await method(low, { tolerance: 1e-10, modes: [2] })).core.shape).toEqual([4, 5, 2]);
        expect((await method(zeros(DIMS, f64), { tolerance: 0.1 })).core.shape).toEqual([1, 1, 1]);
      }
    });

    test("hooi: the error never rises and ends below where hosvd is", async () => {
      const backend = await ready();
      for (const seed of [1, 2, 3]) {
        const fit = await hooi(weights(DIMS, seed), { ranks: [2, 2, 2] });
        for (let i = 1; i < fit.errors.length; i++)
          expect(fit.errors[i]).toBeLessThanOrEqual(fit.errors[i - 1]! * (1 + 1e-12));
        expect(fit.errors.length).toBeGreaterThan(2);
        const [[now], [start], [plain]] = (await numbers(backend, () => [
          fit.error(weights(DIMS, seed)),
          stHosvd(weights(DIMS, seed), { ranks: [2, 2, 2] }).error(weights(DIMS, seed)),
          hosvd(weights(DIMS, seed), { ranks: [2, 2, 2] }).error(weights(DIMS, seed)),
        ])) as [[number], [number], [number]];
        expect(now).toBeCloseTo(fit.errors[fit.errors.length - 1]!, 12);
        expect(start).toBeCloseTo(fit.errors[0]!, 12);
        expect(now).toBeLessThan(plain);
      }
      // In two modes it is the best approximation of a matrix.
      const matrix = await hooi(weights([6, 5], 1), { ranks: [2, 2] });
      await expectClose(
        backend,
        "hooi of a matrix",
        () => [[matrix.reconstruct(), bestRank(weights([6, 5], 1), 2)]],
        1e-10,
      );
    });

    test("tucker2: three convolutions give what one with the reconstructed weight gives", async () => {
      const backend = await ready();
      const weight = () => weights([6, 5, 3, 3], 2);
      const image = weights([2, 5, 7, 7], 3);
      const exact = await tucker2(weight(), { tolerance: 1e-12 });
      expect([exact.first.shape, exact.core.shape, exact.last.shape]).toEqual([
        [5, 5, 1, 1],
        [6, 5, 3, 3],
        [6, 6, 1, 1],
      ]);
      await expectClose(backend, "tucker2", () => {
        const cut = tucker2(weight(), { ranks: [3, 2] });
        expect([cut.first.shape, cut.core.shape, cut.last.shape]).toEqual([
          [2, 5, 1, 1],
          [3, 2, 3, 3],
          [6, 3, 1, 1],
        ]);
        const geometry = { stride: 2, padding: 1 };
        const through = conv2d(conv2d(conv2d(image, cut.first), cut.core, geometry), cut.last);
        return [
          [through, conv2d(image, cut.reconstruct(), geometry)],
          [cut.error(weight()), stHosvd(weight(), { ranks: [3, 2, null, null] }).error(weight())],
          [exact.reconstruct(), weight()],
        ];
      });
    });
  });
}
