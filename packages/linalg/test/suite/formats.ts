import {
  type Backend,
  conv2d,
  eye,
  key,
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
  cholesky,
  choleskySolve,
  cpAls,
  fold,
  hooi,
  hosvd,
  khatriRao,
  kron,
  kronSvd,
  modeProduct,
  singularValues,
  stHosvd,
  svd,
  TensorTrain,
  tensorTrain,
  tensorTrainMatrix,
  Tucker,
  tucker2,
  unfold,
} from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";

const f64 = { dtype: "f64" } as const;
const DIMS = [4, 5, 3];
/** A tensor whose unfoldings have falling singular values. */
const falling = (seed = 1): Tensor => {
  const scale = (n: number) => tensor(Float64Array.from({ length: n }, (_, i) => 0.5 ** i));
  const [a, b, c] = DIMS.map(scale) as [Tensor, Tensor, Tensor];
  const x = weights(DIMS, seed)
    .mul(a.reshape([4, 1, 1]))
    .mul(b.reshape([5, 1]))
    .mul(c);
  return DIMS.reduce((y, n, j) => modeProduct(y, svd(weights([n, n], seed + j)).u, j), x);
};
const squaresAfter = (s: readonly number[], r: number): number => s.slice(r).reduce((x, v) => x + v * v, 0);

/** Tensors in fewer numbers: Tucker, CP, tensor trains, Kronecker products. */
export function formatSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("formats", () => {
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

    test("tensorTrain: error² is the sum of the squares cut off, at most order - 1 times the best", async () => {
      const backend = await ready();
      const x = () => weights([3, 4, 3, 2], 5);
      const full = [3, 6, 2];
      await expectClose(backend, "full ranks", () => [
        [tensorTrain(x(), { ranks: full }).reconstruct(), x()],
      ]);
      for (const ranks of [
        [2, 3, 2],
        [3, 4, 1],
        [1, 1, 1],
      ]) {
        // By hand, cut after cut.
        let [rest, before, total] = [x(), 1, 0];
        for (const [j, r] of ranks.entries()) {
          const rows = before * x().shape[j]!;
          const { s, vt } = svd(rest.reshape([rows, rest.size / rows]));
          const values = Array.from(await s.data());
          total += squaresAfter(values, r);
          rest = vt.slice([[0, r]]).mul(s.slice([[0, r]]).reshape([r, 1]));
          before = r;
        }
        const [error, ...tails] = await numbers(backend, () => [
          tensorTrain(x(), { ranks }).error(x()),
          ...[3, 12, 36].map((rows) => singularValues(x().reshape([rows, 72 / rows]))),
        ]);
        expect(error![0]! ** 2).toBeCloseTo(total, 12);
        // No train of these ranks is nearer than any one of its unfoldings of that rank.
        const each = tails.map((s, j) => squaresAfter(s, ranks[j]!));
        expect(error![0]! ** 2).toBeLessThanOrEqual(each.reduce((a, b) => a + b) * (1 + 1e-12));
        expect(error![0]! ** 2).toBeGreaterThanOrEqual(Math.max(...each) * (1 - 1e-12));
      }
    });

    test("tensorTrain by tolerance stays within it and finds the ranks of a train", async () => {
      const backend = await ready();
      const cores = [
        [1, 3, 2],
        [2, 4, 3],
        [3, 3, 2],
        [2, 2, 1],
      ].map((dims, j) => weights(dims, j + 1));
      const train = new TensorTrain(cores);
      expect(train.ranks).toEqual([2, 3, 2]);
      const x = () => train.reconstruct();
      const found = await tensorTrain(x(), { tolerance: 1e-10 });
      expect(found.ranks).toEqual([2, 3, 2]);
      const noise = () => x().add(weights([3, 4, 3, 2], 9).mul(0.05));
      const [[size]] = (await numbers(backend, () => [norm(noise())])) as [[number]];
      for (const tolerance of [0.5, 0.1, 1e-3]) {
        const near = await tensorTrain(noise(), { tolerance });
        const [[error]] = (await numbers(backend, () => [near.error(noise())])) as [[number]];
        expect(error).toBeLessThanOrEqual(tolerance * size);
      }
      await expectClose(backend, "trains", () => [
        [found.reconstruct(), x()],
        // Element by element: a product of slices of the cores.
        [
          cores
            .map((G, j) => G.slice([null, [1, 2].includes(j) ? 2 : 1]))
            .reduce((a, b) => a.matmul(b))
            .reshape([]),
          x().slice([1, 2, 2, 1]),
        ],
        [tensorTrain(weights([5], 1), { ranks: [] }).reconstruct(), weights([5], 1)],
      ]);
      expect((await tensorTrain(zeros([3, 3, 2], f64), { tolerance: 0 })).ranks).toEqual([1, 1]);
    });

    test("tensorTrainMatrix: a train of pairs of axes, applied without forming the matrix; a Kronecker product has ranks 1", async () => {
      const backend = await ready();
      const shape = { rows: [2, 3, 2], columns: [3, 2, 4] };
      const w = () => weights([12, 24], 3);
      const parts = () => [weights([2, 3], 1), weights([3, 2], 2), weights([2, 4], 4)] as const;
      const product = () => kron(kron(parts()[0], parts()[1]), parts()[2]);
      const found = await tensorTrainMatrix(product(), { ...shape, tolerance: 1e-10 });
      expect(found.ranks).toEqual([1, 1]);
      await expectClose(backend, "train of a matrix", () => {
        const whole = tensorTrainMatrix(w(), { ...shape, ranks: [6, 8] });
        const cut = tensorTrainMatrix(w(), { ...shape, ranks: [3, 4] });
        const x = weights([2, 3, 24], 5);
        const tensorOf = (y: Tensor) =>
          y.reshape([2, 3, 2, 3, 2, 4]).permute([0, 3, 1, 4, 2, 5]).reshape([6, 6, 8]);
        expect(cut.cores.map((core) => core.shape)).toEqual([
          [1, 2, 3, 3],
          [3, 3, 2, 4],
          [4, 2, 4, 1],
        ]);
        return [
          [whole.reconstruct(), w()],
          [found.reconstruct(), product()],
          [whole.apply(x), x.matmul(w().T)],
          [cut.apply(x), x.matmul(cut.reconstruct().T)],
          [
            cut.apply(x.slice([0, 0])),
            cut
              .reconstruct()
              .matmul(x.slice([0, 0]).reshape([24, 1]))
              .reshape([12]),
          ],
          [cut.error(w()), tensorTrain(tensorOf(w()), { ranks: [3, 4] }).error(tensorOf(w()))],
        ];
      });
      const bad = (given: object) => () => tensorTrainMatrix(w(), given as never);
      expect(bad({ rows: [2, 6], columns: [3, 4], ranks: [1] })).toThrow(
        "tensorTrainMatrix: expected as many rows as columns, with products 12 and 24, got [2, 6] and [3, 4]",
      );
      expect(bad({ rows: [12], columns: [6, 4], ranks: [1] })).toThrow("as many rows as columns");
      expect(() => found.apply(weights([3], 1))).toThrow(
        "TensorTrainMatrix.apply: expected x of shape [.., 24], got [3]",
      );
    });

    test("kronSvd: error² is the sum of the squares cut off, and no sum of so many products is nearer", async () => {
      const backend = await ready();
      const a = () => weights([6, 8], 4);
      for (const rank of [1, 3, 6]) {
        const values = await numbers(backend, () => {
          const near = kronSvd(a(), { shape: [2, 4], rank });
          const others = [1, 2, 3].map((seed) => {
            const b = near.b.add(weights(near.b.shape, seed).mul(0.02));
            const c = near.c.add(weights(near.c.shape, seed + 9).mul(0.02));
            const total = Array.from({ length: rank }, (_, i) => kron(b.slice([i]), c.slice([i]))).reduce(
              (x, y) => x.add(y),
            );
            return norm(a().sub(total));
          });
          const total = Array.from({ length: rank }, (_, i) =>
            kron(near.b.slice([i]), near.c.slice([i])),
          ).reduce((x, y) => x.add(y));
          return [near.s, near.error(a()), norm(total.sub(near.reconstruct())), ...others];
        });
        const [s, error, same, ...others] = values as [number[], number[], number[], ...number[][]];
        expect(error[0]! ** 2).toBeCloseTo(squaresAfter(s, rank), 12);
        expect(same[0]).toBeLessThan(1e-13);
        for (const x of others) expect(x[0]).toBeGreaterThan(error[0]!);
      }
    });

    test("kronSvd finds a Kronecker product again, in batches, by energy and by tolerance", async () => {
      const backend = await ready();
      const product = () => kron(weights([3, 2], 1), weights([2, 4], 2));
      const found = await kronSvd(product(), { shape: [3, 2], tolerance: 1e-10 });
      expect([found.b.shape, found.c.shape]).toEqual([
        [1, 3, 2],
        [1, 2, 4],
      ]);
      const most = await kronSvd(weights([6, 8], 4), { shape: [3, 2], energy: 0.8 });
      const batch = kronSvd(weights([2, 6, 8], 4), { shape: [3, 2], rank: 6 });
      await expectClose(backend, "kronSvd", () => [
        [found.reconstruct(), product()],
        [batch.reconstruct(), weights([2, 6, 8], 4)],
        [batch.error(weights([2, 6, 8], 4)), zeros([2], f64)],
      ]);
      const [s, error] = await numbers(backend, () => [most.s, most.error(weights([6, 8], 4))]);
      expect(error![0]! ** 2).toBeLessThanOrEqual(0.2 * squaresAfter(s!, 0));
    });

    test("cpAls finds the terms of a tensor of low rank again", async () => {
      const backend = await ready();
      const parts = () => [weights([5, 3], 1), weights([4, 3], 2), weights([6, 3], 3)];
      const x = () => {
        const [a, b, c] = parts() as [Tensor, Tensor, Tensor];
        return a.matmul(khatriRao([b, c]).T).reshape([5, 4, 6]);
      };
      const fit = await cpAls(x(), { rank: 3, key: key(1), ridge: 1e-13 });
      const [[size], [error], w] = (await numbers(backend, () => [
        norm(x()),
        fit.error(x()),
        fit.weights,
      ])) as [[number], [number], number[]];
      expect(error).toBeLessThan(1e-5 * size);
      expect(error).toBeCloseTo(fit.errors[fit.errors.length - 1]!, 10);
      expect([...w].sort((a, b) => b - a)).toEqual(w);
      // Every term is one of those that were put in, up to scale: cosines are those of a permutation.
      const cosines = await numbers(backend, () =>
        parts().map((a, j) => a.div(norm(a, 0)).T.matmul(fit.factors[j]!).abs()),
      );
      for (const c of cosines)
        for (let i = 0; i < 3; i++) expect(Math.max(...c.slice(3 * i, 3 * i + 3))).toBeGreaterThan(1 - 1e-6);
      await expectClose(backend, "columns of length 1", () =>
        fit.factors.map((a): [Tensor, Tensor] => [norm(a, 0), tensor([1, 1, 1], f64)]),
      );
    });

    test("cpAls: the others known, a factor is one solve away; the error does not rise; rank 1 of a matrix is its best", async () => {
      const backend = await ready();
      await expectClose(backend, "one solve", () => {
        const [a, b, c] = [weights([5, 3], 1), weights([4, 3], 2), weights([6, 3], 3)];
        const others = khatriRao([b, c]);
        const x = a.matmul(others.T).reshape([5, 4, 6]);
        const gram = b.T.matmul(b).mul(c.T.matmul(c));
        return [
          [others.T.matmul(others), gram],
          [choleskySolve(cholesky(gram), others.T.matmul(unfold(x, 0).T)).T, a],
        ];
      });
      const fit = await cpAls(weights([4, 3, 3], 7), {
        rank: 2,
        key: key(4),
        restarts: 1,
        iterations: 40,
        tolerance: 0,
      });
      for (let i = 1; i < fit.errors.length; i++)
        expect(fit.errors[i]).toBeLessThanOrEqual(fit.errors[i - 1]! + 1e-8);
      const matrix = await cpAls(weights([6, 5], 3), { rank: 1, key: key(2), tolerance: 1e-14 });
      await expectClose(
        backend,
        "rank 1",
        () => [[matrix.reconstruct(), bestRank(weights([6, 5], 3), 1)]],
        1e-5,
      );
      const again = await cpAls(weights([6, 5], 3), { rank: 1, key: key(2), tolerance: 1e-14 });
      expect(again.errors).toEqual(matrix.errors);
      const nothing = await cpAls(zeros([3, 2, 2], f64), { rank: 2, key: key(0) });
      expect(nothing.errors).toEqual([0]);
    });

    test("gradients of lazy formats agree with differences", async () => {
      const backend = await ready();
      const cut: Record<string, (x: Tensor) => Tensor> = {
        hosvd: (x) => hosvd(x, { ranks: [2, 1, 2] }).reconstruct(),
        stHosvd: (x) => stHosvd(x, { ranks: [2, null, 2] }).reconstruct(),
        tensorTrain: (x) => tensorTrain(x, { ranks: [2, 2] }).reconstruct(),
        kronSvd: (x) => kronSvd(x.reshape([4, 6]), { shape: [2, 3], rank: 2 }).reconstruct(),
      };
      for (const [name, f] of Object.entries(cut))
        await checkSlope(backend, name, (x) => weighed(f(x)), [drawn([3, 2, 4], 6)], { atol: 1e-6 });
    });

    test("numbers that are not finite are refused in the name of the format", async () => {
      await ready();
      const bad = () => weights(DIMS, 1).add(tensor([0, 0, Number.NaN], f64).mul(eye(5, 3, f64)));
      const cp = cpAls(bad(), { rank: 1, key: key(0) });
      await expect(cp).rejects.toThrow("cpAls: expected finite numbers, got NaN at [0, 0, 2]");
      await expect(cp).rejects.toMatchObject({
        code: "LOWRANK_NUMERICAL",
        reason: "notFinite",
        index: [0, 0, 2],
      });
      await expect(hosvd(bad(), { tolerance: 0.1 })).rejects.toThrow(
        "hosvd: expected finite numbers, got NaN",
      );
      await expect(hooi(bad(), { ranks: [1, 1, 1] })).rejects.toThrow(
        "hooi: expected finite numbers, got NaN",
      );
      await expect(tensorTrain(bad(), { tolerance: 0.1 })).rejects.toThrow(
        "tensorTrain: expected finite numbers, got NaN",
      );
      const kronecker = kronSvd(weights([4, 4], 1).mul(Number.NaN), { shape: [2, 2], energy: 0.5 });
      await expect(kronecker).rejects.toThrow("kronSvd: expected finite numbers, got NaN at [0, 0]");
    });

    test("ranks, modes, tolerances and shapes out of range are refused", async () => {
      await ready();
      const x = weights(DIMS, 1);
      const bad = (f: (given: never) => unknown, given: object) => () => f(given as never);
      expect(bad((g) => hosvd(x, g), { ranks: [2, 2] })).toThrow(
        "hosvd: expected 3 ranks, one for each mode, got 2",
      );
      expect(bad((g) => hosvd(x, g), { ranks: [5, 2, 2] })).toThrow(
        "hosvd: expected rank 0 to be an integer from 1 to 4, got 5",
      );
      expect(bad((g) => hosvd(x, g), {})).toThrow("hosvd: expected one of ranks and tolerance, got none");
      expect(bad((g) => stHosvd(x, g), { ranks: [1, 1, 1], tolerance: 1 })).toThrow("got both");
      expect(bad((g) => stHosvd(x, g), { tolerance: -1 })).toThrow("tolerance to be a number ≥ 0, got -1");
      expect(bad((g) => stHosvd(x, g), { tolerance: 1, modes: [0, 0] })).toThrow(
        "distinct modes from 0 to 2, got [0, 0]",
      );
      await expect(hooi(x, { ranks: [4, 1, 1] })).rejects.toThrow(
        "rank 0, beside the others, to be an integer from 1 to 1, got 4",
      );
      expect(bad((g) => tucker2(x, g), { ranks: [5, 1] })).toThrow(
        "rank 0 to be an integer from 1 to 4, got 5",
      );
      expect(bad((g) => tensorTrain(x, g), { ranks: [2] })).toThrow(
        "tensorTrain: expected 2 ranks, one for each bond, got 1",
      );
      expect(bad((g) => tensorTrain(x, g), { ranks: [5, 2] })).toThrow(
        "rank 0 to be an integer from 1 to 4, got 5",
      );
      expect(bad((g) => kronSvd(weights([6, 8], 1), g), { shape: [4, 2], rank: 1 })).toThrow(
        "kronSvd: expected a shape [m, n] with m dividing 6 and n dividing 8, got [4, 2]",
      );
      expect(bad((g) => kronSvd(weights([6, 8], 1), g), { shape: [3, 2], rank: 7 })).toThrow(
        "rank to be an integer from 1 to 6, got 7",
      );
      await expect(cpAls(x, { rank: 0, key: key(0) })).rejects.toThrow(
        "cpAls: expected rank to be an integer ≥ 1, got 0",
      );
      await expect(cpAls(x, { rank: 1 } as never)).rejects.toThrow("cpAls: expected a key of random numbers");
      expect(() => unfold(x, 3)).toThrow("unfold: expected a mode from 0 to 2, got 3");
      expect(() => modeProduct(x, weights([2, 3], 1), 0)).toThrow(
        "modeProduct: expected a matrix [r, 4] for mode 0",
      );
      expect(() => khatriRao([weights([2, 3], 1), weights([2, 2], 1)])).toThrow(
        "khatriRao: expected matrices [n_i, r] of one r, got [2, 3], [2, 2]",
      );
      expect(() => hosvd(tensor([1, 2], { dtype: "i32" }), { ranks: [1] })).toThrow(
        "hosvd: expected x of a float dtype, got i32",
      );
    });
  });
}

const identity = (n: number): number[][] =>
  Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)));
const projector = (U: Tensor): Tensor => U.matmul(U.T);
