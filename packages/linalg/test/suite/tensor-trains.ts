import { type Backend, norm, setDefaultBackend, type Tensor, zeros } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  kron,
  kronSvd,
  singularValues,
  svd,
  TensorTrain,
  tensorTrain,
  tensorTrainMatrix,
} from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { weights } from "./gradient.js";
import { squaresAfter } from "./falling.js";

const f64 = { dtype: "f64" } as const;

/** Tensor trains and sums of Kronecker products. */
export function tensorTrainSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("tensor trains and Kronecker products", () => {
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
  });
}
